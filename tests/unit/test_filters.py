"""Who is kept."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lda_lib import (
    IIF,
    PPO,
    Action,
    AdvantageHeuristic,
    LowestAdvantage,
    RandomDrop,
    RandomNegative,
    Repair,
    TDError,
    TrajectoryValue,
)
from lda_lib.estimates import monte_carlo_advantage, td_error
from lda_lib.filters import agent_scores, drop_lowest

from .worlds import Corridor


@pytest.fixture(scope="module")
def scene():
    agent = PPO("Acrobot", seed=0, n_steps=400)
    return agent, agent.collect()


@pytest.mark.parametrize("drop", [0.0, 0.125, 0.5, 1.0])
def test_iif_drops_the_lowest_of_the_negative_records(scene, drop):
    agent, rollout = scene
    iif = IIF(drop)
    keep = iif(agent, rollout)
    negative = int((iif.scores < 0).sum())
    assert int((~keep).sum()) == math.floor(drop * negative) and 0 < negative < 400
    if drop > 0:
        assert iif.scores[~keep].max() <= iif.scores[keep].min()
        assert (iif.scores[~keep] < 0).all()
    assert torch.equal(iif(agent, rollout), keep)  # the same question, the same answer


def test_a_round_without_negative_records_keeps_all(scene):
    agent, rollout = scene

    def indifferent(policy, records):
        return 0.0 * policy.log_prob(records.obs, records.action).sum()

    assert IIF(1.0, target=indifferent)(agent, rollout).all()


def test_iif_takes_targets_and_score_settings(scene):
    agent, rollout = scene
    other = IIF(0.5, target=Action(rollout.obs[3], 1), settings={"normalize": "none"})
    other(agent, rollout)
    plain = IIF(0.5)
    plain(agent, rollout)
    assert not torch.equal(other.scores, plain.scores)


def test_iif_ranks_by_the_loss_it_trains_with(scene):
    """clip, coefficients and group size of the score are the agent's own."""
    agent, rollout = scene
    twin = PPO("Acrobot", seed=0, n_steps=400, batch_size=50)
    a, b = IIF(0.5), IIF(0.5)
    a(agent, rollout)
    b(twin, rollout)
    assert not torch.equal(a.scores, b.scores)


def test_iif_scores_as_the_agents_adam_steps():
    """Plain before Adam's first step; afterwards with the state that the update will find."""
    agent = PPO("FrozenLake", seed=0, n_steps=256, optimizer="adam", lr=1e-3, compile=False)
    aware, plain = IIF(0.5, settings={"adam_aware": True}), IIF(0.5)
    for k in range(2):
        rollout = agent.collect()
        aware(agent, rollout), plain(agent, rollout)
        assert torch.equal(aware.scores, plain.scores) == (k == 0)
        agent.update(rollout)
    by_hand = IIF(0.5, settings={"opt_state": agent.opt_state})
    rollout = agent.collect()
    assert torch.equal(aware(agent, rollout), by_hand(agent, rollout))
    assert torch.equal(aware.scores, by_hand.scores)


def test_adam_aware_scores_need_an_agent_with_adam(scene):
    agent, rollout = scene
    with pytest.raises(ValueError, match="adam_aware: True for an agent with sgd"):
        IIF(0.5, settings={"adam_aware": True})(agent, rollout)
    with pytest.raises(ValueError, match="scores of its own"):
        agent_scores(SimpleNamespace(influence=len, config=None), rollout, adam_aware=True)


def test_ties_are_broken_by_the_agents_generator():
    values = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    chosen = {
        tuple((~drop_lowest(values, 3, np.random.default_rng(s))).tolist()) for s in range(40)
    }
    assert len(chosen) == 6  # 2 of 4 tied values
    assert all(c[5] and not c[0] for c in chosen)
    one = drop_lowest(values, 3, np.random.default_rng(1))
    assert torch.equal(one, drop_lowest(values, 3, np.random.default_rng(1)))


def test_random_drop_is_as_large_and_not_the_same(scene):
    agent, rollout = scene
    like = IIF(0.5)
    random, iif = RandomDrop(like=like)(agent, rollout), like(agent, rollout)
    assert random.sum() == iif.sum() and not torch.equal(random, iif)
    assert int((~RandomDrop(drop=0.25)(agent, rollout)).sum()) == 100
    counted = RandomDrop(like=TDError())(agent, rollout)
    assert 0 < int((~counted).sum()) < 400  # weights count as dropped where they are 0


def test_lowest_advantage(scene):
    agent, rollout = scene
    keep = LowestAdvantage(drop=0.5)(agent, rollout)
    assert int((~keep).sum()) == int((rollout.advantage < 0).sum()) // 2
    assert rollout.advantage[~keep].max() <= rollout.advantage[keep].min()
    like = IIF(0.5)
    assert LowestAdvantage(like=like)(agent, rollout).sum() == like(agent, rollout).sum()


def test_td_errors_are_what_gae_sums(scene):
    _, rollout = scene
    delta = td_error(rollout, 0.99, 0.95)
    value, reward = rollout.value.numpy(), rollout.reward.numpy()
    inside = (rollout.episode[1:] == rollout.episode[:-1]).numpy()
    direct = reward[:-1] + 0.99 * value[1:] - value[:-1]
    np.testing.assert_allclose(delta[:-1][inside], direct[inside], atol=1e-5)


def test_td_error_draws_large_errors_more_often(scene):
    agent, rollout = scene
    weights = TDError()(agent, rollout)
    assert weights.sum() == 400 and (weights == 0).any() and (weights > 1).any()
    error = np.abs(td_error(rollout, 0.99, 0.95))
    large = error > np.median(error)
    assert weights[large].mean() > 1.2 * weights[~large].mean()
    uniform = TDError(alpha=0.0)(agent, rollout)
    assert 0.7 < uniform[large].mean() / uniform[~large].mean() < 1.4


def test_monte_carlo_advantages_come_from_repeated_visits():
    """By hand, on FrozenLake: mean return after (s, a) minus mean return after s."""
    agent = PPO("FrozenLakeSlippery", seed=0, n_steps=600)
    agent.policy.v[-1].bias.data += 0.3  # so that cut and truncated episodes bootstrap visibly
    rollout = agent.collect()
    returns = np.zeros(600)
    last = None
    for i in reversed(range(600)):
        ended = bool(rollout.terminated[i] or rollout.truncated[i])
        cut = i == 599 or rollout.episode[i + 1] != rollout.episode[i]
        if ended and not rollout.truncated[i]:
            after = 0.0
        elif cut:  # the critic speaks for the rest: recover V(next) from the one-term GAE
            after = float(rollout.ret[i] - rollout.reward[i]) / 0.99
        else:
            after = last
        last = returns[i] = float(rollout.reward[i]) + 0.99 * after
    s, a = rollout.obs.argmax(1).numpy(), rollout.action.numpy()
    expected = [
        returns[(s == s[i]) & (a == a[i])].mean() - returns[s == s[i]].mean() for i in range(600)
    ]
    got = monte_carlo_advantage(rollout, 0.99, 0.95)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("rule", [1, 2])
def test_advantage_heuristics_drop_records_with_the_wrong_sign(rule):
    agent = PPO("FrozenLakeSlippery", seed=0, n_steps=600)
    rollout = agent.collect()
    keep = AdvantageHeuristic(0.5, rule)(agent, rollout)
    a_mc, a_hat = monte_carlo_advantage(rollout, 0.99, 0.95), rollout.advantage
    wrong = a_mc * a_hat < 0
    assert int((~keep).sum()) == int(wrong.sum()) // 2 > 0
    assert wrong[~keep].all()
    badness = (a_mc - a_hat).abs() if rule == 1 else -(a_mc * a_hat)
    assert badness[~keep].min() >= badness[wrong & keep].max()


def test_without_repeated_states_the_heuristics_drop_nothing():
    agent = PPO(lambda: Corridor(), n_steps=40)
    rollout = agent.collect()
    alone = replace(rollout, obs=torch.arange(80.0).reshape(40, 2))
    assert AdvantageHeuristic(1.0)(agent, alone).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IIF(1.5), "drop: 1.5, expected a fraction from 0 to 1"),
        (lambda: IIF(-0.1), "drop: -0.1"),
        (lambda: IIF("half"), "drop: 'half'"),
        (lambda: RandomDrop(), "exactly one"),
        (lambda: RandomDrop(like=IIF(0.5), drop=0.5), "exactly one"),
        (lambda: RandomDrop(like=0.5), "like: 0.5, expected a filter"),
        (lambda: RandomDrop(drop=2.0), "drop: 2.0"),
        (lambda: LowestAdvantage(), "exactly one"),
        (lambda: AdvantageHeuristic(0.5, rule=3), "rule: 3"),
        (lambda: AdvantageHeuristic(7), "drop: 7"),
        (lambda: TDError(-1), "alpha: -1"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_random_negative_drops_as_many_among_the_negative():
    agent = PPO("LunarLander", seed=0, n_steps=400)
    rollout = agent.collect()
    iif = IIF(0.5)
    keep = RandomNegative(like=iif)(agent, rollout)
    assert int((~keep).sum()) == int((~iif(agent, rollout)).sum()) > 0
    assert (rollout.advantage[~keep] < 0).all()
    nearly_all = RandomNegative(like=lambda agent, rollout: torch.arange(len(rollout)) < 1)
    keep = nearly_all(agent, rollout)
    assert torch.equal(~keep, rollout.advantage < 0)  # there are no more of them
    with pytest.raises(ValueError, match=r"like: 0\.5"):
        RandomNegative(like=0.5)


def test_trajectory_values_are_products_of_summed_gradients():
    """Against the definition, with every record's gradient written out."""
    agent = PPO("CartPole", seed=0, n_steps=96)
    rollout = agent.collect()
    scaled = (rollout.advantage - rollout.advantage.mean()) / (rollout.advantage.std() + 1e-8)
    params = list(agent.policy.parameters())
    rows = []
    for i in range(96):
        log_prob = agent.policy.log_prob(rollout.obs[i : i + 1], rollout.action[i : i + 1])
        grads = torch.autograd.grad(scaled[i] * log_prob.sum(), params, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in grads if g is not None]))
    g = torch.stack(rows).double()
    assert len(rollout.episode.unique()) > 2
    for leave_out in (False, True):
        rule = TrajectoryValue(leave_out)
        keep = rule(agent, rollout)
        for episode in rollout.episode.unique():
            mine = rollout.episode == episode
            others = ~mine if leave_out else torch.ones_like(mine)
            expected = float(g[mine].sum(0) @ g[others].mean(0))
            assert rule.scores[mine].tolist() == pytest.approx(
                [expected] * int(mine.sum()), rel=1e-4
            )
            assert (keep[mine] == (expected >= 0)).all()


def test_td_errors_survive_a_repair():
    agent = PPO("FrozenLake", seed=0, n_steps=256, compile=False)
    agent.learn(2, progress=False)
    rollout = agent.collect()
    mended = Repair()(agent, rollout)
    assert not torch.allclose(mended.advantage, rollout.advantage, atol=1e-3)
    for estimate in (td_error, monte_carlo_advantage):
        before, after = (torch.as_tensor(estimate(x, 0.99, 0.95)) for x in (rollout, mended))
        assert torch.allclose(before, after, atol=1e-5)
    unknown = replace(rollout, value=torch.full_like(rollout.value, torch.nan))
    with pytest.raises(ValueError, match="expected V"):
        monte_carlo_advantage(unknown, 0.99, 0.95)


def test_adam_aware_scores_use_the_agents_epsilon():
    agent = PPO("FrozenLake", n_steps=256, optimizer="adam", lr=1e-3, adam_eps=1e-2, compile=False)
    agent.update(agent.collect())
    rollout = agent.collect()
    own = agent_scores(agent, rollout, adam_aware=True)
    assert torch.equal(own, agent_scores(agent, rollout, adam_aware=True, adam_eps=1e-2))
    assert not torch.equal(own, agent_scores(agent, rollout, adam_aware=True, adam_eps=1e-5))
