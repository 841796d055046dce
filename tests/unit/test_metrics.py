"""The paper's metrics, by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats

from lda_lib.metrics import (
    area_under_curve,
    confidence_interval,
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


def test_sample_efficiency_is_the_stated_sum_on_any_two_curves():
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 40):
        x, y = rng.normal(size=(2, n)).round(1)  # coarse enough for ties
        at = levels(x)
        reached = [first_passage(y, v) for v in at]
        saved = [1 - (r or n + 1) / first_passage(x, v) for r, v in zip(reached, at, strict=True)]
        told = sample_efficiency(x, y)
        assert told == (pytest.approx(np.mean(saved)), pytest.approx(saved[-1]), *told[2:])
        assert told[2:] == (reached.count(None), len(at))


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


def ratio_of_means(x, y, seeds):
    return x[seeds.astype(int)].mean() / y[seeds.astype(int)].mean()


@pytest.mark.parametrize("n", [3, 5, 10, 20])
@pytest.mark.parametrize(
    ("draw", "truth", "covers"),
    [
        (lambda rng, n: rng.normal(3.0, 2.0, n), 3.0, {}),
        (lambda rng, n: rng.exponential(2.0, n), 2.0, {3: 0.88, 5: 0.88, 10: 0.89, 20: 0.92}),
    ],
    ids=["normal", "exponential"],
)
def test_intervals_cover_the_mean_as_often_as_the_docstring_says(n, draw, truth, covers):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        interval = confidence_interval(draw(rng, n))
        assert interval.low < interval.mean < interval.high
        hits += interval.low < truth < interval.high
    assert stats.binomtest(hits, 1000, covers.get(n, 0.95)).pvalue > 0.01


def test_intervals_of_other_statistics_cover_too_and_the_means_is_the_textbooks():
    rng = np.random.default_rng(0)
    x, y = rng.gamma(4.0, 1.0, (2, 400, 10))

    hits = 0
    for pair in zip(x, y):
        found = confidence_interval(np.arange(10), partial(ratio_of_means, *pair))
        hits += found.low < 1.0 < found.high
    assert stats.binomtest(hits, 400, 0.95).pvalue > 0.01
    expected = stats.ttest_1samp(x[0], 0.0).confidence_interval(0.9)
    assert confidence_interval(x[0], confidence=0.9)[1:] == pytest.approx(tuple(expected))


def test_intervals_of_few_or_equal_values():
    for value in (2.0, 0.1):  # 0.1 three times has a mean, and a variance, off by rounding
        found = confidence_interval([value] * 3)
        assert found.low == found.mean == found.high == pytest.approx(value)
    one = confidence_interval([2.0])
    assert one.mean == 2.0 and np.isnan(one.low) and np.isnan(one.high)
    assert confidence_interval([1.0, 2.0, 9.0], interquartile_mean).mean == 4.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_efficiency([1, 2], [1]), "filtered: 1 rounds, expected 2"),
        (lambda: sample_efficiency([1, np.nan], [1, 2]), "standard: not finite"),
        (lambda: sample_efficiency([], []), "standard: shape"),
        (lambda: first_passage([[1]], 0), "curve: shape"),
        (lambda: runtime_saving([1, 2], [1, 2], [1], [1]), "standard_seconds: 1 rounds"),
        (lambda: confidence_interval([]), "values: shape"),
        (lambda: confidence_interval([1, 2], confidence=95), "confidence: 95, expected between"),
    ],
)
def test_bad_curves_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
