"""Chapter 14's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import pytest
import torch

from lda_lib import checks, influence

from .answers import OWN_SCORES, hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("14")


def aware(power=0.5, correct=True, inside=False, sides=1, sign=1.0, turned=False):
    def fn(v, push, second, t, eps):
        hat = second / (1 - 0.999**t) if correct else second
        scale = (hat + eps) ** power if inside else hat**power + eps
        D = scale if turned else 1 / scale
        return sign * push @ (v * D**sides)

    return fn


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sides": 0}, "D is missing"),
        ({"correct": False}, "began at zero"),
        ({"power": 1.0}, "*root*"),
        ({"inside": True}, "beside the root"),
        ({"turned": True}, "divides by it"),
        ({"sides": 2}, "twice"),
        ({"sign": -1.0}, "sign is turned"),
    ],
)
def test_adam_scores(settings, words):
    assert checks.ex14_1(aware())
    hint(1, aware(**settings), words)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "three things"),
        (([1.0, 1.0], [[2.0, -1.0], [0.0, 0.5]], [1.0, -4.0]), "above 0 in each"),
        (([1.0, 1.0], [[0.0, 0.5], [2.0, -1.0]], [1.0, 4.0]), "above record 1"),
        (([1.0, 1.0], [[2.0, -1.0], [0.0, 0.5]], [3.0, 3.0]), "common factor"),
        (([1.0, 1.0], [[2.0, 1.0], [0.0, 0.5]], [1.0, 9.0]), "helps in both"),
        (([1.0, 1.0], [[2.0, -1.0], [0.0, 0.5]], [1.0, 1.5]), "still has"),
        (([1.0, 1.0], [[2.0, -1.0], [0.0, -0.5]], [1.0, 4.0]), "record 1 must"),
        (([1.0, 1.0, 0.0], [[2.0, -1.0], [0.0, 0.5]], [1.0, 4.0]), "shape"),
    ],
)
def test_orders_that_turn_round(answer, words):
    hint(2, lambda: answer, words)


def test_an_order_that_turns_round_passes():
    assert checks.ex14_2(lambda: ([1.0, 1.0], [[2.0, -1.0], [0.0, 0.5]], [1.0, 4.0]))


def share(terms=range, corrected="each"):
    def fn(k, t):
        past = torch.tensor(list(terms(k + 1)), dtype=torch.float64)
        step = {"each": t + past, "own": torch.tensor(float(t)), "none": torch.tensor(1e9)}
        return (0.1 * 0.9**past / (1 - 0.9 ** step[corrected])).sum()

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda k, t: 1 - share()(k, t), "still to come"),
        (share(lambda count: range(count - 1)), "its own is one"),
        (share(lambda count: [count - 1]), "only the last"),
        (share(corrected="none"), "before it is used"),
        (share(corrected="own"), "its own correction"),
    ],
)
def test_shares_of_a_push(fn, words):
    assert checks.ex14_3(share())
    hint(3, fn, words)


def through(second_term=-2.0, sign=1.0, correct=True, stale=False):
    def fn(v, push, g, m, second, t, lr, eps):
        c1, c2 = (1 - 0.9**t, 1 - 0.999**t) if correct else (1.0, 1.0)
        old = (second / (1 - 0.999 ** max(t - 1, 1))).sqrt()
        m, second = 0.9 * m + 0.1 * g, 0.999 * second + 0.001 * g * g
        root = (second / c2).sqrt()
        S = m / c1 / (2 * root * (root + eps) ** 2)
        through_m = 0.1 / c1 / ((old if stale else root) + eps)
        return sign * lr * push @ (v * (through_m + second_term * 0.001 / c2 * S * g))

    return fn


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"second_term": 0.0}, "through m alone"),
        ({"second_term": 2.0}, "wrong sign"),
        ({"second_term": -1.0}, "twice as much"),
        ({"stale": True}, "*after* the step"),
        ({"sign": -1.0}, "sign is turned"),
        ({"correct": False}, "bias corrections"),
    ],
)
def test_whole_steps(settings, words):
    assert checks.ex14_4(through())
    hint(4, through(**settings), words)


@pytest.mark.parametrize(("fn", "words"), OWN_SCORES)
def test_own_scores(fn, words):
    hint(5, fn, words)


def test_any_score_is_answered_beside_the_plain_and_the_adam_aware_one():
    result = checks.ex14_5(lambda agent, rollout: influence(agent.policy, rollout))
    assert result and result.message.count("[") == 3
