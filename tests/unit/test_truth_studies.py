"""The studies on the truth of scores run, in their smallest size, and their tables say what ran."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from lda_lib import PPO, Repair
from lda_lib.exact import action_probs, exact_values
from lda_lib.studies import STUDIES
from lda_lib.studies.ladder import ESTIMATORS
from lda_lib.studies.luck import of_kind
from lda_lib.studies.planted_harm import plant
from lda_lib.studies.run import run_trial

ROWS = {}


@pytest.fixture
def rows(name):
    if name not in ROWS:
        trials = STUDIES[name].trials("smoke")
        found = run_trial(STUDIES[name], trials[0])[1]
        assert not isinstance(found, str), found
        ROWS[name] = found.rows
    return ROWS[name]


@pytest.mark.parametrize("name", ["fidelity"])
def test_fidelity_measures_every_estimator_by_both_removals(rows):
    assert set(rows.removal) == {"weight zero", "re-batching"}
    assert set(ESTIMATORS) < set(rows.estimator)  # the Adam-aware ones by a shadow state
    assert rows.groupby("removal").measure.nunique().tolist() == [4, 4]
    assert rows.value.dropna().between(-1, 1).all()
    at = rows[(rows.removal == "weight zero") & (rows.target == "outcome")]
    exact = at[(at.estimator == "unrolled") & (at.measure != "LDS 50%")]
    assert (exact.value > 0.9).all()  # two epochs at a small rate: no clip, little curvature
    table = STUDIES["fidelity"].table(rows)
    assert len(table) == rows.groupby(["removal", "estimator", "target"]).ngroups
    mine = table[(table.estimator == "unrolled") & (table.target == "outcome")]
    value = rows[(rows.estimator == "unrolled") & (rows.target == "outcome")].value
    assert mine[["LOO", "LDS 50%", "LDS 80%", "LDS 95%"]].to_numpy().ravel().tolist() == [*value]
    plt.close(STUDIES["fidelity"].figure(rows))


@pytest.mark.parametrize("name", ["planted_harm"])
def test_planted_harm_judges_scores_and_naive_rules(rows):
    assert {"random", "|A|", "-A_mc x A", "theta_k", "unrolled"} < set(rows.rule)
    assert set(rows.share) == {0.05, 0.1, 0.2} and rows.auroc.between(0, 1).all()
    assert len(STUDIES["planted_harm"].table(rows)) == len(rows)
    plt.close(STUDIES["planted_harm"].figure(rows))


def test_planting_changes_only_the_planted():
    rollout = PPO("FrozenLake", seed=0, n_steps=200).collect()
    false, planted = plant(rollout, 0.1, -1.0, np.random.default_rng(0))
    assert planted.sum() == 20
    assert torch.equal(false.advantage[planted], -rollout.advantage[planted])
    assert torch.equal(false.advantage[~planted], rollout.advantage[~planted])
    assert torch.equal(false.ret, rollout.ret)


def test_kinds_of_advantage_agree_where_there_is_no_luck():
    """With the exact critic, on a deterministic lake, GAE's sum is the skill sum."""
    for task, luck in (("FrozenLake", False), ("FrozenLakeSlippery", True)):
        agent = PPO(task, seed=3, n_steps=512)
        rollout = agent.collect()
        gamma, lam = agent.config.gamma, agent.config.lam
        assert agent.model is not None
        with torch.no_grad():
            probs = action_probs(agent.policy, agent.model)
        value, q = exact_values(probs, agent.model, gamma)
        state, action = rollout.state, rollout.action
        same = torch.zeros(len(rollout), dtype=torch.bool)
        same[:-1] = rollout.episode[1:] == rollout.episode[:-1]
        following = torch.where(same, value[state].roll(-1), torch.zeros(())).double()
        delta = rollout.reward.double() + gamma * following - value[state]
        total = delta.clone()
        for t in range(len(total) - 2, -1, -1):
            total[t] += gamma * lam * same[t] * total[t + 1]
        whole = (rollout.episode != rollout.episode[-1]) & ~torch.isin(
            rollout.episode, rollout.episode[rollout.truncated]
        )
        skill = of_kind("skill", agent, rollout, Repair()).advantage.double()
        gap = (skill - total)[whole].abs().max()
        assert gap > 0.05 if luck else gap < 1e-6
        exact = of_kind("exact", agent, rollout, Repair()).advantage.double()
        torch.testing.assert_close(exact, (q - value[:, None])[state, action], atol=1e-6, rtol=0)
    assert of_kind("estimated", agent, rollout, Repair()) is rollout
