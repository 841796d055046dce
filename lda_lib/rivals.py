"""More filters to compare IIF with: units larger than a record, and a sharper random control."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .attribution import influence
from .filters import check_filter, drop_lowest
from .loss import policy_loss, standardise
from .ppo import PPO, Keep
from .rollout import Rollout
from .targets import Return


@dataclass
class RandomNegative:
    """Drop at random among the records with a negative advantage estimate.

    If most of what a filter drops has a negative advantage, this control has the same effect on
    their share, without choosing which.

    Attributes:
        like: a filter; as many records are dropped as it would drop, or all negative ones if there
            are fewer.
    """

    like: Keep

    def __post_init__(self) -> None:
        check_filter("like", self.like)

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Choose, (n,) bool."""
        negative = rollout.advantage.cpu() < 0
        count = int((torch.as_tensor(self.like(agent, rollout)) <= 0).sum())
        values = torch.where(negative, 0.0, torch.inf)
        return drop_lowest(values, min(count, int(negative.sum())), agent.rng("random negative"))


@dataclass
class TrajectoryValue:
    """Keep or drop whole pieces of trajectory by their value (after Jia et al. 2026, DTV).

    A piece S is what one episode left in the rollout. Its value is the mean over the rollout's
    records j of < g_S, g_j >, with g_j the gradient of record j's objective, advantages
    standardised over the rollout, and g_S the sum over the piece. Pieces with a negative value are
    dropped. With pieces of one record this is IIF with one normalisation and p = 100 %.

    Attributes:
        leave_out: leave the piece itself out of the mean (DTV-Loo), so that it does not vote for
            itself.
        scores: the value of each record's piece in the last rollout, (n,).
    """

    leave_out: bool = False
    scores: Tensor | None = field(default=None, repr=False, compare=False)

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Score and choose, (n,) bool."""
        self.scores = trajectory_values(agent, rollout, self.leave_out)
        keep = self.scores >= 0
        return keep if keep.any() else torch.ones_like(keep)


def trajectory_values(agent: PPO, rollout: Rollout, leave_out: bool) -> Tensor:
    """Value of the piece of trajectory that each record belongs to, (n,); see `TrajectoryValue`."""
    n = len(rollout)
    scaled = replace(rollout, advantage=standardise(rollout.advantage))
    clip = agent.config.clip
    single = influence(agent.policy, scaled, Return(), normalize="none", clip=clip).cpu()
    _, piece, size = np.unique(
        rollout.episode.cpu().numpy(), return_inverse=True, return_counts=True
    )
    total = np.bincount(piece, single.double().numpy())  # < g_S, mean over all j of g_j >
    if leave_out:
        own = np.array([_squared_norm(agent, scaled[piece == s], clip) for s in range(len(size))])
        total = (n * total - own) / np.maximum(n - size, 1)
    return torch.from_numpy(total[piece]).float()


def _squared_norm(agent: PPO, piece: Rollout, clip: float) -> float:
    """|g_S|^2 of one piece."""
    params = list(agent.policy.parameters())
    log_prob = agent.policy.log_prob(piece.obs, piece.action)
    loss = policy_loss(log_prob, piece.logp, piece.advantage, clip).sum()
    grads = torch.autograd.grad(loss, params, allow_unused=True)
    return float(torch.stack([g.pow(2).sum() for g in grads if g is not None]).sum())
