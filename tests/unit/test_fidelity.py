"""The measures of fidelity agree with scipy's, and floors and folds are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from lda_lib import PPO, influence
from lda_lib.fidelity import auroc, floors, lds, rank_correlation
from lda_lib.groundtruth import random_subsets
from lda_lib.scores import by_episode, cross_fitted


@pytest.fixture(scope="module")
def agent_and_rollout():
    agent = PPO("FrozenLake", seed=0, n_steps=256, compile=False)
    return agent, agent.collect()


def test_rank_correlation_is_spearmans_and_its_interval_covers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200).round(1)  # with ties
    y = x + rng.normal(size=200)
    found = rank_correlation(x, y)
    assert found.mean == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.low < found.mean < found.high and found.high - found.low < 0.3
    assert np.isnan(rank_correlation(x, y, resamples=0).low)
    assert np.isnan(rank_correlation(x, np.ones(200)).mean)
    with pytest.raises(ValueError, match="expected twice"):
        rank_correlation(x, y[:5])
    with pytest.raises(ValueError, match="finite"):
        rank_correlation(x, np.where(y > 1, np.nan, y))


def test_lds_is_one_where_outcomes_are_sums_of_scores():
    rng = np.random.default_rng(1)
    scores, keep = torch.randn(50), random_subsets(50, 0.5, 40, rng)
    outcome = 3 + 2 * (keep.double() @ scores.double())
    assert lds(scores, keep, outcome, 0).mean == pytest.approx(1)
    assert lds(-scores, keep, outcome, 0).mean == pytest.approx(-1)
    keep[0] = True
    with pytest.raises(ValueError, match="2 sizes"):
        lds(scores, keep, outcome)


def test_auroc_is_mann_whitneys_u():
    rng = np.random.default_rng(2)
    planted = torch.from_numpy(rng.random(300) < 0.1)
    suspicion = torch.from_numpy(rng.normal(size=300).round(1)) + planted
    u = stats.mannwhitneyu(suspicion[planted], suspicion[~planted]).statistic
    found = auroc(suspicion, planted, 200)
    assert found.mean == pytest.approx(u / int(planted.sum()) / int((~planted).sum()), abs=1e-12)
    assert 0.5 < found.low < found.mean < found.high <= 1
    assert auroc(planted.float(), planted, 0).mean == 1


def test_floors_are_blind_to_the_policy(agent_and_rollout):
    _, rollout = agent_and_rollout
    found = floors(rollout, 0.99, 0.95, np.random.default_rng(0))
    assert list(found) == ["random", "|A|", "|TD error|", "sign(A)"]
    assert all(x.shape == (256,) for x in found.values())
    last = rollout.terminated.nonzero()[0]
    error = (rollout.reward - rollout.value)[last].abs()  # nothing follows a terminal state
    assert torch.allclose(found["|TD error|"][last].float(), error, atol=1e-5)


def test_cross_fitting_keeps_a_record_out_of_its_own_verdict(agent_and_rollout):
    agent, rollout = agent_and_rollout
    how = {"folds": 4, "normalize": "none"}
    before = cross_fitted(agent.policy, rollout, **how)
    number = torch.unique(rollout.episode, return_inverse=True)[1]
    mine = number % 4 == 2
    rollout.advantage[mine] *= 3.0
    try:
        after = cross_fitted(agent.policy, rollout, **how)
        assert torch.allclose(after[mine], 3 * before[mine], rtol=1e-4)  # as its own advantage
        assert not torch.allclose(after[~mine], before[~mine], rtol=1e-2)  # it is others' target
    finally:
        rollout.advantage[mine] /= 3.0
    # with the whole buffer as target records vote for themselves
    plain = influence(agent.policy, rollout, normalize="none")
    assert plain.sum() > before.sum()
    with pytest.raises(ValueError, match="folds: 1000"):
        cross_fitted(agent.policy, rollout, folds=1000)


def test_scores_by_episode_keep_their_sum(agent_and_rollout):
    _, rollout = agent_and_rollout
    scores = torch.randn(256)
    spread = by_episode(rollout, scores)
    assert float(spread.sum()) == pytest.approx(float(scores.sum()), abs=1e-3)
    one = rollout.episode == rollout.episode[0]
    assert torch.allclose(spread[one], scores[one].mean())


def test_a_handful_of_planted_records_has_an_interval():
    x = torch.arange(500).double()
    found = auroc(x, x > 497)
    assert found.mean == 1.0 and found.low == found.high == 1.0
