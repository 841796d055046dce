"""Chapter 12's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from lda_lib import IIF, checks

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("12")


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda r, v, w, t, g: r + g * w - v, "nothing follows"),
        (lambda r, v, w, t, g: r + g * w * t - v, "goes *on*"),
        (lambda r, v, w, t, g: v - r - g * w * ~t, "sign is turned"),
        (lambda r, v, w, t, g: r + w * ~t - v, "discount is missing"),
        (lambda r, v, w, t, g: r + g * w * ~t, "V(s) is missing"),
        (lambda r, v, w, t, g: r + g * (w * ~t - v), "*follows* is discounted"),
        (lambda r, v, w, t, g: (r + g * w * ~t - v).abs(), "its size"),
        (lambda r, v, w, t, g: (r + g * w) * ~t - v, "last step counts"),
    ],
)
def test_surprise(fn, words):
    hint(1, fn, words)


def means(state, action, ret):
    t = pd.DataFrame({"s": state, "a": action, "ret": ret})
    pair = t.groupby(["s", "a"]).ret.transform("mean").to_numpy()
    return (
        torch.tensor(pair.copy()),
        torch.tensor(t.groupby("s").ret.transform("mean").to_numpy().copy()),
        torch.tensor(t.groupby("a").ret.transform("mean").to_numpy().copy()),
    )


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda s, a, r: means(s, a, r)[0] - r.mean(), "depends on the state"),
        (lambda s, a, r: means(s, a, r)[0], "usual in the state"),
        (lambda s, a, r: means(s, a, r)[1] - means(s, a, r)[0], "turned round"),
        (lambda s, a, r: r - means(s, a, r)[1], "own return"),
        (lambda s, a, r: means(s, a, r)[2] - means(s, a, r)[1], "action alone"),
    ],
)
def test_repeated_visits(fn, words):
    hint(2, fn, words)


def bisection(
    middle, keep_low=lambda reached, wanted: reached < wanted, last=lambda low, high: high
):
    def fn(distance, wanted, low, high):
        if distance(high) < 0.99 * wanted:
            return last(low, high)
        for _ in range(40):
            x = middle(low, high)
            reached = distance(x)
            if abs(reached - wanted) <= 0.01 * wanted:
                return x
            low, high = (x, high) if keep_low(reached, wanted) else (low, x)
        return x

    return fn


gives_up = bisection(lambda a, b: (a * b) ** 0.5, last=lambda low, high: low)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (bisection(lambda a, b: (a + b) / 2), "linear scale"),
        (bisection(lambda a, b: (a * b) ** 0.5, lambda r, w: r > w), "to *fall*"),
        (gives_up, "does not reach it"),
        (lambda d, w, a, b: [d(a) for _ in range(99)], "no end"),
        (lambda d, w, a, b: b, "times as far"),
    ],
)
def test_matching(fn, words):
    hint(3, fn, words)


def pieces(own=True, divide=lambda n, size: n - size, mean=False):
    def fn(G, piece):
        size = torch.bincount(piece)
        g = torch.zeros(len(size), G.shape[1], dtype=G.dtype).index_add_(0, piece, G)
        total = g @ G.sum(0) - (g * g).sum(1) * own
        return (total / divide(len(G), size) / (size if mean else 1))[piece]

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (pieces(own=False, divide=lambda n, s: n), "votes for itself"),
        (pieces(divide=lambda n, s: n), "n - |S|"),
        (pieces(divide=lambda n, s: 1), "take the mean"),
        (pieces(mean=True), "not the mean"),
        (lambda G, p: (G @ G.sum(0) - (G * G).sum(1)) / (len(G) - 1), "judged by itself"),
    ],
)
def test_pieces(fn, words):
    hint(4, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda agent, rollout: torch.zeros(len(rollout), dtype=torch.bool), "nothing is left"),
        (lambda agent, rollout: rollout.advantage, "True (keep) or False"),
        (lambda agent, rollout: torch.rand(len(rollout)) < 0.5, "answers differently"),
    ],
)
def test_own_rivals(fn, words):
    hint(5, fn, words)


def test_a_rival_is_compared_with_a_bigger_step():
    result = checks.ex12_5(IIF(drop=0.5))
    assert result and "a bigger step" in result.message
