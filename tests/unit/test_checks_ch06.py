"""Chapter 6's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import copy

import pytest
import torch
from scipy import stats

from lda_lib import checks

from .answers import OWN_SCORES, hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("06")


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda loss, w: (loss * w).sum() / w.sum(), "re-batching"),
        (lambda loss, w: (loss * w).sum(), "a sum"),
        (lambda loss, w: loss.mean(), "not used"),
        (lambda loss, w: (loss * (1 - w)).mean(), "that were removed"),
        (lambda loss, w: loss * w, "shape"),
    ],
)
def test_weight_zero(fn, words):
    hint(1, fn, words)


def by(statistic, kept=lambda scores, keep: keep.double() @ scores):
    return lambda scores, keep, outcome: statistic(kept(scores, keep), outcome).statistic


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (by(stats.spearmanr, lambda s, k: (~k).double() @ s), "sign is turned"),
        (by(stats.pearsonr), "Pearson"),
        (by(stats.kendalltau), "Kendall"),
        (by(stats.spearmanr, lambda s, k: k.double() @ s.abs()), "|score|"),
        (by(stats.spearmanr, lambda s, k: k.double() @ s.sign()), "not their signs"),
    ],
)
def test_lds(fn, words):
    hint(2, fn, words)


def pairs(scores, planted):
    return scores[~planted][None] - scores[planted][:, None]


def share_of_lowest(scores, planted):
    return planted[scores.argsort()[: int(planted.sum())]].double().mean()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (
            lambda s, p: 1 - ((pairs(s, p) > 0) + 0.5 * (pairs(s, p) == 0)).double().mean(),
            "sign is turned",
        ),
        (lambda s, p: (pairs(s, p) > 0).double().mean(), "ties count half"),
        (lambda s, p: (pairs(s, p) >= 0).double().mean(), "no success"),
        (share_of_lowest, "depends on how many"),
    ],
)
def test_auroc(fn, words):
    hint(3, fn, words)


def swept(react=True, last=False, sign=-1.0, mean=True, forwards=False):
    def fn(theta, x, y, v, lr, steps):
        count, errors = len(x), []
        for _ in range(steps):
            errors.append(x @ theta - y)
            theta = theta - lr * errors[-1] @ x / count
        out = torch.zeros_like(y)
        for error in errors if forwards else errors[:: -steps if last else -1]:
            out += sign * lr / (count if mean else 1) * error * (x @ v)
            if react:
                v = v - lr * x.T @ (x @ v) / count
        return out

    return fn


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"react": False}, "TracIn"),
        ({"last": True}, "only the last step"),
        ({"sign": 1.0}, "sign is turned"),
        ({"mean": False}, "divide by n"),
        ({"forwards": True}, "runs forwards"),
    ],
)
def test_sweep(settings, words):
    assert checks.ex06_4(swept())
    hint(4, swept(**settings), words)


@pytest.mark.parametrize(("fn", "words"), OWN_SCORES)
def test_own_scores(fn, words):
    hint(5, fn, words)


def test_any_score_is_answered_with_its_lds_beside_the_snapshots():
    result = checks.ex06_5(lambda agent, rollout: copy.deepcopy(rollout).advantage.abs())
    assert result and result.message.count("[") == 2
