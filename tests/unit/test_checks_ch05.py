"""Chapter 5's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import pytest
import torch

from lda_lib import Return, checks, influence

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("05")


def probabilities(policy, rollout, tile):
    return policy.probs(torch.eye(16).to(rollout.obs)[tile : tile + 1])[0]


def asking(formula):
    """An attempt at exercise 1 from a formula of (probabilities, this, that)."""

    def fn(tile, this, that):
        return lambda policy, rollout: formula(probabilities(policy, rollout, tile), this, that)

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda tile, this, that: None, "without calling it"),
        (asking(lambda p, this, that: p[that].log() - p[this].log()), "turned round"),
        (asking(lambda p, this, that: p[this] - p[that]), "difference of probabilities"),
        (asking(lambda p, this, that: p[this] / p[that]), "take its logarithm"),
        (asking(lambda p, this, that: p[this].log()), "first action only"),
        (asking(lambda p, this, that: (p[this] / p[that]).log().detach()), "no gradient"),
        (
            asking(lambda p, this, that: p[this].log() - p[that].log().detach()),
            "only a part",
        ),
    ],
)
def test_log_ratios(fn, words):
    assert checks.ex05_1(asking(lambda p, this, that: (p[this] / p[that]).log()))
    hint(1, fn, words)


def value_of(tile):
    return lambda policy, rollout: policy.value(torch.eye(16)[tile : tile + 1]).squeeze()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda p, r, tile: influence(p, r, value_of(tile)), "every score is 0"),
        (
            lambda p, r, tile: influence(
                p, r, lambda p, r: p.value(r.obs).mean(), score_loss="full"
            ),
            "mean of V",
        ),
        (lambda p, r, tile: -influence(p, r, value_of(tile), score_loss="full"), "sign"),
    ],
)
def test_reaching_the_critic(fn, words):
    hint(2, fn, words)


def raw(policy, rollout, target):
    return influence(policy, rollout, target, normalize="none")


def top(scores, k):
    return scores.argsort(descending=True)[:k]


def both(policy, rollout, fresh):
    return raw(policy, rollout, Return()), raw(policy, rollout, Return(reference=fresh))


def honest(policy, rollout, fresh, k):
    own, other = both(policy, rollout, fresh)
    chosen = top(own, k)
    return own[chosen].mean(), other[chosen].mean()


def picks_again(policy, rollout, fresh, k):
    own, other = both(policy, rollout, fresh)
    return own[top(own, k)].mean(), other[top(other, k)].mean()


def scores_fresh(policy, rollout, fresh, k):
    own, theirs = raw(policy, rollout, Return()), raw(policy, fresh, Return())
    return own[top(own, k)].mean(), theirs[top(theirs, k)].mean()


def bottom(policy, rollout, fresh, k):
    own, other = both(policy, rollout, fresh)
    return own[top(-own, k)].mean(), other[top(-own, k)].mean()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (picks_again, "picks its own top k"),
        (scores_fresh, "scores the fresh records"),
        (lambda p, r, f, k: (honest(p, r, f, k)[0],) * 2, "same buffer"),
        (lambda *a: honest(*a)[::-1], "swapped"),
        (lambda p, r, f, k: [k * x for x in honest(p, r, f, k)], "sums"),
        (bottom, "bottom k"),
        (lambda *a: honest(*a)[0], "expected two numbers"),
    ],
)
def test_lucky_top(fn, words):
    assert checks.ex05_3(honest)
    hint(3, fn, words)


def nearest(policy, rollout, scores, targets):
    return min(
        targets, key=lambda name: float((raw(policy, rollout, targets[name]) - scores).norm())
    )


def largest(policy, rollout, scores, targets):
    return max(targets, key=lambda name: float(raw(policy, rollout, targets[name]).mean()))


def unsigned(policy, rollout, scores, targets):
    def alike(name):
        other = raw(policy, rollout, targets[name])
        return float(torch.cosine_similarity(other.abs(), scores.abs(), dim=0))

    return max(reversed(list(targets)), key=alike)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda *a: None, "returned None"),
        (lambda *a: "the goal", "expected one of"),
        (lambda *a: "return", "these scores answer"),
        (nearest, "multiplied"),
        (largest, "you said"),
        (
            lambda p, r, s, t: (
                "up on 10" if unsigned(p, r, s, t) == "down on 10" else unsigned(p, r, s, t)
            ),
            "the sign counts",
        ),
    ],
)
def test_whose_question(fn, words):
    hint(4, fn, words)


def noisy(policy, rollout):
    return probabilities(policy, rollout, 0)[0] + torch.rand(())


def jumping(policy, rollout):
    p = probabilities(policy, rollout, 0)[0]
    return p + 3 * p.detach()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda p, r: 1.0, "scalar tensor"),
        (lambda p, r: p.value(r.obs), "finite scalar"),
        (lambda p, r: r.reward.sum(), "does not depend"),
        (noisy, "random numbers"),
        (lambda p, r: 0 * probabilities(p, r, 0)[0], "gradient is 0"),
        (jumping, "detached"),
    ],
)
def test_own_targets(fn, words):
    hint(5, fn, words)


def test_any_smooth_question_is_a_target():
    assert checks.ex05_5(Return())
    assert checks.ex05_5(lambda p, r: p(r.obs, r.action)[2].mean())
