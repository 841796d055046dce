"""Chapter 10's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import lda_lib
from lda_lib import IIF, checks, metrics

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("10")


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda g, a, v: -a * (g @ v), "sign is turned"),
        (lambda g, a, v: g @ v, "advantage is missing"),
        (lambda g, a, v: a.abs() * (g @ v), "its sign is not"),
        (lambda g, a, v: a * (g @ v) / len(a), "divided by n"),
        (lambda g, a, v: a * torch.cosine_similarity(g, v[None]), "cosine"),
        (lambda g, a, v: g * v, "shape"),
    ],
)
def test_scores(fn, words):
    hint(1, fn, words)


def dropping(indices_of):
    def fn(scores, drop):
        keep = torch.ones(len(scores), dtype=torch.bool)
        keep[indices_of(scores, drop)] = False
        return keep

    return fn


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (dropping(lambda s, p: s.argsort()[: int(p * len(s))]), "share of all"),
        (dropping(lambda s, p: s.argsort(descending=True)[: int(p * (s < 0).sum())]), "highest"),
        (dropping(lambda s, p: s.argsort()[int(p * (s < 0).sum()) :]), "True means keep"),
        (dropping(lambda s, p: s.abs().argsort(descending=True)[: int(p * (s < 0).sum())]), "size"),
        (dropping(lambda s, p: s < 0), "whatever `drop` is"),
        (dropping(lambda s, p: s.argsort()[: int(np.ceil(p * int((s < 0).sum())))]), "floor"),
    ],
)
def test_masks(fn, words):
    hint(2, fn, words)


def shuffled_among_kept(keep, rng):
    control = keep.clone()
    kept = keep.nonzero().flatten()
    control[:] = True
    control[kept[torch.from_numpy(rng.permutation(len(kept))[: int((~keep).sum())])]] = False
    return control


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda keep, rng: torch.from_numpy(rng.permutation(len(keep)) >= len(keep) // 2), "half"),
        (lambda keep, rng: keep, "filter's own mask"),
        (lambda keep, rng: keep.roll(7), "same records each time"),
        (lambda keep, rng: ~keep[torch.from_numpy(rng.permutation(len(keep)))], "True means keep"),
        (
            lambda keep, rng: torch.from_numpy(rng.random(len(keep)) < keep.double().mean().item()),
            "on average, not each time",
        ),
        (shuffled_among_kept, "chance must not know"),
        (lambda keep, rng: keep.roll(int(rng.integers(4))), "far more often"),
    ],
)
def test_controls(fn, words):
    hint(3, fn, words)


def late(agent, keep_filter):
    rollout = agent.collect()
    agent.update(rollout)
    keep_filter(agent, rollout)


def unused(agent, keep_filter):
    rollout = agent.collect()
    keep_filter(agent, rollout)
    agent.update(rollout)


def unscored(agent, keep_filter):
    agent.update(agent.collect())


def twice(agent, keep_filter):
    keep = keep_filter(agent, agent.collect())
    agent.update(agent.collect(), keep)


def inverted(agent, keep_filter):
    rollout = agent.collect()
    agent.update(rollout, ~keep_filter(agent, rollout))


def no_update(agent, keep_filter):
    keep_filter(agent, agent.collect())


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (late, "score after the update"),
        (unused, "mask is not used"),
        (unscored, "never called"),
        (twice, "collect and keep once"),
        (inverted, "as the filter returned it"),
        (no_update, "one update in each"),
    ],
)
def test_rounds(fn, words):
    hint(4, fn, words)


def areas(runs: pd.DataFrame, arm: str, seeds) -> np.ndarray:
    curves = runs[runs["arm"] == arm].pivot(index="round", columns="seed", values="return_mean")
    return np.array([metrics.area_under_curve(curves[seed]) for seed in seeds])


def chooser(pick, report=lambda runs, arm, tune, report: areas(runs, arm, report)):
    def fn(runs, candidates, tune_seeds, report_seeds):
        arm = pick(runs, candidates, tune_seeds, report_seeds)
        return arm, report(runs, arm, tune_seeds, report_seeds)

    return fn


def right(runs, arms, tune, report):
    return max(arms, key=lambda arm: areas(runs, arm, tune).mean())


def last(runs, arms, tune, report):
    rows = runs[(runs["round"] == runs["round"].max()) & runs["seed"].isin(tune)]
    return rows[rows["arm"].isin(arms)].groupby("arm")["return_mean"].mean().idxmax()


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (chooser(lambda r, arms, t, rep: max(arms, key=lambda a: areas(r, a, rep).mean())), "only"),
        (
            chooser(lambda r, arms, t, p: max(arms, key=lambda a: areas(r, a, [*t, *p]).mean())),
            "only `tune_seeds`",
        ),
        (chooser(last), "last round"),
        (chooser(lambda r, arms, t, p: right(r, r["arm"].unique(), t, p)), "not among"),
        (chooser(right, lambda r, arm, t, p: areas(r, arm, t)), "seeds that chose"),
        (chooser(right, lambda r, arm, t, p: areas(r, arm, sorted(p))), "keep the order"),
    ],
)
def test_tuning(fn, words):
    hint(5, fn, words)


def moving(agent, rollout):
    agent.update(rollout)
    return torch.ones(len(rollout), dtype=torch.bool)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (moving, "only looks"),
        (lambda agent, rollout: torch.zeros(len(rollout), dtype=torch.bool), "nothing is left"),
        (lambda agent, rollout: rollout.advantage, "True (keep) or False"),
        (lambda agent, rollout: torch.rand(len(rollout)) < 0.5, "answers differently"),
    ],
)
def test_own_filters(fn, words):
    hint(6, fn, words)


def test_any_filter_of_the_package_is_one():
    for keep in (IIF(drop=0.5), lda_lib.RandomDrop(drop=0.2), lda_lib.LowestAdvantage(drop=0.1)):
        assert checks.ex10_6(keep)
