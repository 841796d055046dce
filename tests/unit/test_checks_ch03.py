"""Chapter 3's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lda_lib import checks
from lda_lib.checks.ch03 import QUESTIONS

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("03")


def mean(x):
    return x.double().mean()


def pairs(rollout):
    return list(zip(rollout.state.tolist(), rollout.action.tolist(), strict=True))


def same(a, b):
    return (a.state == b.state) & (a.action == b.action)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda a, b: mean(a.action == b.action), "actions alone"),
        (lambda a, b: mean(a.state == b.state), "tiles alone"),
        (lambda a, b: same(a, b).sum(), "divide"),
        (lambda a, b: mean(torch.tensor([p in pairs(b) for p in pairs(a)])), "*value*"),
        (
            lambda a, b: (
                sum(min(pairs(a).count(p), pairs(b).count(p)) for p in {*pairs(a)}) / len(a)
            ),
            "how *often*",
        ),
        (lambda a, b: mean(same(a, b).long().cummin(0).values), "first difference"),
    ],
)
def test_shares(fn, words):
    hint(1, fn, words)


def rounds(*, weights="first", frozen=True, dropped=False, dice=None, again=False):
    """A family of attempts at 3.2 and 3.3; its default is right for 3.2."""

    def fn(agent, weight, later):
        count = later if isinstance(later, int) else len(later) + 1
        J, first = [], None
        for h in range(count):
            if h == 1 and dice:
                agent.seed += dice
            rollout = later[h - 1] if frozen and h else agent.collect()
            rollout = first if again and h else rollout
            first = rollout if first is None else first
            use = weights == "all" or (weights == "first" and h == 0)
            keep = (weight > 0.5 if dropped else weight) if use else None
            agent.update(rollout, keep)
            J.append(agent.evaluate().mean)
        return J

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (rounds(frozen=False), "its own buffers"),
        (rounds(weights="none"), "nothing is left out"),
        (rounds(weights="all"), "every round"),
        (rounds(dropped=True), "keep their places"),
        (lambda agent, w, later: rounds()(agent, w, later)[:2], "shape"),
        (lambda agent, w, later: rounds(frozen=False)(agent, w, 3)[::-1], "off by"),
    ],
)
def test_frozen(fn, words):
    hint(2, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (rounds(frozen=False, weights="none"), "nothing is left out"),
        (rounds(frozen=False, weights="all"), "every round"),
        (rounds(frozen=False, dice=1), "aligned"),
        (rounds(frozen=False, again=True), "collect in each"),
    ],
)
def test_collected_again(fn, words):
    hint(3, fn, words)


def test_the_family_of_continuations_holds_the_right_ones():
    assert checks.ex03_2(rounds())
    assert checks.ex03_3(rounds(frozen=False))


def test_whose_question():
    right = {letter: answer for letter, (answer, _) in QUESTIONS.items()}
    assert checks.ex03_4(lambda: right)
    for letter, answer in right.items():
        wrong = "none" if answer != "none" else "local"
        hint(4, lambda letter=letter, wrong=wrong: right | {letter: wrong}, f"{letter} is not")
    hint(4, lambda: right | {"A": "global"}, "expected one of")
    hint(4, lambda: {"A": "local"}, "keys")


def own(agent, buffer):
    return agent.policy.log_prob(buffer.obs, buffer.action)


def in_place(agent, buffer):
    buffer.logp.copy_(own(agent, buffer).detach())
    return buffer


def change(**fields):
    return lambda agent, buffer: replace(
        buffer, **{name: make(agent, buffer) for name, make in fields.items()}
    )


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (in_place, "handed in has changed"),
        (change(logp=own), "gradient"),
        (lambda agent, buffer: buffer, "still that of the policy"),
        (change(logp=lambda a, b: own(a, b).detach().exp()), "logarithm"),
        (change(logp=lambda a, b: own(a, b).detach() - b.logp), "log-ratio"),
        (
            change(logp=lambda a, b: own(a, b).detach(), advantage=lambda a, b: 0 * b.advantage),
            "advantage has changed",
        ),
        (lambda agent, buffer: own(agent, buffer), "expected a Rollout"),
    ],
)
def test_new_anchor(fn, words):
    hint(5, fn, words)
