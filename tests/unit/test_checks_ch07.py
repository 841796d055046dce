"""Chapter 7's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from lda_lib import checks
from lda_lib.diagnosis import matched, peers_advantage, replayed_advantage

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("07")


def rates(share, base, times=lambda s, b: s / b):
    def fn(chosen, holds):
        s, b = share(chosen, holds), base(chosen, holds)
        return s, b, times(s, b)

    return fn


def among(chosen, holds):
    return holds[chosen].double().mean()


def overall(chosen, holds):
    return holds.double().mean()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (rates(lambda c, h: c[h].double().mean(), overall), "share is turned round"),
        (
            rates(lambda c, h: c[h].double().mean(), lambda c, h: c.double().mean()),
            "both are turned round",
        ),
        (rates(among, lambda c, h: h[~c].double().mean()), "the chosen included"),
        (rates(lambda c, h: h[c].double().sum(), lambda c, h: h.double().sum()), "counts"),
        (rates(among, overall, lambda s, b: b / s), "upside down"),
        (rates(among, overall, lambda s, b: s - b), "difference"),
        (rates(lambda c, h: (c & h).double().mean(), overall), "among the chosen only"),
        (lambda c, h: (among(c, h), overall(c, h)), "three numbers"),
    ],
)
def test_base_rates(fn, words):
    hint(1, fn, words)


def sorted_by(clear):
    def fn(a_hat, a_mc, se):
        known = clear(a_hat, a_mc, se)
        return known & (a_hat * a_mc < 0), known & (a_hat * a_mc > 0), ~known

    return fn


def exchanged(a_hat, a_mc, se):
    wrong, right, rest = sorted_by(lambda a, m, s: m.abs() > 2 * s)(a_hat, a_mc, se)
    return right, wrong, rest


def none_open(a_hat, a_mc, se):
    wrong, right, rest = sorted_by(lambda a, m, s: m.abs() > 2 * s)(a_hat, a_mc, se)
    return wrong, right, torch.zeros_like(rest)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (
            lambda a, m, s: (a * m < 0, a * m > 0, a * m == 0),
            "noise is ignored",
        ),
        (exchanged, "exchanged"),
        (sorted_by(lambda a, m, s: m.abs() > s), "not one"),
        (sorted_by(lambda a, m, s: (a - m).abs() > 2 * s), "differ at all"),
        (none_open, "all the rest"),
        (lambda a, m, s: a * m < 0, "three masks"),
    ],
)
def test_noise(fn, words):
    hint(2, fn, words)


def nearest(distance, without_chosen=True, once=True):
    def fn(a_hat, chosen, rng):
        left = torch.ones(len(a_hat), dtype=torch.bool)
        if without_chosen:
            left[chosen] = False
        found = []
        for i in chosen.tolist():
            gap = distance(a_hat, a_hat[i])
            gap[~left] = torch.inf
            found.append(int(gap.argmin()))
            if once:
                left[found[-1]] = False
        return torch.tensor(found)

    return fn


def at_random(a_hat, chosen, rng):
    rest = np.setdiff1d(np.arange(len(a_hat)), chosen.numpy())
    return torch.from_numpy(rng.choice(rest, len(chosen), replace=False))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (nearest(lambda a, x: (a - x).abs(), without_chosen=False), "its own control"),
        (nearest(lambda a, x: (a - x).abs(), once=False), "stands in for two"),
        (nearest(lambda a, x: (a.abs() - x.abs()).abs()), "signs do not"),
        (nearest(lambda a, x: (a + x).abs()), "take the nearest"),
        (at_random, "take the nearest"),
        (lambda a, chosen, rng: a[chosen], "whole numbers"),
    ],
)
def test_controls(fn, words):
    hint(3, fn, words)


def test_the_package_s_own_control_passes():
    assert checks.ex07_3(lambda a_hat, chosen, rng: matched(a_hat, chosen))


def replayed(change=lambda mean, se, k: (mean, se)):
    def fn(agent, rollout, i, k, rng):
        mean, se = replayed_advantage(agent.policy, rollout, [i], k=k)
        return change(float(mean[0]), float(se[0]), k)

    return fn


def outcome(agent, rollout, i, k, rng):
    """What happened to the record itself, k times over."""
    return float(rollout.reward[i]), 0.0


def learning(agent, rollout, i, k, rng):
    with torch.no_grad():
        next(agent.policy.parameters()).add_(1e-3)
    return 0.0, 1.0


def test_replayed_advantages():
    assert checks.ex07_4(replayed())
    for fn, words in (
        (replayed(lambda mean, se, k: (mean, se * k**0.5)), "falls as 1 / sqrt(k)"),
        (replayed(lambda mean, se, k: (mean, se / 20)), "drawn anew"),
        (replayed(lambda mean, se, k: (mean + 1, se)), "difference of two returns"),
        (outcome, "random numbers of its own"),
        (learning, "living on is not learning"),
    ):
        hint(4, fn, words)


def peers(rollout):
    return rollout.advantage * peers_advantage(rollout)


def test_own_rules():
    result = checks.ex07_5(peers)
    assert result and "rank correlation" in result.message
    hint(5, lambda rollout: -peers(rollout), "turned round")
    hint(5, lambda rollout: torch.ones(len(rollout)), "nearly all values are equal")


def test_the_hidden_buffer_is_one_where_influence_tells_something():
    found = re.findall(r"[+-]\d\.\d\d", checks.ex07_5(peers).message)
    assert float(found[1]) > 0.5
