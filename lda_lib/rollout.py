"""Records of experience: what the agent saw, did and got, and how good it looked afterwards.

symbol          shape    meaning
obs             (n, *o)  encoded observation s
action          (n,)     action a, index or (n, d) floats
logp            (n,)     log pi(a | s) when the record was made
value           (n,)     V(s) when the record was made
reward          (n,)     r
advantage       (n,)     A_hat, generalised advantage estimate
ret             (n,)     advantage + value, the critic's regression target
episode, t, env (n,)     which episode, which step of it, which environment
terminated      (n,)     the environment ended the episode with this record
truncated       (n,)     a time limit cut it here: the value of what followed still counts
state           (n,)     index of the state in the task's finite model, -1 where there is none
index           (n,)     the record's place in the rollout as collected; a selection keeps it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .tasks import Task


class Episode(NamedTuple):
    """How to live an episode again: reset with `seed`, then take `actions`."""

    seed: int
    actions: np.ndarray  # (steps,) or (steps, d), policy actions from the reset on


@dataclass(frozen=True, repr=False)
class Rollout:
    """Records made by one policy, in the order env by env, step by step.

    `len(rollout)` is n; `rollout[3]` is a rollout of one record, `rollout[mask_or_indices]` of
    several; `rollout.table()` shows them as a table. The module docstring lists the fields.
    """

    obs: Tensor
    action: Tensor
    logp: Tensor
    value: Tensor
    reward: Tensor
    advantage: Tensor
    ret: Tensor
    episode: Tensor
    t: Tensor
    env: Tensor
    terminated: Tensor
    truncated: Tensor
    state: Tensor
    index: Tensor
    task: Task
    episodes: dict[int, Episode]

    def __len__(self) -> int:
        return len(self.reward)

    def tensors(self) -> dict[str, Tensor]:
        """The fields that have one row per record."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def __getitem__(self, index: int | slice | Tensor | np.ndarray | list) -> Rollout:
        if isinstance(index, np.ndarray | np.generic | Tensor) and index.ndim == 0:
            if index.dtype in (torch.bool, np.bool_):
                raise IndexError(f"index: {index!r}, expected a place, a mask (n,) or places")
            index = int(index)
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"index: {index}, expected below {len(self)} records")
            index = [index]
        elif isinstance(index, np.ndarray):
            index = torch.as_tensor(index)
        rows: dict[str, Any] = {name: x[index] for name, x in self.tensors().items()}
        return replace(self, **rows)

    def __iter__(self) -> Iterator[Rollout]:
        return (self[i] for i in range(len(self)))

    def to(
        self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Rollout:
        """Return a copy on another device, or with floats of another precision."""
        moved: dict[str, Any] = {
            name: x.to(device=device, dtype=dtype if x.is_floating_point() else None)
            for name, x in self.tensors().items()
        }
        return replace(self, **moved)

    def table(self, **columns: Tensor) -> pd.DataFrame:
        """Records as a table, one row each; `columns` (such as `score=scores`) are added in front.

        One-hot observations appear as their index, vectors of up to 8 numbers as columns
        obs0, obs1, ...; images are left out.
        """
        data: dict[str, object] = {name: _cells(value) for name, value in columns.items()}
        data |= {"episode": _cells(self.episode), "t": _cells(self.t)}
        kind = self.task.spaces.obs_kind
        if kind == "onehot":
            data["obs"] = _cells(self.obs.argmax(-1))
        elif kind == "vector" and self.obs.shape[1] <= 8:
            data |= {f"obs{j}": _cells(self.obs[:, j]) for j in range(self.obs.shape[1])}
        if self.action.ndim == 1:
            data["action"] = _cells(self.action)
        else:
            data |= {f"action{j}": _cells(self.action[:, j]) for j in range(self.action.shape[1])}
        for name in ("logp", "value", "reward", "advantage", "ret", "terminated", "truncated"):
            data[name] = _cells(getattr(self, name))
        return pd.DataFrame(data, index=_cells(self.index)).rename_axis("index")

    def __repr__(self) -> str:
        rows = [
            f"  {name:<11}{tuple(x.shape)!s:<16}{str(x.dtype).removeprefix('torch.')}"
            for name, x in self.tensors().items()
        ]
        head = f"Rollout of {len(self)} records, {self.task.name}"
        return "\n".join([head, *rows])

    def _repr_html_(self) -> str:
        return self[:10].table().round(3).to_html() + f"<p>first 10 of {len(self)} records</p>"

    def restore(self, index: int, **kwargs) -> gym.Env:
        """Return a new environment in the state that record `index` was made in.

        The episode is replayed from its reset; `kwargs`, such as `render_mode="rgb_array"`, go to
        the task's `make`.

        Raises:
            RuntimeError: the environment does not replay (it came to another observation).
            ValueError: how the episode was lived is not known (records made elsewhere).
        """
        record = self[index]
        episode = self.episodes.get(int(record.episode))
        if episode is None:
            raise ValueError(
                f"index: record {int(record.index)} of {self.task.name!r} belongs to episode "
                f"{int(record.episode)}, whose seed and actions this rollout does not hold"
            )
        env, obs = replay(self.task, episode, int(record.t), **kwargs)
        if not np.array_equal(obs, record.obs[0].cpu().float().numpy()):
            raise RuntimeError(
                f"task: {self.task.name!r} does not replay: the same seed and actions led to "
                f"another observation at step {int(record.t)} of episode {int(record.episode)}"
            )
        return env


def _cells(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def replay(task: Task, episode: Episode, steps: int, **kwargs) -> tuple[gym.Env, np.ndarray]:
    """Live the first `steps` steps of an episode again in a new environment.

    Returns:
        The environment and its last encoded observation.
    """
    if task.shared:
        raise ValueError(
            f"task: {task.name!r} is one environment object without a spec, which cannot be "
            "made again to replay an episode; pass a function that makes one"
        )
    env = task.make(**kwargs)
    obs, _ = env.reset(seed=episode.seed)
    for action in episode.actions[:steps]:
        obs, *_ = env.step(task.decode(action))
    return env, task.encode(obs)


def gae(
    reward: np.ndarray,
    value: np.ndarray,
    next_value: np.ndarray,
    terminated: np.ndarray,
    ended: np.ndarray,
    gamma: float,
    lam: float,
) -> np.ndarray:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16), shape (T, e) like all inputs.

    A_t = delta_t + gamma lam A_{t+1} within an episode, delta_t = r_t + gamma V(s_{t+1}) - V(s_t).
    A terminal state is worth 0; a truncated one is worth V of the state the time limit hid.

    Args:
        reward: r_t.
        value: V(s_t).
        next_value: V(s_{t+1}) of the state that really followed, before any reset.
        terminated: the episode ended in a terminal state after t.
        ended: the episode ended after t, terminated or truncated.
        gamma: discount.
        lam: lambda.
    """
    delta = reward + gamma * next_value * ~terminated - value
    carry = gamma * lam * ~ended
    advantage = np.empty_like(delta)
    tail = np.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        tail = advantage[t] = delta[t] + carry[t] * tail
    return advantage
