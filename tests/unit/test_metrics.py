"""The paper's metrics, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lda_lib.metrics import (
    area_under_curve,
    bootstrap,
    first_passage,
    interquartile_mean,
    levels,
    runtime_saving,
    sample_efficiency,
    sustained,
)

STANDARD = [0.0, 0.2, 0.1, 0.4, 0.4, 0.8]  # levels 0, 0.2, 0.4, 0.8 at rounds 1, 2, 4, 6
FILTERED = [0.2, 0.3, 0.8, 0.7, 0.9, 0.9]  # reached at rounds 1, 1, 3, 3


def test_levels_and_first_passages():
    assert levels(STANDARD).tolist() == [0.0, 0.2, 0.4, 0.8]
    assert [first_passage(STANDARD, v) for v in levels(STANDARD)] == [1, 2, 4, 6]
    assert [first_passage(FILTERED, v) for v in levels(STANDARD)] == [1, 1, 3, 3]
    assert first_passage(STANDARD, 0.81) is None


def test_sample_efficiency_by_hand():
    result = sample_efficiency(STANDARD, FILTERED)
    assert result.se_ave == pytest.approx(np.mean([0, 1 / 2, 1 / 4, 1 / 2]))
    assert result.se_peak == pytest.approx(1 / 2)
    assert (result.censored, result.levels) == (0, 4)
    assert sample_efficiency(STANDARD, STANDARD)[:3] == (0.0, 0.0, 0)


def test_levels_never_reached_are_counted_and_cost_one_round_more():
    result = sample_efficiency(STANDARD, [0.0, 0.1, 0.2, 0.3, 0.3, 0.3])
    assert result.censored == 2
    assert result.se_ave == pytest.approx(np.mean([0, 1 - 3 / 2, 1 - 7 / 4, 1 - 7 / 6]))
    assert result.se_peak == pytest.approx(1 - 7 / 6)


def test_runtime_savings():
    seconds = [2.0] * 6
    result = runtime_saving(STANDARD, FILTERED, seconds, [1.0] * 6)
    assert result.rt_peak == pytest.approx(1 - 3 / 12)
    assert result.like_for_like == pytest.approx(1 - 3 / 12) and not result.censored
    late = runtime_saving([0.0, 1.0, 0.5, 0.5], [1.0] * 4, [2.0] * 4, [1.0] * 4)
    assert late.rt_peak == pytest.approx(1 - 1 / 8)  # against all the standard run's time
    assert late.like_for_like == pytest.approx(1 - 1 / 4)  # against its time to the same level
    never = runtime_saving([0.0, 1.0], [0.0, 0.0], [2.0] * 2, [1.0] * 2)
    assert never.censored and never.rt_peak == pytest.approx(1 - 2 / 4)


def test_sustained_curves_forgive_no_lucky_round():
    assert sustained([0, 9, 0, 3, 4, 5]).tolist() == [0, 0, 0, 3]
    with pytest.raises(ValueError, match="3 or more"):
        sustained([1, 2])


def test_area_and_interquartile_mean():
    assert area_under_curve([0, 1, 2]) == pytest.approx(1.0)
    assert area_under_curve([5.0]) == 5.0
    assert interquartile_mean([0, 1, 2, 3, 4, 5, 6, 100]) == pytest.approx(np.mean([2, 3, 4, 5]))


@pytest.mark.parametrize(("n", "covers"), [(20, 0.93), (10, 0.89), (5, 0.86), (3, 0.76)])
def test_bootstrap_intervals_cover_the_truth_as_often_as_the_docstring_says(n, covers):
    rng = np.random.default_rng(0)
    hits = 0
    for k in range(200):
        sample = rng.normal(3.0, 2.0, n)
        interval = bootstrap(sample, resamples=500, seed=k)
        assert interval.low < interval.mean < interval.high
        hits += interval.low < 3.0 < interval.high
    assert stats.binomtest(hits, 200, covers).pvalue > 0.001
    assert bootstrap([1.0, 2.0, 4.0], seed=1) == bootstrap([1.0, 2.0, 4.0], seed=1)


def test_bootstrap_of_few_or_equal_values():
    assert bootstrap([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
    one = bootstrap([2.0])
    assert one.mean == 2.0 and np.isnan(one.low) and np.isnan(one.high)
    assert bootstrap([1.0, 2.0, 9.0], np.median).mean == 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_efficiency([1, 2], [1]), "filtered: 1 rounds, expected 2"),
        (lambda: sample_efficiency([1, np.nan], [1, 2]), "standard: not finite"),
        (lambda: sample_efficiency([], []), "standard: shape"),
        (lambda: first_passage([[1]], 0), "curve: shape"),
        (lambda: runtime_saving([1, 2], [1, 2], [1], [1]), "standard_seconds: 1 rounds"),
        (lambda: bootstrap([]), "values: shape"),
    ],
)
def test_bad_curves_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
