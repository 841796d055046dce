"""Chapter 9's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lda_lib import IIF, checks
from lda_lib.studies.single_round import twin

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("09")


def after(agent, rollout, keep=None) -> float:
    other = twin(agent)
    other.update(rollout, keep)
    return other.evaluate().mean


def in_place(agent, rollout, keep):
    agent.update(rollout, keep)
    return agent.evaluate().mean - after(agent, rollout)


def learnt_twice(agent, rollout, keep):
    other = twin(agent)
    other.update(rollout)
    whole = other.evaluate().mean
    other.update(rollout, keep)
    return other.evaluate().mean - whole


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (in_place, "changed the agent"),
        (lambda a, r, k: after(a, r, k) - a.evaluate().mean, "*before* the update"),
        (lambda a, r, k: after(a, r) - a.evaluate().mean, "where does `keep` come in"),
        (lambda a, r, k: after(a, r) - after(a, r, k), "turned round"),
        (lambda a, r, k: after(a, r, k) / after(a, r), "a ratio"),
        (learnt_twice, "learnt twice"),
    ],
)
def test_gains(fn, words):
    hint(1, fn, words)


def test_a_right_gain_passes():
    assert checks.ex09_1(lambda a, r, k: after(a, r, k) - after(a, r))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda m, b, e: max(1, m // b), "one epoch"),
        (lambda m, b, e: math.ceil(m / b) * e, "left out"),
        (lambda m, b, e: m * e // b, "carried over"),
        (lambda m, b, e: m // b * e, "still make one"),
        (lambda m, b, e: m / b * e, "round down"),
        (lambda m, b, e: 320, "off by"),
    ],
)
def test_steps(fn, words):
    hint(2, fn, words)


def chosen(choose, subtract, turn=1):
    def fn(before, a, b, part):
        named = {"a": a, "b": b, "mean": (a + b) / 2}
        where = named[choose] < before if choose in named else np.full(len(a), choose == "every")
        if choose == "rose":
            where = a >= before
        return turn * (part - named[subtract])[where].mean()

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (chosen("a", "a"), "chosen partly because"),
        (chosen("b", "b"), "choose by the first"),
        (chosen("mean", "mean"), "luck that chose"),
        (chosen("a", "mean"), "still counts"),
        (chosen("b", "a"), "you did the reverse"),
        (chosen("every", "b"), "these are all rounds"),
        (chosen("rose", "b"), "rounds that rose"),
        (chosen("a", "b", -1), "turned round"),
    ],
)
def test_choosing_by_noise(fn, words):
    hint(3, fn, words)


def test_choosing_by_one_and_measuring_by_the_other_finds_nothing():
    result = checks.ex09_3(chosen("a", "b"))
    assert result and "equally good" in result.message


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda agent, rollout: agent.update(rollout) is None, "shape"),
        (lambda agent, rollout: torch.zeros(len(rollout), dtype=torch.bool), "nothing is left"),
        (lambda agent, rollout: rollout.advantage, "True (keep) or False"),
        (lambda agent, rollout: torch.rand(len(rollout)) < 0.5, "answers differently"),
    ],
)
def test_own_interventions(fn, words):
    hint(4, fn, words)


def test_an_intervention_is_compared_with_chance():
    result = checks.ex09_4(IIF(drop=0.5))
    assert result and "as many at random" in result.message
