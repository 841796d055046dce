"""Chapter 18's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats

from lda_lib import IIF, checks

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("18")


def each(total, effect, run, measure=stats.spearmanr):
    return [measure(total[run == k], effect[run == k]).statistic for k in np.unique(run)]


def of_means(total, effect, run):
    means = ([x[run == k].mean() for k in np.unique(run)] for x in (total, effect))
    return stats.spearmanr(*means).statistic


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda t, e, r: stats.spearmanr(t, e).statistic, "pools the sets"),
        (lambda t, e, r: np.mean(each(t, e, r, stats.pearsonr)), "not Pearson's"),
        (of_means, "which *run*"),
        (lambda t, e, r: np.average(each(t, e, r), weights=np.bincount(r)), "counts once"),
        (lambda t, e, r: np.mean(each(t, -e, r)), "sign is turned"),
        (lambda t, e, r: each(t, e, r), "shape"),
    ],
)
def test_within_runs(fn, words):
    hint(1, fn, words)


def test_pooling_invents_a_correlation():
    result = checks.ex18_1(lambda t, e, r: np.mean(each(t, e, r)))
    within, pooled = (float(x) for x in re.findall(r"-?\d\.\d\d", result.message))
    assert result and abs(within) < 0.3 and pooled > 0.9


def agreement(a, b):
    return np.corrcoef(a, b)[0, 1]


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (agreement, "better than another future"),
        (lambda a, b: agreement(a, b) ** 2, "squared"),
        (lambda a, b: math.sqrt(2 * agreement(a, b) / (1 + agreement(a, b))), "mean of both"),
        (lambda a, b: math.sqrt(abs(agreement(a, b))), "return 0 there"),
        (lambda a, b: 1.0, "off by"),
    ],
)
def test_limits(fn, words):
    hint(2, fn, words)


def test_the_right_limit_passes():
    assert checks.ex18_2(lambda a, b: math.sqrt(max(agreement(a, b), 0)))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda c, w: w * (1 - c) / (c * (1 - w)), "whole futures"),
        (lambda c, w: max(1, int(w * (1 - c) / (c * (1 - w)))), "round up: with"),
        (lambda c, w: max(1, math.ceil(w / c - 1e-9)), "does not add up"),
        (lambda c, w: 2 * max(1, math.ceil(w * (1 - c) / (c * (1 - w)) - 1e-9)), "both averages"),
        (lambda c, w: 9, "off by"),
    ],
)
def test_futures_needed(fn, words):
    hint(3, fn, words)


def test_counting_up_to_enough_futures_passes():
    def fn(c, w):
        F = 1
        while F * c / (1 + (F - 1) * c) < w - 1e-12:
            F += 1
        return F

    assert checks.ex18_3(fn)
    assert fn(0.5, 0.9) == 9 and fn(0.02, 0.95) == 931  # as the message says


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda agent, rollout: rollout.advantage > -1e9, "nothing is left out"),
        (lambda agent, rollout: torch.zeros(len(rollout), dtype=torch.bool), "nothing is left to"),
        (lambda agent, rollout: rollout.advantage, "True (keep) or False"),
        (lambda agent, rollout: torch.rand(len(rollout)) < 0.5, "answers differently"),
    ],
)
def test_own_sets(fn, words):
    hint(4, fn, words)


def test_an_own_set_is_followed_beside_chance():
    result = checks.ex18_4(IIF(drop=0.5))
    assert result and "at random: " in result.message
