"""Other estimates of an advantage, from what a rollout already holds.

symbol   shape   meaning
delta    (n,)    one-step TD error, what GAE sums
A_mc     (n,)    mean return after (s, a) minus mean return after s, over the buffer's own visits
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .rollout import Rollout


def td_error(rollout: Rollout, gamma: float, lam: float) -> np.ndarray:
    """delta_t = A_t - gamma lam A_{t+1} within an episode, (n,): what GAE sums.

    A is GAE's estimate, also where the rollout's advantages have been repaired since: the critic's
    regression target still holds it.
    """
    estimate = rollout.ret - rollout.value
    made = estimate.isfinite().all() and not torch.allclose(estimate, rollout.advantage, atol=1e-3)
    advantage = (estimate if made else rollout.advantage).cpu().double().numpy()
    following = np.append(_goes_on(rollout) * advantage[1:], 0.0)
    return advantage - gamma * lam * following


def summed(values: np.ndarray, rollout: Rollout, factor: float) -> np.ndarray:
    """Sum over l of factor^l values[t + l] within the episode's piece of the rollout, (n,)."""
    total, goes_on = values.copy(), _goes_on(rollout)
    for t in range(len(total) - 2, -1, -1):
        total[t] += factor * goes_on[t] * total[t + 1]
    return total


def monte_carlo_advantage(rollout: Rollout, gamma: float, lam: float) -> Tensor:
    """A_mc(s, a) from repeated visits in the buffer, (n,).

    Discounted returns run to the end of the episode; an episode that the buffer or a time limit
    cuts goes on with the critic's value.

    Raises:
        ValueError: records without a value.
    """
    if not rollout.value.isfinite().all():
        raise ValueError("rollout: a value is not finite, expected V(s) of every record")
    returns = summed(td_error(rollout, gamma, lam), rollout, gamma)
    returns = returns + rollout.value.cpu().double().numpy()
    state = _groups(rollout.obs.flatten(1))
    pair = same_pair(rollout)
    return torch.from_numpy(_group_mean(returns, pair) - _group_mean(returns, state)).float()


def same_pair(rollout: Rollout) -> np.ndarray:
    """Number of each record's observation and action, (n,): equal where both are."""
    rows = [rollout.obs.flatten(1), rollout.action.reshape(len(rollout), -1)]
    return _groups(torch.cat(rows, 1))


def _groups(rows: Tensor) -> np.ndarray:
    return np.unique(rows.cpu().numpy(), axis=0, return_inverse=True)[1].ravel()


def _group_mean(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    return (np.bincount(group, values) / np.bincount(group))[group]


def _goes_on(rollout: Rollout) -> np.ndarray:
    """Whether the next record is the same episode's next step, (n - 1,).

    Raises:
        ValueError: steps of an episode are missing between two records, it goes on after its end,
            or its records do not stand together.
    """
    same = rollout.episode[1:] == rollout.episode[:-1]
    if (gaps := same & (rollout.t[1:] != rollout.t[:-1] + 1)).any():
        at = int(gaps.nonzero()[0])
        raise ValueError(
            f"rollout: record {at + 1} is step {int(rollout.t[at + 1])} of an episode, the one "
            f"before it step {int(rollout.t[at])}, expected every step (a selection has gaps)"
        )
    if (past := same & (rollout.terminated | rollout.truncated)[:-1]).any():
        at = int(past.nonzero()[0])
        raise ValueError(
            f"episode: record {at} ends an episode and record {at + 1} has the same number, "
            "expected a new one"
        )
    if len(rollout) and 1 + int((~same).sum()) != len(rollout.episode.unique()):
        raise ValueError(
            "episode: records of one episode do not stand together, expected them env by env, "
            "step by step"
        )
    return same.cpu().numpy()
