"""Your own training loop: any policy, any records, the same scores and filters.

A policy is any `nn.Module` with `log_prob(obs, action) -> (n,)`; `Scorable` gives it one. Records
are tensors with one row each; `as_rollout` names them. `OwnAgent` is what the filters of this
package ask of an agent, for loops that are not `PPO`'s.

    agent = OwnAgent(Scorable(net, lambda net, obs, act: net(obs).log_prob(act)), IIF(drop=0.5))
    keep = agent.choose(as_rollout(obs, act, logp, advantage))  # (n,) bool, before the update
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import gymnasium as gym
import torch
from numpy.random import Generator
from torch import Tensor, nn

from .config import PPOConfig, is_function, whole
from .ppo import stream
from .rollout import Rollout
from .spaces import Spaces
from .step import check_keep
from .tasks import Task


class LogProb(Protocol):
    """All that scoring asks of a policy, beside being an `nn.Module`."""

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log pi(action | obs), (n,); `action` is given, never sampled."""
        ...


class Scorable(nn.Module):
    """Any module as a policy that `influence` scores.

    Args:
        module: the network, or whatever holds the parameters.
        log_prob: function of (module, obs, action) that returns log pi(action | obs), (n,). It must
            read the parameters from the module it is given (not from a variable outside).
        judge: function of the same that returns (log_prob, value, entropy), each (n,); only needed
            for `score_loss="full"`.
    """

    def __init__(
        self,
        module: nn.Module,
        log_prob: Callable[[Any, Tensor, Tensor], Tensor],
        judge: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None = None,
    ):
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(f"module: {type(module).__name__}, expected a torch.nn.Module")
        if not callable(log_prob):
            raise TypeError(f"log_prob: {log_prob!r}, expected a function of (module, obs, action)")
        self.module, self._log_prob, self._judge = module, log_prob, judge

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log pi(action | obs), (n,)."""
        return self._log_prob(self.module, obs, action)

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log_prob, value and entropy, each (n,)."""
        if self._judge is None:
            raise ValueError("judge: None, expected a function: the full loss needs value, entropy")
        return self._judge(self.module, obs, action)


@dataclass(frozen=True)
class Packing:
    """Dict observations as one row of numbers per record, and back.

    A rollout holds one tensor of observations, which targets and filters can index and compare;
    the policy unpacks it.

    Attributes:
        shapes: key -> shape of one observation, in the order in which rows hold them.
    """

    shapes: Mapping[str, tuple[int, ...]]

    def pack(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Rows, (n, d) float32; whole numbers up to 2^24 stay exact."""
        if set(obs) != set(self.shapes):
            raise ValueError(f"obs: keys {sorted(obs)}, expected {sorted(self.shapes)}")
        return torch.cat([obs[key].flatten(1).float() for key in self.shapes], 1)

    def unpack(self, rows: Tensor) -> dict[str, Tensor]:
        """The observations by key, each (n, *shape)."""
        sizes = [int(torch.Size(shape).numel()) for shape in self.shapes.values()]
        parts = rows.split(sizes, dim=-1)
        return {
            key: part.reshape(*rows.shape[:-1], *shape)
            for (key, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


@dataclass(frozen=True)
class Elsewhere(Task):
    """Stands in for the task of records that were made elsewhere.

    Attributes:
        given: what the records look like.
    """

    given: Spaces = field(default=Spaces("vector", (0,), "discrete", 0))

    def make(self, **kwargs: Any) -> gym.Env:
        """Raise: there is no recipe."""
        raise ValueError(
            f"task: {self.name!r} names records made elsewhere; its environment cannot be made here"
        )

    @property
    def spaces(self) -> Spaces:  # type: ignore[override]
        """What the records look like."""
        return self.given


def as_rollout(
    obs: Tensor,
    action: Tensor,
    logp: Tensor,
    advantage: Tensor,
    *,
    value: Tensor | None = None,
    reward: Tensor | None = None,
    ret: Tensor | None = None,
    episode: Tensor | None = None,
    t: Tensor | None = None,
    env: Tensor | None = None,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
    task: Task | None = None,
    name: str = "own loop",
) -> Rollout:
    """Your tensors, one row per record, as a `Rollout`; the first four are what scores need.

    Give records env by env, step by step where filters look at neighbours (TD errors, repeated
    visits) or you want to read tables; scores do not depend on the order. What is left out is nan
    (value, reward, ret), False (terminated, truncated), or as if all were one episode.

    Args:
        obs: (n, ...), as the policy takes them; for dict observations see `Packing`.
        action: (n,) indices or (n, d).
        logp: (n,), log pi(a | s) when the record was made.
        advantage: (n,), not standardised: the score does that as training does.
        value: (n,), V(s) when the record was made.
        reward: (n,).
        ret: (n,), the critic's regression target; advantage + value by default, and by definition
            where filters ask for TD errors.
        episode: (n,), number of the episode.
        t: (n,), step of the episode.
        env: (n,), number of the environment.
        terminated: (n,), the environment ended the episode with this record.
        truncated: (n,), a time limit did.
        task: a task of this package that the records were made in.
        name: what tables and messages call them where there is no task.

    Raises:
        ValueError: a shape that does not fit, or an obs, action, logp or advantage that is not
            finite.
        TypeError: something other than a tensor; an advantage or logp of whole numbers.
    """
    needed = {"obs": obs, "action": action, "logp": logp, "advantage": advantage}
    more = {"value": value, "reward": reward, "ret": ret, "episode": episode, "t": t, "env": env}
    more |= {"terminated": terminated, "truncated": truncated}
    for word, x in (needed | {k: x for k, x in more.items() if x is not None}).items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{word}: {type(x).__name__}, expected a tensor with a row per record")
    if task is not None and not isinstance(task, Task):
        raise TypeError(f"task: {task!r}, expected a Task, such as make_task({task!r})")
    if not (advantage.is_floating_point() and logp.is_floating_point()):
        raise TypeError(f"advantage, logp: {advantage.dtype}, {logp.dtype}, expected floats")
    n, index = len(advantage), torch.arange(len(advantage), device=advantage.device)
    unknown, no = torch.full_like(advantage, torch.nan), torch.zeros_like(index, dtype=torch.bool)
    if ret is None:
        ret = unknown if value is None else advantage + value
    single = {
        "logp": logp,
        "advantage": advantage,
        "value": unknown if value is None else value,
        "reward": unknown if reward is None else reward,
        "ret": ret,
        "episode": index * 0 if episode is None else episode,
        "t": index if t is None else t,
        "env": index * 0 if env is None else env,
        "terminated": no if terminated is None else terminated.bool(),
        "truncated": no if truncated is None else truncated.bool(),
    }
    for word, x in single.items():
        if x.shape != (n,):
            raise ValueError(f"{word}: shape {tuple(x.shape)}, expected ({n},)")
    if obs.ndim < 2 or len(obs) != n:
        raise ValueError(f"obs: shape {tuple(obs.shape)}, expected ({n}, ...)")
    if action.ndim not in (1, 2) or len(action) != n:
        raise ValueError(f"action: shape {tuple(action.shape)}, expected ({n},) or ({n}, d)")
    for word in ("obs", "action", "logp", "advantage"):
        if not (good := needed[word].isfinite().reshape(n, -1).all(1)).all():
            bad = int((~good).nonzero()[0])
            raise ValueError(f"{word}: record {bad} has {needed[word][bad]}, expected numbers")
    return Rollout(
        obs=obs.detach(),
        action=action.detach(),
        **{word: x.detach() for word, x in single.items()},
        state=index * 0 - 1,
        index=index,
        task=Elsewhere(name, given=_spaces(obs, action)) if task is None else task,
        episodes={},
    )


def _spaces(obs: Tensor, action: Tensor) -> Spaces:
    """What the shapes and dtypes of records tell about their spaces."""
    seen = ("image" if obs.ndim == 4 else "vector", tuple(obs.shape[1:]))
    if action.is_floating_point():
        return Spaces(*seen, "box", 1 if action.ndim == 1 else action.shape[1])
    if action.ndim == 2:
        return Spaces(*seen, "multidiscrete", action.shape[1])
    count = int(action.max()) + 1 if len(action) else 0
    return Spaces(*seen, "discrete", count, guessed=True)


@dataclass(frozen=True)
class OwnConfig:
    """How your loop learns, as far as scores and filters need to know; see `influence`."""

    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.2
    vf_coef: float = 0.5
    ent_coef: float = 0.0
    batch_size: int = 64
    normalize: str = "minibatch"

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "normalize"}
        PPOConfig(**given)  # the same names and bounds


class OwnAgent:
    """What filters ask of an agent: policy, config and a random stream per purpose and round.

    Args:
        policy: module with `log_prob(obs, action)`, see `Scorable`.
        keep: filter, a callable of (agent, rollout), such as `IIF(0.5)`; None keeps all.
        seed: governs the filter's randomness (ties, groups of standardisation, random drops).
        **settings: of `OwnConfig`, so that scores see the loss that your loop minimises.

    Attributes:
        round: rollouts chosen from so far.
        scores: the filter's scores of the last rollout, (n,), where it has any.
    """

    def __init__(
        self,
        policy: nn.Module,
        keep: Callable[[Any, Rollout], Any] | None = None,
        *,
        seed: int = 0,
        **settings: Any,
    ):
        if not callable(getattr(policy, "log_prob", None)):
            raise TypeError(
                f"policy: {type(policy).__name__} has no log_prob(obs, action); wrap it in Scorable"
            )
        if keep is not None and not is_function(keep):
            raise TypeError(f"keep: {keep!r}, expected a callable of (agent, rollout) or None")
        whole("seed", seed, 0)
        self.policy, self.keep, self.seed = policy, keep, int(seed)
        self.config = OwnConfig(**settings)
        self.round = 0
        self.scores: Tensor | None = None

    def rng(self, purpose: str) -> Generator:
        """A generator for one purpose in this round; asked for again, it starts again."""
        return stream(self.seed, purpose, self.round)

    def choose(self, rollout: Rollout) -> Tensor:
        """Apply the filter to fresh records, before the update.

        Returns:
            Whom to keep, (n,): bool, or float weights if the filter gives weights.
        """
        answer = None if self.keep is None else self.keep(self, rollout)
        keep = check_keep(answer, len(rollout))
        self.scores = getattr(self.keep, "scores", None)
        self.round += 1
        return keep
