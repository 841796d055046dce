"""Chapter 13's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from lda_lib import Return, checks, influence

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("13")


def counts(scale=2, bias=0, spared=(1, 0), last=0, both=3, along=3):
    """(forward, both, jvp) of an MLP; `spared`: products left out in the first layer, of each."""

    def fn(widths):
        layers = [scale * (i + bias) * o for i, o in pairwise(widths)]
        F, F1 = sum(layers), layers[-1 if last else 0]
        return F, both * F - spared[0] * F1, along * F - spared[1] * F1

    return fn


def test_the_family_of_counts_holds_the_right_one():
    assert checks.ex13_1(counts())


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (counts(scale=1), "two operations"),
        (counts(spared=(0, 0)), "gradient in the observations"),
        (counts(spared=(1, 1)), "does not notice"),
        (counts(spared=(0, 1)), "turned round"),
        (counts(both=2), "*and* the backward pass"),
        (counts(along=2), "has two parts"),
        (counts(bias=1), "leave them out"),
        (counts(last=1), "not the last"),
        (counts(both=2, spared=(0, 0)), "in every layer but the first"),
    ],
)
def test_operations(fn, words):
    hint(1, fn, words)


def share(floor=math.floor, against="ppo", less=True, paid=True, shrinks=False, epochs=True):
    def fn(collect, score, step, n, kept, batch, e):
        e = e if epochs else 1
        S0, S = e * (n // batch), e * floor(kept / batch)
        iif = collect * (kept / n if shrinks else 1) + score * paid + S * step
        whole = collect + S0 * step
        if against == "update":
            return 1 - (iif - collect) / (whole - collect)
        return (whole - iif) / (iif if against == "iif" else whole) if less else iif / whole

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda c, s, t, n, kept, b, e: 1 - kept / n, "share of records dropped"),
        (share(against="update"), "saving in the *update*"),
        (share(paid=False), "scoring takes time"),
        (share(less=False), "time that is left"),
        (share(floor=lambda x: x), "round down"),
        (share(floor=math.ceil), "not added"),
        (share(against="iif"), "as a share of PPO's round"),
        (share(shrinks=True), "had to be collected"),
        (share(epochs=False), "once in each epoch"),
    ],
)
def test_amdahl(fn, words):
    hint(2, fn, words)


def factors(x, y, k, m):
    return [m / k, (y[:m].sum() / m) / (x[:k].sum() / k), x[:k].sum() / x.sum()]


def changed(place, value):
    def fn(x, y, k, m):
        found = factors(x, y, k, m)
        found[place] = value(x, y, k, m)
        return found

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda *a: [1 - f for f in factors(*a)], "return the factors"),
        (lambda *a: [1 / f for f in factors(*a)], "turned round"),
        (changed(1, lambda x, y, k, m: y.mean() / x.mean()), "not of all rounds"),
        (changed(2, lambda x, y, k, m: k / len(x)), "in seconds, not in rounds"),
        (changed(2, lambda x, y, k, m: y[:m].sum() / x.sum()), "PPO's alone"),
        (changed(1, lambda x, y, k, m: y[:m].sum() / x[:k].sum()), "about *one* round"),
        (lambda *a: [factors(*a)[i] for i in (1, 0, 2)], "another order"),
    ],
)
def test_three_factors(fn, words):
    hint(3, fn, words)


def fewest(gone=math.ceil, whole_only=False, at_least_one=True, remainder=True):
    def fn(score, step, n, batch, epochs):
        m = gone(round(score / (epochs * step), 9))
        left = n // batch - m
        if left < at_least_one:
            return None
        if m == 0:
            return 0
        if whole_only:
            return m * batch
        return (n if remainder else n // batch * batch) - batch * (left + 1) + 1

    return fn


def test_the_family_of_prices_holds_the_right_one():
    assert checks.ex13_4(fewest())


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda *a: 1, "paid for with nothing"),
        (fewest(whole_only=True), "one record is enough"),
        (fewest(gone=math.floor), "expected 1"),
        (fewest(gone=lambda x: math.floor(x) + (x > 0)), "exactly paid for"),
        (fewest(remainder=False), "2100 records"),
        (fewest(at_least_one=False), "only minibatch cannot go"),
        (lambda *a: fewest()(*a) or 0, "cannot go"),
    ],
)
def test_break_even(fn, words):
    hint(4, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda agent, rollout: torch.ones(len(rollout)), "all your scores are equal"),
        (lambda agent, rollout: rollout.advantage[:10], "expected (512,)"),
    ],
)
def test_cheaper_scores(fn, words):
    hint(5, fn, words)


def test_the_price_of_a_score_is_counted():
    def quarter(agent, rollout):
        return influence(agent.policy, rollout, Return(rollout[::4]), normalize="none")

    result = checks.ex13_5(quarter)
    assert result and "FrozenLake: 64% of the operations" in result.message  # the jvp is left
    free = checks.ex13_5(lambda agent, rollout: rollout.advantage)
    assert free and "0% of the operations" in free.message
