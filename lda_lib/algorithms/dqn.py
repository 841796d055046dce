"""DQN (Mnih et al. 2015) in rounds: play, choose from the replay buffer, learn, remember."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import vmap

from ..collect import episode_seed
from ..config import expect, expect_whole, is_number
from ..exact import exact_return, finite_model
from ..loss import Params
from ..ppo import stream
from ..step import check_keep, gradient
from ..targets import call
from ..tasks import make_task
from .bellman import BellmanFit, Transitions, bellman_targets, chosen
from .scores import Target, weight_scores


@dataclass(frozen=True)
class DQNConfig:
    """Settings; a round is `n_steps` of play and `updates` steps of plain SGD."""

    n_steps: int = 512
    capacity: int = 4096
    batch_size: int = 64
    updates: int = 256
    gamma: float = 0.99
    lr: float = 0.3
    epsilon: float = 0.1  # share of random actions, reached after `explore` rounds from 1
    explore: int = 15
    hidden: int = 64

    def __post_init__(self) -> None:
        expect_whole(self, "n_steps", "capacity", "batch_size", "updates", "explore", "hidden")
        for name in ("gamma", "epsilon"):
            value = getattr(self, name)
            expect(self, name, is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
        expect(self, "lr", is_number(self.lr) and self.lr > 0, "a number above 0")


class DQN:
    """A DQN agent whose replay buffer is open to scores and filters.

    A round: play `n_steps` (`fresh`), score the replay buffer on the fresh data, learn from what
    the filter keeps *for this round*, then add the fresh data to the buffer. So the target is made
    of records that no step has learnt from, and they cost nothing extra.

    Args:
        task: a name from `lda_lib.TASKS` or a gymnasium id, with discrete actions.
        seed: governs everything random.
        keep: filter, a callable of (agent, replay) that returns bool (n,), `IIF` or
            `RandomDrop`.
        **settings: of `DQNConfig`.

    Attributes:
        policy: the Q network.
        replay: what it may learn from; None before the first round.
        fresh: the newest `n_steps` records, not in `replay` yet.
    """

    def __init__(
        self, task: Any, *, seed: int = 0, keep: Callable | None = None, **settings: Any
    ) -> None:
        self.task, self.seed, self.keep = make_task(task), seed, keep
        self.config, spaces = DQNConfig(**settings), self.task.spaces
        if spaces.action_kind != "discrete" or len(spaces.obs_shape) != 1:
            raise ValueError(f"task: {self.task.name!r}, expected vectors and discrete actions")
        self.round, self.model = 0, finite_model(self.task)
        width = self.config.hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.rng("weights").integers(2**31)))
            self.policy = nn.Sequential(
                nn.Linear(spaces.obs_shape[0], width),
                nn.Tanh(),
                nn.Linear(width, width),
                nn.Tanh(),
                nn.Linear(width, spaces.action_dim),
            )
        self.replay: Transitions | None = None
        self.fresh: Transitions | None = None
        self.env, self.episodes = self.task.make(), 0
        self.obs = self._reset()
        self.rows: list[dict[str, float]] = []

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator for one purpose in this round; asked for again, it starts again."""
        return stream(self.seed, purpose, self.round)

    def _reset(self) -> np.ndarray:
        self.episodes += 1
        obs, _ = self.env.reset(seed=episode_seed(self.seed, 0, self.episodes))
        return self.task.encode(obs)

    def collect(self) -> Transitions:
        """Play `n_steps` with some random actions; Q does not change."""
        config, rng, rows = self.config, self.rng("actions"), []
        epsilon = max(config.epsilon, 1 - (1 - config.epsilon) * self.round / config.explore)
        for _ in range(config.n_steps):
            with torch.no_grad():
                best = int(self.policy(torch.from_numpy(self.obs)).argmax())
            anything = int(rng.integers(self.task.spaces.action_dim))
            action = anything if rng.random() < epsilon else best
            raw, reward, terminated, truncated, _ = self.env.step(self.task.decode(action))
            following = self.task.encode(raw)
            rows.append((self.obs, action, np.float32(reward), following, terminated))
            self.obs = self._reset() if terminated or truncated else following
        self.fresh = Transitions(*(torch.from_numpy(np.stack(x)) for x in zip(*rows, strict=True)))
        return self.fresh

    def target(self) -> BellmanFit:
        """The target of this round: the Bellman error on the fresh data, as Q- sees it."""
        if self.fresh is None:
            raise ValueError("target: nothing is fresh yet; call collect() first")
        return BellmanFit(self.fresh, bellman_targets(self.policy, self.fresh, self.config.gamma))

    def influence(self, replay: Transitions, target: Target | None = None) -> Tensor:
        """Score of each record of `replay` at the present Q, (n,); `self.target()` by default."""
        y = bellman_targets(self.policy, replay, self.config.gamma)

        def loss(q: nn.Module, data: Transitions, weight: Tensor) -> Tensor:
            return (weight * (chosen(q, data) - y).square()).sum()

        return weight_scores(self.policy, replay, loss, target or self.target())

    def retrain(self, keep: Tensor, *, cycle: bool = False) -> Params:
        """The parameters after this round's update on each of r sets, (r, ...); Q stays.

        Args:
            keep: (r, n) bool over the replay buffer.
            cycle: False: dropped records keep their places in the minibatches, with weight 0 (r
                ways at once). True: minibatches are drawn from the kept ones, for one set (r = 1).
        """
        if self.replay is None or keep.ndim != 2 or keep.shape[1] != len(self.replay):
            n = 0 if self.replay is None else len(self.replay)
            raise ValueError(f"keep: {tuple(keep.shape)}, expected (r, {n}), the replay buffer")
        if cycle and len(keep) != 1:
            raise ValueError(f"keep: {len(keep)} sets, expected one with cycle=True")
        data, weight = self.replay, keep.to(self.replay.reward)
        y = bellman_targets(self.policy, data, self.config.gamma)
        lr = torch.tensor(self.config.lr)

        def loss(p: Params, index: Tensor, weight: Tensor) -> Tensor:
            q = call(self.policy, p, chosen, data[index])
            return (weight * (q - y[index]).square()).mean()

        each = vmap(loss, in_dims=(0, None, 0))
        named = self.policy.named_parameters()
        params = {k: p.detach().expand(len(keep), *p.shape) for k, p in named}
        for index in self.minibatches(keep[0] if cycle else None):
            w = weight[:, index]
            slope, _ = gradient(lambda p, i=index, w=w: (each(p, i, w).sum(), lr), params)  # type: ignore[misc]
            params = {k: p - lr * slope[k] for k, p in params.items()}
        return params

    def minibatches(self, keep: Tensor | None = None) -> Tensor:
        """Places in the replay buffer that the steps of this round draw, (updates, batch_size)."""
        assert self.replay is not None
        places = torch.arange(len(self.replay)) if keep is None else keep.nonzero().flatten()
        shape = (self.config.updates, self.config.batch_size)
        return places[torch.from_numpy(self.rng("minibatches").integers(0, len(places), shape))]

    def update(self, keep: Tensor | None = None) -> None:
        """Learn from the kept records of the replay buffer, then add the fresh ones to it."""
        if self.fresh is None:
            raise ValueError("update: nothing is fresh yet; call collect() first")
        if self.replay is not None:
            mask = check_keep(keep, len(self.replay)) > 0
            params = self.retrain(mask.unsqueeze(0), cycle=True)
            if not all(p.isfinite().all() for p in params.values()):
                raise FloatingPointError(f"update: Q is no longer finite (lr is {self.config.lr})")
            self.policy.load_state_dict({k: p[0] for k, p in params.items()})
        whole = self.fresh if self.replay is None else self.replay + self.fresh
        self.replay, self.fresh = whole[-self.config.capacity :], None
        self.round += 1

    def learn(self, rounds: int) -> pd.DataFrame:
        """Play, filter, learn, remember, `rounds` times; one row per round so far."""
        for _ in range(rounds):
            self.collect()
            filtered = self.keep is not None and self.replay is not None
            keep = self.keep(self, self.replay) if filtered else None  # type: ignore[misc]
            n = 0 if self.replay is None else len(self.replay)
            self.update(keep)
            kept = n if keep is None else int((torch.as_tensor(keep) > 0).sum())
            row = {"round": self.round, "return_mean": self.play_return(), "kept": kept}
            self.rows.append(row | {"replay": n})
        return pd.DataFrame(self.rows)

    def play_return(self) -> float:
        """Exact expected return with a share `epsilon` of random actions; nan without a model."""
        if self.model is None:
            return float("nan")
        with torch.no_grad():
            best = self.policy(self.model.obs).argmax(-1)
        k, epsilon = self.model.R.shape[1], self.config.epsilon
        probs = (1 - epsilon) * nn.functional.one_hot(best, k).double() + epsilon / k
        return float(exact_return(probs, self.model))
