"""Chapter 2's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("02")


def retrained(combine, alone=False):
    def fn(outcome, n):
        one = torch.eye(n, dtype=torch.float64)
        everything, nothing = outcome(torch.ones(n)), outcome(torch.zeros(n))
        single = torch.stack([outcome(one[i] if alone else 1 - one[i]) for i in range(n)])
        return combine(everything, nothing, single)

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (retrained(lambda f, _, x: x - f), "sign is turned"),
        (retrained(lambda f, _, x: x), "outcomes without"),
        (retrained(lambda f, zero, x: x - zero, alone=True), "*alone*"),
        (retrained(lambda f, _, x: x, alone=True), "all others 1"),
        (retrained(lambda f, _, x: f - x, alone=True), "keep the others"),
        (retrained(lambda f, _, x: (f - x) / len(x)), "no mean"),
        (retrained(lambda f, _, x: f - x), "you train 9 times"),
    ],
)
def test_effects(fn, words):
    hint(1, fn, words)


def product(combine):
    def fn(w, x, y, star, y_star):
        p, p_star = torch.sigmoid(x @ w), torch.sigmoid(star @ w)
        return combine((y - p)[:, None] * x, (y_star - p_star) * star, x, y, star, y_star, p)

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (product(lambda g, f, *_: -g @ f), "sign is turned"),
        (
            product(lambda g, f, x, y, s, ys, p: (y - 0.5)[:, None] * x @ ((ys - 0.5) * s)),
            "w = 0",
        ),
        (product(lambda g, f, x, y, s, *_: g @ s), "not the log-odds"),
        (product(lambda g, f, x, y, s, ys, p: -(p[:, None] * x) @ f), "labels are missing"),
        (product(lambda g, f, x, y, s, *_: x @ s), "similarity alone"),
        (product(lambda g, f, *_: torch.cosine_similarity(g, f[None])), "cosine"),
        (product(lambda g, f, *_: g @ f / len(g)), "divided by n"),
        (product(lambda g, f, *_: g * f), "shape"),
    ],
)
def test_scores(fn, words):
    hint(2, fn, words)


def error(effects):
    return effects.std(0) / len(effects) ** 0.5


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda e, z: e.mean(0) > z * error(e), "turned round"),
        (lambda e, z: e.mean(0) < 0, "mean below zero"),
        (lambda e, z: e[0] < 0, "first training only"),
        (lambda e, z: e.mean(0) < -z * e.std(0), "standard error is"),
        (lambda e, z: e.mean(0).abs() > z * error(e), "negative side"),
        (lambda e, z: e.mean(0) < -error(e), "`z` is not used"),
        (
            lambda e, z: e.mean(0).argsort().argsort() < (e.mean(0) < -z * error(e)).sum(),
            "lowest means",
        ),
        (
            lambda e, z: (e.mean(0) < -z * error(e)) | ((e.mean(0) > 0).all() & (e[0] < e[0, 1])),
            "need not be a worst",
        ),
    ],
)
def test_noise_or_harm(fn, words):
    hint(3, fn, words)


def rank(a, b):
    return stats.spearmanr(a, b).statistic


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda v, k, o: np.corrcoef(k.double() @ v, o)[0, 1], "Pearson"),
        (lambda v, k, o: rank((~k).double() @ v, o), "left out"),
        (lambda v, k, o: rank(k.double() @ v / k.sum(1), o), "mean over the subset"),
        (lambda v, k, o: -rank(k.double() @ v, o), "sign comes out turned"),
        (lambda v, k, o: rank(k.sum(1), o), "size of the subset"),
        (lambda v, k, o: k.double() @ v, "shape"),
    ],
)
def test_lds(fn, words):
    hint(4, fn, words)


def moved(H, g):
    return torch.linalg.solve(H, g.T).T


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda H, g, f: moved(H, g) @ f / len(g), "sign is turned: leaving"),
        (lambda H, g, f: -moved(H, g) @ f, "1/n is missing: example"),
        (lambda H, g, f: moved(H, g) @ f, "sign is turned and"),
        (lambda H, g, f: -g @ f / len(g), "Hessian is missing"),
        (lambda H, g, f: -(g @ H) @ f / len(g), "instead of its inverse"),
    ],
)
def test_influence_functions(fn, words):
    hint(5, fn, words)
