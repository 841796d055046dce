"""Filters: who is kept. A filter is any callable of (agent, rollout).

It returns a bool tensor (n,), True for records to learn from, or weights (n,) on their losses. From
the agent it reaches the policy, the settings and a random generator; what it must remember it holds
itself. Filters that score leave their last scores in `scores`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .attribution import influence
from .config import is_function, is_number
from .estimates import monte_carlo_advantage, td_error
from .rollout import Rollout
from .targets import Target

if TYPE_CHECKING:
    from .ppo import PPO, Keep


def _check_fraction(name: str, value: Any) -> None:
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name}: {value!r}, expected a fraction from 0 to 1")


def drop_lowest(values: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Keep all but the `count` lowest values; ties are broken at random.

    Returns:
        bool, (n,).
    """
    keep = torch.ones(len(values), dtype=torch.bool)
    keep[lowest(values, count, rng)] = False
    return keep


def lowest(values: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Indices of the `count` lowest values, lowest first; ties are broken at random.

    Bottom records are `lowest(scores, ...)`, top records `lowest(-scores, ...)`.
    """
    if not 0 <= count <= len(values):
        raise ValueError(f"count: {count}, expected 0 to {len(values)}, the number of records")
    order = np.lexsort((rng.random(len(values)), values.detach().cpu().numpy()))
    return torch.from_numpy(order[:count].copy())


@dataclass
class IIF:
    """Iterative influence-based filtering (Hu et al. 2025, section 5).

    Scores the rollout once with the policy that made it and drops floor(drop * number of negative
    scores) records, lowest first.

    Attributes:
        drop: p as a fraction of the records with negative score, 0 to 1.
        target: what the scores are about; None is `Return()`.
        settings: further arguments of `agent_scores` and `influence`, such as normalize="rollout"
            or, for an agent that learns with Adam, adam_aware=True.
        scores: scores of the last rollout, (n,).
    """

    drop: float
    target: Target | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    scores: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_fraction("drop", self.drop)

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Score and choose, (n,) bool."""
        self.scores = agent_scores(agent, rollout, self.target, **self.settings)
        count = math.floor(self.drop * int((self.scores < 0).sum()))
        return drop_lowest(self.scores, count, agent.rng("ties"))


def agent_scores(
    agent: PPO,
    rollout: Rollout,
    target: Target | None = None,
    *,
    adam_aware: bool = False,
    **settings: Any,
) -> Tensor:
    """`influence` with the agent's own settings and random stream.

    An agent with records of another kind, such as texts, brings its own `influence(rollout, ...)`.

    Args:
        agent: before the update.
        rollout: n records.
        target: as in `influence`.
        adam_aware: scale the target gradient as the agent's Adam would scale a step. Before Adam's
            first step it has no scale yet, and the scores are those of plain SGD.
        settings: further arguments of `influence`.

    Raises:
        ValueError: `adam_aware` for an agent that does not learn with Adam, or that scores in its
            own way.
    """
    scored_by = getattr(agent, "influence", None)
    if adam_aware:
        learns = "scores of its own" if scored_by else getattr(agent.config, "optimizer", None)
        if learns != "adam":
            raise ValueError(f"adam_aware: True for an agent with {learns}, expected adam")
        if float(agent.opt_state.t) > 0:
            eps = agent.config.adam_eps
            settings = {"opt_state": agent.opt_state, "adam_eps": eps} | settings
    if scored_by is not None:
        return scored_by(rollout, target, **settings)
    config = agent.config
    own: dict[str, Any] = {
        "clip": config.clip,
        "vf_coef": config.vf_coef,
        "ent_coef": config.ent_coef,
        "batch_size": config.batch_size,
        "normalize": getattr(config, "normalize", "minibatch"),  # a loop from elsewhere may differ
        "rng": agent.rng("score"),
    }
    return influence(agent.policy, rollout, target, **(own | settings))


@dataclass
class RandomDrop:
    """Drop records at random: the control that every filter needs.

    Attributes:
        like: a filter; as many records are dropped as it would drop.
        drop: or a fraction of all records (the released code's control).
    """

    like: Keep | None = None
    drop: float | None = None

    def __post_init__(self) -> None:
        _check_like_or_drop(self.like, self.drop)

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Choose, (n,) bool."""
        n = len(rollout)
        count = _count(self.like, self.drop, agent, rollout, n)
        return drop_lowest(torch.zeros(n), count, agent.rng("random drop"))


@dataclass
class LowestAdvantage:
    """Drop the records with the lowest estimated advantage.

    Attributes:
        like: a filter; as many records are dropped as it would drop.
        drop: or a fraction of the records with a negative advantage.
    """

    like: Keep | None = None
    drop: float | None = None

    def __post_init__(self) -> None:
        _check_like_or_drop(self.like, self.drop)

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Choose, (n,) bool."""
        negative = int((rollout.advantage < 0).sum())
        count = _count(self.like, self.drop, agent, rollout, negative)
        return drop_lowest(rollout.advantage, count, agent.rng("ties"))


@dataclass
class AdvantageHeuristic:
    """Drop records whose advantage estimate has the wrong sign (Hu et al. 2025, rules 1 and 2).

    A Monte Carlo advantage A_mc(s, a) comes from repeated visits in the buffer: mean return after
    (s, a) minus mean return after s. Among the records with sign(A_mc) != sign(A_hat), the share
    `drop` with the largest distance of A_mc and A_hat (rule 1) or smallest A_mc * A_hat (rule 2)
    is dropped. Where no state repeats, A_mc is 0 everywhere and nothing is dropped.

    Attributes:
        drop: fraction of the wrong-signed records, 0 to 1.
        rule: 1 or 2.
    """

    drop: float
    rule: int = 1

    def __post_init__(self) -> None:
        _check_fraction("drop", self.drop)
        if self.rule not in (1, 2):
            raise ValueError(f"rule: {self.rule!r}, expected 1 or 2")

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Choose, (n,) bool."""
        a_mc = monte_carlo_advantage(rollout, agent.config.gamma, agent.config.lam)
        a_hat = rollout.advantage.cpu()
        wrong = a_mc * a_hat < 0
        badness = -(a_mc - a_hat).abs() if self.rule == 1 else a_mc * a_hat
        values = torch.where(wrong, badness, torch.full_like(badness, torch.inf))
        return drop_lowest(values, math.floor(self.drop * int(wrong.sum())), agent.rng("ties"))


@dataclass
class TDError:
    """Draw n records with replacement, favouring large TD errors (Hu et al. 2025).

    The probability of a record is proportional to (1 / rank)^alpha, where the largest absolute
    one-step TD error has rank 1; its weight is the number of times it was drawn.

    Attributes:
        alpha: 0 draws uniformly.
    """

    alpha: float = 0.6

    def __post_init__(self) -> None:
        if not isinstance(self.alpha, int | float) or self.alpha < 0:
            raise ValueError(f"alpha: {self.alpha!r}, expected a number from 0")

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Weights, (n,) float."""
        n, rng = len(rollout), agent.rng("td error")
        error = td_error(rollout, agent.config.gamma, agent.config.lam)
        order = np.lexsort((rng.random(n), -np.abs(error)))
        rank = np.empty(n)
        rank[order] = np.arange(1, n + 1)
        p = rank**-self.alpha
        return torch.from_numpy(np.bincount(rng.choice(n, n, p=p / p.sum()), minlength=n)).float()


def _check_like_or_drop(like: Any, drop: Any) -> None:
    if (like is None) == (drop is None):
        raise ValueError(f"like, drop: {like!r}, {drop!r}, expected exactly one of the two")
    if drop is not None:
        _check_fraction("drop", drop)
    else:
        check_filter("like", like)


def check_filter(name: str, keep: Any) -> None:
    """Raise a ValueError unless `keep` is a filter, not the class of one."""
    if not is_function(keep):
        raise ValueError(f"{name}: {keep!r}, expected a filter, such as IIF(drop=0.5)")


def _count(like: Keep | None, drop: float | None, agent: PPO, rollout: Rollout, base: int) -> int:
    """Records to drop: as many as `like` would, or a share of `base`."""
    if like is None:
        assert drop is not None
        return math.floor(drop * base)
    return int((torch.as_tensor(like(agent, rollout)) <= 0).sum())
