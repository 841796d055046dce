"""How well do scores predict what really happens? Rank correlations, floors, AUROC.

Two questions to a set of scores, both answered by Spearman's rank correlation: does the order of
scores agree with the order of leave-one-out effects (LOO), and does the sum of the scores of a
random subset agree with the outcome of learning from that subset (the linear datamodelling score,
LDS; Park et al. 2023)?
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor, from_numpy

from .estimates import td_error
from .metrics import Interval
from .rollout import Rollout


def rank_correlation(x: ArrayLike, y: ArrayLike, resamples: int = 1000, seed: int = 0) -> Interval:
    """Spearman's rank correlation with a 95 % percentile bootstrap interval over the pairs.

    Args:
        x: (m,).
        y: (m,).
        resamples: bootstrap samples; 0 leaves the interval out (nan).
        seed: of the resampling.

    Returns:
        The correlation and its interval; nan where one side is constant.
    """
    return _bootstrap(_spearman, np.asarray(x, float), np.asarray(y, float), resamples, seed)


def _spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Pearson's correlation of ranks, along the last axis: what scipy's has no axis for."""
    ranks = stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis)
    return stats.pearsonr(*ranks, axis=axis).statistic


def _bootstrap(statistic: Callable, x: np.ndarray, y: np.ndarray, resamples: int, seed: int):
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3:
        raise ValueError(f"x, y: shapes {x.shape}, {y.shape}, expected twice (m,) with m from 3")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x, y: a value is not finite, expected finite numbers")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    if resamples == 0:
        return Interval(float(statistic(x, y)), float("nan"), float("nan"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        drawn = stats.bootstrap(
            (x, y),
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            method="percentile",
            rng=seed,
        )
    low, high = drawn.confidence_interval
    if np.isnan(low):  # draws of one kind alone: few planted records, few values
        low, high = np.nanquantile(drawn.bootstrap_distribution, (0.025, 0.975))
    return Interval(float(statistic(x, y)), float(low), float(high))


def lds(scores: Tensor, keep: Tensor, outcome: Tensor, resamples: int = 1000) -> Interval:
    """Linear datamodelling score of one fraction.

    Args:
        scores: (n,).
        keep: (m, n) bool, random subsets of one size: the size itself must not correlate.
        outcome: (m,) after learning from each.
        resamples: bootstrap samples, over subsets.
    """
    if len(sizes := set(keep.sum(1).tolist())) > 1:
        raise ValueError(f"keep: subsets of {len(sizes)} sizes, expected one size at a time")
    return rank_correlation(keep.double() @ scores.double(), outcome, resamples)


def auroc(suspicion: Tensor, planted: Tensor, resamples: int = 1000) -> Interval:
    """Probability that a planted record is more suspicious than a clean one, ties counted half.

    Args:
        suspicion: (n,), high for records that should be looked at.
        planted: (n,) bool, the truth.
        resamples: bootstrap samples, over records.
    """

    def area(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        # Mann-Whitney's U over the number of pairs, from the rank sum of the planted
        ranks, count = stats.rankdata(x, axis=axis), y.sum(axis)
        above = (ranks * y).sum(axis) - count * (count + 1) / 2
        with np.errstate(invalid="ignore"):  # a draw of one kind alone says nothing
            return above / (count * (y.shape[axis] - count))

    return _bootstrap(area, _numpy(suspicion), _numpy(planted), resamples, seed=0)


def floors(
    rollout: Rollout, gamma: float, lam: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Scores that know nothing of the target; an estimator has to beat them. Each (n,)."""
    advantage = rollout.advantage
    return {
        "random": from_numpy(rng.standard_normal(len(rollout))),
        "|A|": advantage.abs(),
        "|TD error|": from_numpy(np.abs(td_error(rollout, gamma, lam))),
        "sign(A)": advantage.sign(),
    }


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().double().numpy()
