"""Chapter 17's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import pytest
import torch

from lda_lib import checks
from lda_lib.algorithms import bellman_targets, chosen

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("17")


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda lp, a, w: (w * a * lp).sum(), "sign is turned"),
        (lambda lp, a, w: -(a * lp).sum(), "weights are missing"),
        (lambda lp, a, w: -(w * a * lp).mean(), "summed"),
        (lambda lp, a, w: -(w * a * lp).sum() / w.sum(), "divide by nothing"),
        (lambda lp, a, w: -(a * (w * lp.exp()).log()).sum(), "inside its probability"),
    ],
)
def test_weighted_losses(fn, words):
    hint(1, fn, words)


def value_target(sign=-1, power=2, reduce=torch.mean, terminal=True, best=True, hold=True):
    def fn(q, data, gamma):
        following = q(data.next_obs)
        if best:
            following = following.max(-1).values
        else:
            following = following.gather(-1, data.action.unsqueeze(-1)).squeeze(-1)
        y = data.reward + gamma * following * (~data.terminated if terminal else 1)
        error = chosen(q, data) - (y.detach() if hold else y)
        return sign * reduce(error.abs() ** power)

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (value_target(sign=1), "without the minus"),
        (value_target(reduce=torch.sum), "not the sum"),
        (value_target(power=1), "squared"),
        (value_target(terminal=False), "followed by nothing"),
        (value_target(best=False), "best action"),
        (value_target(hold=False), "held fixed"),
        (lambda q, d, g: value_target()(q, d, g).item(), "differentiated"),
    ],
)
def test_targets_of_a_value_learner(fn, words):
    hint(2, fn, words)


def test_the_packages_own_bellman_target_passes():
    assert checks.ex17_2(value_target())
    assert checks.ex17_2(lambda q, d, g: -(chosen(q, d) - bellman_targets(q, d, g)).square().mean())


def among(r, **how):
    return (r - r.mean()) / (r.std(**how) + 1e-4)


def rest(r, i):
    return torch.cat([r[:i], r[i + 1 :]])


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda r, i: rest(among(r), i), "still hold the member"),
        (lambda r, i: (rest(r, i) - rest(r, i).mean()) / (r.std() + 1e-4), "the spread is still"),
        (lambda r, i: among(rest(r, i), correction=0), "one less than"),
        (lambda r, i: rest(r, i) - rest(r, i).mean(), "now divide"),
        (lambda r, i: among(r), "shape"),
    ],
)
def test_a_group_without_a_member(fn, words):
    hint(3, fn, words)


def test_the_right_advantages_pass():
    assert checks.ex17_3(lambda r, i: among(rest(r, i)))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda rollout: rollout.advantage, "whole number"),
        (lambda rollout: rollout.index * 0, "at least three"),
        (lambda rollout: rollout.index[:5], "shape"),
    ],
)
def test_own_units(fn, words):
    hint(4, fn, words)


def test_sums_of_scores_order_units_within_one_step():
    result = checks.ex17_4(lambda rollout: rollout.episode)
    assert result, result.message
    assert float(result.message.split("leaving it out at ")[1].split(". ")[0]) > 0.95
