"""What is wrong with the records at the bottom? True advantages, comparisons, patterns.

symbol  shape  meaning
A_hat   (n,)   estimated advantage, `rollout.advantage`
A_true  (n,)   Q(s, a) - V(s) under the policy that made the record
chosen  (n,)   bool, the records asked about, such as the bottom 100

A record's estimate is wrong in sign where A_hat * A_true < 0. Every share of chosen records is
worth something only beside the same share of the whole buffer, its base rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from scipy import optimize, stats
from torch import Tensor

from .config import whole
from .estimates import same_pair
from .metrics import Interval
from .policy import ActorCritic, draw_noise, make_actor
from .rollout import Rollout

Pattern = Callable[[Rollout], Tensor]  # a whole rollout to bool (n,)


def seed_anew(env: gym.Env, rng: np.random.Generator) -> None:
    """Let gymnasium's own random numbers be `rng` from here on."""
    env.unwrapped.np_random = rng


class Estimate(NamedTuple):
    """Monte Carlo estimates, (m,) each: means and their standard errors."""

    mean: Tensor
    se: Tensor


def replayed_advantage(
    policy: ActorCritic,
    rollout: Rollout,
    index: Sequence[int] | Tensor | np.ndarray,
    *,
    k: int = 32,
    gamma: float = 0.99,
    horizon: int = 500,
    seed: int = 0,
    redraw: Callable[[gym.Env, np.random.Generator], None] = seed_anew,
) -> Estimate:
    """A_true of chosen records, by living on from their replayed states.

    From the state of each record the policy lives on k times twice over: once after the record's
    own action, once after an action of its own choice. A_true is the mean difference of the two
    discounted returns. Both share the random numbers of the policy and of the environment
    (gymnasium's `np_random`, which is seeded anew, so that what happened by luck to the record
    itself does not count), so the difference varies less than either return.

    Args:
        policy: the policy that made the records.
        rollout: the records.
        index: which of them, m places in `rollout`.
        k: pairs of continuations per record; the standard error falls as 1 / sqrt(k).
        gamma: discount.
        horizon: steps after which a continuation is cut; at gamma 0.99 less than 1 % of what
            follows 500 steps would count. gymnasium's time limit is lifted, as GAE looks past it;
            a limit of the environment's own ends a continuation.
        seed: of the continuations.
        redraw: draws anew, in the replayed environment, what chance decides from here on; where an
            environment has drawn part of the future at its reset, more than its generator.

    Raises:
        ValueError: k below 2, a horizon below 1, or a mask in place of places.
        RuntimeError: the environment does not replay.
    """
    whole("k", k, 2)
    whole("horizon", horizon, 1)
    if torch.as_tensor(index).dtype == torch.bool:
        raise ValueError("index: a mask, expected places in the rollout, such as mask.nonzero()")
    act, task = make_actor(policy), rollout.task

    def live(i: int, stream: tuple[int, ...], noise: np.ndarray, action: np.ndarray) -> float:
        """Discounted return from record i on, after `action`."""
        env = rollout.restore(i, max_episode_steps=-1)
        redraw(env, np.random.default_rng((*stream, 0)))
        total = 0.0
        for t in range(horizon):
            obs, reward, terminated, truncated, _ = env.step(task.decode(action))
            total += gamma**t * float(reward)
            if terminated or truncated or t + 1 == horizon:
                break
            action = act(task.encode(obs)[None], noise[t + 1][None])[0]
        env.close()
        return total

    differences = np.zeros((len(index), k))
    for row, i in enumerate(int(i) for i in index):
        record = rollout[i]
        taken, obs = record.action[0].cpu().numpy(), record.obs.cpu().numpy()
        for j in range(k):
            stream = (seed, int(record.index), j)
            noise = draw_noise(policy, np.random.default_rng((*stream, 1)), (horizon,))
            own = act(obs, noise[:1])[0]
            if not np.array_equal(own, taken):  # else the two lives are one and the same
                differences[row, j] = live(i, stream, noise, taken) - live(i, stream, noise, own)
    se = differences.std(axis=1, ddof=1) / np.sqrt(k)
    return Estimate(torch.from_numpy(differences.mean(axis=1)), torch.from_numpy(se))


# ---- which records -------------------------------------------------------------------------------


def matched(values: Tensor, chosen: Tensor) -> Tensor:
    """For each chosen record another, unchosen one with the nearest value: (number chosen,).

    No record stands in for two; the sum of the gaps is as small as can be. Compared with these,
    whatever the chosen records have in common is not due to their `values`.

    Args:
        values: (n,), such as A_hat.
        chosen: indices of at most n / 2 records.
    """
    others = torch.ones(len(values), dtype=torch.bool)
    others[chosen] = False
    left = others.nonzero().squeeze(1)
    if len(left) < len(chosen):
        raise ValueError(f"chosen: {len(chosen)} of {len(values)} records, expected at most half")
    gap = (values[chosen][:, None] - values[left][None]).abs().cpu().numpy()
    return left[torch.from_numpy(optimize.linear_sum_assignment(gap)[1])]


def peers_advantage(rollout: Rollout) -> Tensor:
    """Mean A_hat of the *other* records with the same observation and action, (n,).

    0 where there is no other. No network and no gradient is needed for it.
    """
    group = same_pair(rollout)
    a_hat = rollout.advantage.cpu().double().numpy()
    total, count = np.bincount(group, a_hat)[group] - a_hat, np.bincount(group)[group] - 1
    return torch.from_numpy(np.where(count > 0, total / np.maximum(count, 1), 0.0))


# ---- what they have in common --------------------------------------------------------------------


def sign_flips(a_hat: Tensor, a_true: Tensor, least: float | Tensor = 1e-9) -> Tensor:
    """Where A_hat and A_true differ in sign, bool (n,).

    Args:
        a_hat: estimates.
        a_true: truth.
        least: smaller true advantages count as 0, which has no sign; for estimated ones, (n,),
            such as two standard errors.
    """
    return (a_hat * a_true < 0) & (a_true.abs() > least)


def rank_correlation(
    x: Tensor, y: Tensor, episode: Tensor, *, resamples: int = 999, seed: int = 0
) -> Interval:
    """Spearman's rank correlation with a 95 % bootstrap interval over episodes.

    Records of one episode share their future, so whole episodes are drawn, not records. The
    interval speaks of this buffer; for a claim about training, compare seeds.

    Args:
        x: (n,).
        y: (n,).
        episode: (n,), the episode of each record.
        resamples: bootstrap samples.
        seed: of the resampling.

    Returns:
        Correlation and interval; nan where x or y does not vary.
    """
    a, b = (stats.rankdata(z.detach().cpu().numpy()) for z in (x, y))
    names, member = np.unique(episode.cpu().numpy(), return_inverse=True)

    def correlation(rows: np.ndarray) -> float:
        if len(rows) < 2 or np.ptp(a[rows]) == 0 or np.ptp(b[rows]) == 0:
            return float("nan")
        return float(stats.spearmanr(a[rows], b[rows]).statistic)

    point = correlation(np.arange(len(a)))
    if len(names) < 2 or np.isnan(point):
        return Interval(point, float("nan"), float("nan"))
    rows_of = [np.flatnonzero(member == e) for e in range(len(names))]
    rng = np.random.default_rng(seed)
    draws = [
        correlation(np.concatenate([rows_of[e] for e in rng.integers(len(names), size=len(names))]))
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Interval(point, float(low), float(high))


class Rate(NamedTuple):
    """How often something holds among chosen records, against all of them.

    Attributes:
        share: among the chosen.
        base: among all records, the chosen included.
        odds: odds ratio, chosen against the others (1: nothing special about the chosen).
        low: lower end of its 95 % interval.
        high: upper end.
        p: Fisher's exact test of odds ratio 1.
    """

    share: float
    base: float
    odds: float
    low: float
    high: float
    p: float


def rate(chosen: Tensor, holds: Tensor) -> Rate:
    """Compare chosen records with the others; both arguments bool, (n,).

    The test takes records for independent, which neighbours in an episode are not: p is too
    small within one buffer. Compare seeds before believing it.
    """
    for name, mask in (("chosen", chosen), ("holds", holds)):
        if mask.dtype != torch.bool or mask.shape != chosen.shape:
            raise ValueError(f"{name}: {mask.dtype} {tuple(mask.shape)}, expected bool (n,) twice")
    if not chosen.any() or chosen.all():
        raise ValueError(f"chosen: {int(chosen.sum())} of {len(chosen)}, expected some, not all")
    table = [[int((c & h).sum()) for h in (holds, ~holds)] for c in (chosen, ~chosen)]
    ratio = stats.contingency.odds_ratio(table)  # conditional: exact, empty cells included
    low, high = ratio.confidence_interval(0.95)
    p = float(stats.fisher_exact(table).pvalue)
    share, base = (float(holds[mask].double().mean()) for mask in (chosen, chosen | ~chosen))
    return Rate(share, base, float(ratio.statistic), float(low), float(high), p)


def pattern_table(
    rollout: Rollout, chosen: Tensor, patterns: dict[str, Pattern], **extra: Tensor
) -> pd.DataFrame:
    """Each pattern among the chosen records against its base rate: a row of `Rate` per pattern.

    Args:
        rollout: the whole buffer, n records.
        chosen: bool, (n,).
        patterns: by name, such as those of `lda_lib.patterns`.
        extra: further bool (n,), by name.
    """
    found = {name: holds(rollout) for name, holds in patterns.items()} | extra
    rows = [rate(chosen, holds) for holds in found.values()]
    return pd.DataFrame(rows, index=pd.Index(found, name="pattern"))
