"""Chapter 8's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lda_lib import checks
from lda_lib.similarity import contiguity, roughness, similarity_graph

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("08")


def kind(up, down):
    return lambda a, A, w: up(a == w, A).double() - down(a == w, A).double()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (kind(lambda s, A: s & (A > 0), lambda s, A: s & False), "leave out the records of"),
        (kind(lambda s, A: ~s & (A < 0), lambda s, A: s & (A > 0)), "turned round"),
        (lambda a, A, w: torch.where(a == w, A.sign(), -A.sign()), "four kinds"),
        (lambda a, A, w: A.sign(), "whatever was done"),
        (kind(lambda s, A: s, lambda s, A: ~s & (A < 0)), "*negative* advantage"),
        (kind(lambda s, A: s & (A >= 0), lambda s, A: ~s & (A <= 0)), "exactly 0"),
    ],
)
def test_kinds(fn, words):
    hint(1, fn, words)


def scaled(x):
    return x / np.abs(x).max()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x, i, j, w: (w * (x[i] - x[j]) ** 2).sum() / w.sum(), "not scaled"),
        (
            lambda x, i, j, w: (w * (scaled(x)[i] - scaled(x)[j]) ** 2).mean(),
            "not by the number of edges",
        ),
        (lambda x, i, j, w: ((scaled(x)[i] - scaled(x)[j]) ** 2).mean(), "weights are missing"),
        (lambda x, i, j, w: (w * (scaled(x)[i] - scaled(x)[j]) ** 2).sum(), "divide it by the sum"),
        (lambda x, i, j, w: (w * abs(scaled(x)[i] - scaled(x)[j])).sum() / w.sum(), "square them"),
        (lambda x, i, j, w: 0.5, "off by"),
    ],
)
def test_roughness(fn, words):
    hint(2, fn, words)


def shuffling(times):
    def fn(x, graph):
        rng = np.random.default_rng(0)
        return roughness(x, graph) / np.mean(
            [roughness(rng.permutation(x), graph) for _ in range(times)]
        )

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x, g: roughness(x, g), "the roughness itself"),
        (lambda x, g: 1 / contiguity(x, g), "turned round"),
        (lambda x, g: roughness(x, g) / scaled(x).var(ddof=1), "half of chance"),
        (lambda x, g: roughness(x, g) / (2 * x.var(ddof=1)), "unscaled"),
        (lambda x, g: 1.0, "expected about"),
    ],
)
def test_chance(fn, words):
    hint(3, fn, words)


def test_chance_by_shuffling_and_by_formula():
    assert checks.ex08_3(contiguity)
    assert checks.ex08_3(shuffling(500))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x, p: np.random.default_rng().normal(), "answers differently"),
        (lambda x, p: x.max(), "other units"),
        (lambda x, p: np.corrcoef(x[:-1], x[1:])[0, 1], "another order"),
        (lambda x, p: roughness(x, similarity_graph(p, 8)), "should be higher"),
    ],
)
def test_own_measures(fn, words):
    hint(4, fn, words)


def test_a_measure_that_tells_passes():
    result = checks.ex08_4(lambda x, p: -roughness(x, similarity_graph(p, 8)))
    assert result and "shuffled, between" in result.message
