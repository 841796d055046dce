"""Chapter 11's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from lda_lib import checks

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("11")


def forecast(kept=None, steps=None, mean=None, times=None):
    def fn(scores, drop, lr, b, e):
        ranked, negative = scores.sort().values, int((scores < 0).sum())
        mine = (kept or (lambda s, p, m: s[int(p * m) :]))(ranked, drop, negative)
        count = (steps or (lambda m, n, b, e: e * max(1, m // b)))(len(mine), len(scores), b, e)
        value = lr * count * (mean(scores) if mean else mine.mean())
        return times(value, lr, len(mine)) if times else value

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (forecast(kept=lambda s, p, m: s[min(int(p * len(s)), len(s) - 1) :]), "of all"),
        (forecast(kept=lambda s, p, m: s[: len(s) - int(p * m)]), "lowest are to go"),
        (forecast(steps=lambda m, n, b, e: e * max(1, n // b)), "dropping makes fewer"),
        (forecast(mean=lambda s: s.mean()), "only the kept ones"),
        (forecast(steps=lambda m, n, b, e: e * math.ceil(m / b)), "left out"),
        (forecast(steps=lambda m, n, b, e: e * m / b), "whole minibatches"),
        (forecast(steps=lambda m, n, b, e: max(1, m // b)), "one epoch"),
        (forecast(steps=lambda m, n, b, e: e * (m // b)), "still make one"),
        (forecast(times=lambda x, lr, m: x / lr), "learning rate is missing"),
        (forecast(times=lambda x, lr, m: x * m), "takes the mean"),
    ],
)
def test_forecasts(fn, words):
    hint(1, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda f, a, b: f(a | b) - f(a) - f(b), "count twice"),
        (lambda f, a, b: f(a) + f(b) - f(a & b) - f(a | b), "turned round"),
        (lambda f, a, b: f(a | b), "effect of both"),
        (lambda f, a, b: f(a & b) - f(a) - f(b), "they share"),
    ],
)
def test_interactions(fn, words):
    hint(2, fn, words)


def luck(choose, report):
    def fn(gains, k):
        parts = []
        for c in combinations(range(gains.shape[1]), k):
            tune = list(c)
            parts.append(report(gains, choose(gains, tune), tune))
        return np.mean(parts)

    return fn


def on_tune(gains, tune):
    return int(gains[:, tune].mean(1).argmax())


def difference(gains, row, tune):
    return gains[row, tune].mean() - np.delete(gains[row], tune).mean()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (luck(lambda g, t: int(g.mean(1).argmax()), difference), "only the k may choose"),
        (luck(on_tune, lambda g, r, t: g[r, t].mean()), "subtract what the same setting"),
        (luck(on_tune, lambda g, r, t: -difference(g, r, t)), "turned round"),
        (luck(on_tune, lambda g, r, t: g[r, t].mean() - g[r].mean()), "not all seeds"),
        (
            luck(on_tune, lambda g, r, t: g[r, t].mean() - np.delete(g, t, 1).mean(1).max()),
            "*their* winner",
        ),
        (lambda g, k: difference(g, on_tune(g, list(range(k))), list(range(k))), "one split"),
        (luck(lambda g, t: int(np.delete(g, t, 1).mean(1).argmax()), difference), "swap them"),
    ],
)
def test_luck(fn, words):
    hint(3, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda k, b, e: max(1, round(e * len(k) / int(k.sum()))), "*minibatches*"),
        (
            lambda k, b, e: max(1, round(e * max(1, int(k.sum()) // b) / max(1, len(k) // b))),
            "need more epochs",
        ),
        (lambda k, b, e: math.ceil(e * (len(k) // b) / max(1, int(k.sum()) // b)), "rounded up"),
        (lambda k, b, e: e * (len(k) // b) // max(1, int(k.sum()) // b), "rounded down"),
        (lambda k, b, e: e, "unchanged"),
        (lambda k, b, e: e * (len(k) // b) / max(1, int(k.sum()) // b), "whole number"),
    ],
)
def test_fair_epochs(fn, words):
    hint(4, fn, words)


def moving(agent, rollout, scores):
    agent.update(rollout)
    return 0.5


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (moving, "only looks"),
        (lambda agent, rollout, scores: 50, "not per cent"),
        (lambda agent, rollout, scores: np.random.random(), "answers differently"),
    ],
)
def test_own_dials(fn, words):
    hint(5, fn, words)


def test_a_fixed_dial_does_what_that_setting_does():
    message = checks.ex11_5(lambda agent, rollout, scores: 0.5).message
    yours, fixed = (message.split(name)[1].split(";")[0] for name in ("yours: ", "p = 50: "))
    assert yours == fixed
