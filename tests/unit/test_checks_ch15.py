"""Chapter 15's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lda_lib import Repair, checks

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("15")


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda e, a, k: (e - a)[k].mean(), "mean error of all is missing"),
        (lambda e, a, k: (e - a).mean() - (e - a)[k].mean(), "turned round"),
        (lambda e, a, k: (e - a)[k].mean() - (e - a)[~k].mean(), "*dropped*"),
        (lambda e, a, k: (e - a)[~k].mean() - (e - a).mean(), "True means keep"),
        (lambda e, a, k: e[k].mean() - e.mean(), "truth is missing"),
        (lambda e, a, k: (e - a)[k].sum() - (e - a).sum(), "sums, not means"),
        (lambda e, a, k: (e - a)[k].abs().mean() - (e - a).abs().mean(), "have a sign"),
    ],
)
def test_biases(fn, words):
    hint(1, fn, words)


def table(shrink="both", weight="policy", turn=1.0):
    def fn(a_hat, state, action, pi, strength):
        total, count = torch.zeros_like(pi), torch.zeros_like(pi)
        total.index_put_((state, action), a_hat, accumulate=True)
        count.index_put_((state, action), torch.ones_like(a_hat), accumulate=True)
        by = {
            "both": count + strength,
            "none": count.clamp(min=1),
            "strength": torch.full_like(pi, strength),
            "sum": torch.ones_like(pi),
            "late": count.clamp(min=1),
        }[shrink]
        weights = {
            "policy": pi,
            "plain": torch.full_like(pi, 0.25),
            "buffer": count / count.sum(1, keepdim=True).clamp(min=1),
            "no": torch.zeros_like(pi),
        }[weight]
        mean = total / by
        out = turn * (mean - (weights * mean).sum(1, keepdim=True))
        return out * count / (count + strength) if shrink == "late" else out

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (table(weight="no"), "not centred"),
        (table(weight="plain"), "plain mean of the actions"),
        (table(weight="buffer"), "in the buffer"),
        (table(shrink="late"), "shrink first"),
        (table(shrink="none"), "nothing is shrunk"),
        (table(shrink="strength"), "`strength` alone"),
        (table(shrink="sum"), "not divided at all"),
        (table(turn=-1.0), "turned round"),
    ],
)
def test_tables(fn, words):
    hint(2, fn, words)


def test_a_right_table_passes():
    assert checks.ex15_2(table())


def share(once=False, naive=False, records=False, between=False, raw=False, unknown=np.nan):
    def fn(delta, pair):
        count = np.bincount(pair)
        again = count[pair] > 1
        if not again.any():
            return unknown
        mean = (np.bincount(pair, delta) / count)[pair]
        squares = ((delta - mean) ** 2).sum()
        total = (delta if once else delta[again]).var(ddof=1)
        if naive:
            return squares / ((delta - delta.mean()) ** 2).sum()
        free = again.sum() - (count > 1).sum()
        if once:
            free = len(delta) - len(count)
        if records:
            free = again.sum()
        within = squares / free
        if raw:
            return within
        return 1 - within / total if between else within / total

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (share(unknown=0.0), "nothing is known"),
        (share(between=True), "*between*"),
    ],
)
def test_shares(fn, words):
    hint(3, fn, words)


def only_on_ice(wrong):
    """Right where the share is 0 and all ways agree; wrong where it is not."""

    def fn(delta, pair):
        right = share()(delta, pair)
        return right if not right > 1e-9 else wrong(delta, pair)

    return fn


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"once": True}, "agree with themselves in any world"),
        ({"naive": True}, "degrees of freedom"),
        ({"records": True}, "(records - pairs)"),
        ({"between": True}, "*between*"),
        ({"raw": True}, "not a share"),
    ],
)
def test_shares_on_ice(kind, words):
    hint(3, only_on_ice(share(**kind)), words)


def test_a_right_share_tells_the_worlds_apart():
    result = checks.ex15_3(share())
    assert result and result.message.startswith("0% on the deterministic lake")


def in_place(agent, rollout):
    rollout.advantage.mul_(2)
    return rollout


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda agent, rollout: rollout.advantage, "expected a rollout"),
        (lambda agent, rollout: rollout[:10], "keeps every record"),
        (lambda agent, rollout: agent.update(rollout) is None or rollout, "only looks"),
        (lambda agent, rollout: replace(rollout, ret=rollout.ret + 1), "ret did too"),
        (
            lambda agent, rollout: replace(rollout, advantage=torch.ones(len(rollout))),
            "all advantages are equal",
        ),
    ],
)
def test_own_repairs(fn, words):
    hint(4, fn, words)


def test_a_repair_is_compared_with_ours():
    result = checks.ex15_4(Repair(rounds=1))
    assert result and "the estimates" in result.message


def test_a_repair_that_writes_into_the_rollout_is_told():
    hint(4, in_place, "changed the rollout itself")
