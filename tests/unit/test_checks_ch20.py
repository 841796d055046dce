"""Chapter 20's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lda_lib import checks
from lda_lib.loss import standardise
from lda_lib.studies.paper import verdict

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("20")


def grouped(rule=standardise, groups=lambda order, size: order.split(size), back=True):
    def fn(advantage, order, size):
        out = torch.zeros_like(advantage)
        for g in groups(order, size):
            out[g] = rule(advantage[g])
        return out if back else out[order]

    return fn


def merged(order, size):
    parts = list(order.split(size))
    return parts if len(parts[-1]) == size else [*parts[:-2], torch.cat(parts[-2:])]


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda a, o, s: standardise(a), "one company"),
        (lambda a, o, s: torch.cat([standardise(x) for x in a.split(s)]), "*rollout*"),
        (grouped(back=False), "put it back"),
        (grouped(lambda a: (a - a.mean()) / (a.std(correction=0) + 1e-8)), "n - 1"),
        (grouped(lambda a: a / (a.std() + 1e-8) if len(a) > 1 else a), "not taken off"),
        (grouped(lambda a: a - a.mean()), "not divided out"),
        (grouped(groups=lambda o, s: o[: len(o) // s * s].split(s)), "left at 0"),
        (grouped(groups=merged), "not part of the last"),
        (grouped(lambda a: (a - a.mean()) / (a.std() + 1e-8)), "only centred"),
    ],
)
def test_groups(fn, words):
    hint(1, fn, words)


def ruled(change):
    def fn(value, spread, low, high):
        return change(value, spread, low, high)

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (ruled(lambda v, s, a, b: verdict(v, 0.0, a, b)), "spread counts too"),
        (
            ruled(
                lambda v, s, a, b: "weaker" if b < v - s else "stronger" if a > v + s else "agrees"
            ),
            "no spread is given",
        ),
        (
            ruled(lambda v, s, a, b: verdict(v, s, -1e9 if np.isnan(a) else a, b)),
            "expected",
        ),
        (
            ruled(
                lambda v, s, a, b: {"weaker": "stronger", "stronger": "weaker"}.get(
                    verdict(v, s, a, b), verdict(v, s, a, b)
                )
            ),
            "wholly below",
        ),
        (
            ruled(lambda v, s, a, b: "agrees" if np.isnan(a) else verdict(v, s, a, b)),
            "no interval",
        ),
    ],
)
def test_verdicts(fn, words):
    if words == "expected":  # a lower end that is missing is not caught where the upper one is too
        assert checks.ex20_2(fn)
    else:
        hint(2, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda p, q, k, m: (1 - q[:m].sum() / p[:k].sum(), 1 - q[:m].sum() / p.sum()), "turned"),
        (lambda p, q, k, m: (q[:m].sum() / p.sum(), q[:m].sum() / p[:k].sum()), "*spent*"),
        (lambda p, q, k, m: (1 - m / len(p), 1 - m / k), "count rounds"),
        (lambda p, q, k, m: (1 - q.sum() / p.sum(), 1 - q.sum() / p[:k].sum()), "stops counting"),
        (
            lambda p, q, k, m: (
                1 - q[: m - 1].sum() / p.sum(),
                1 - q[: m - 1].sum() / p[: k - 1].sum(),
            ),
            "counted from 1",
        ),
        (
            lambda p, q, k, m: (
                100 * (1 - q[:m].sum() / p.sum()),
                100 * (1 - q[:m].sum() / p[:k].sum()),
            ),
            "not per cent",
        ),
    ],
)
def test_time_saved(fn, words):
    hint(3, fn, words)


def searching(inputs, tolerance=1e-6, equal_nan=True):
    def fn(one, other):
        for x in inputs:
            a, b = one(x.clone()), other(x.clone())
            if not torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=equal_nan):
                return x
        return None

    return fn


RNG = np.random.default_rng(1)
NORMAL = [torch.from_numpy(RNG.normal(size=n)) for n in (64, 100)]
SINGLE, EQUAL = torch.ones(1, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
LARGE = torch.from_numpy(1e6 * RNG.normal(size=8))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (searching([NORMAL[0]]), "smaller group"),
        (searching(NORMAL), "single record"),
        (searching([*NORMAL, SINGLE]), "equal values"),
        (searching([*NORMAL, SINGLE, EQUAL]), "large values"),
        (searching([*NORMAL, SINGLE, EQUAL, LARGE], 0.0), "compare with a tolerance"),
        (lambda one, other: NORMAL[0], "they agree"),
    ],
)
def test_telling_apart(fn, words):
    hint(4, fn, words)


def test_a_thorough_search_passes():
    assert checks.ex20_4(searching([*NORMAL, SINGLE, EQUAL, LARGE]))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda: {"learning_rate": 1.0}, "no settings of PPOConfig"),
        (lambda: {"gamma": 0.99}, "nothing would change"),
        (lambda: {}, "expected a dict"),
    ],
)
def test_suspects(fn, words):
    hint(5, fn, words)


def test_plain_numbers_are_as_good_as_tensors():
    def fn(p, q, k, m):
        spent = float(q[:m].sum())
        return 1 - spent / float(p.sum()), 1 - spent / float(p[:k].sum())

    assert checks.ex20_3(fn)
