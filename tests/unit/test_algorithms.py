"""One definition of a score for A2C, DQN and GRPO, against real steps on real tasks."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

from lda_lib import IIF, ExactReturn, RandomDrop, Return, influence
from lda_lib.algorithms import (
    DQN,
    GRPO,
    Members,
    a2c,
    advantages,
    bellman_targets,
    chosen,
    optimal_q,
    weight_scores,
)
from lda_lib.exact import finite_model
from lda_lib.groundtruth import FrozenRound, leave_one_out
from lda_lib.loss import Records, policy_loss, standardise
from lda_lib.rlhf.rollout import group_advantages
from lda_lib.targets import call
from lda_lib.tasks import make_task

SMALL = {"n_steps": 96, "capacity": 256, "updates": 20, "explore": 3}


def a2c_loss(policy, rollout, weight):
    records = Records.of(rollout, weight)
    log_prob = policy.log_prob(records.obs, records.action)
    loss = policy_loss(log_prob, records.logp, standardise(records.advantage), 0.2)
    return (weight * loss).sum()


# ---- the definition -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Return(), ExactReturn()])
def test_the_derivative_in_a_weight_is_the_influence_score(target):
    agent = a2c("FrozenLake", seed=1, n_steps=128, compile=False)
    rollout = agent.collect()
    found = weight_scores(agent.policy, rollout, a2c_loss, target)
    expected = influence(agent.policy, rollout, target, normalize="rollout")
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_what_cannot_be_scored_is_named():
    agent = a2c("FrozenLake", seed=1, n_steps=64, compile=False)
    rollout, f = agent.collect(), Return()

    def fails(words, loss=a2c_loss, target=f):
        with pytest.raises(ValueError, match=words):
            weight_scores(agent.policy, rollout, loss, target)

    fails("loss: returned", loss=lambda p, r, w: w * p.log_prob(r.obs, r.action))
    fails(
        "loss: does not depend on the weights",
        loss=lambda p, r, w: a2c_loss(p, r, 1 + 0 * w.detach()),
    )
    fails("shares no parameter", loss=lambda p, r, w: w.sum())
    fails("target: does not depend", target=lambda p, r: r.advantage.mean())
    fails("target: returned", target=lambda p, r: p.value(r.obs))
    fails("target: returned", target=lambda p, r: f(p, r) * float("nan"))
    fails("target: shares no parameter", target=lambda p, r: p.value(r.obs).mean())


# ---- A2C ----------------------------------------------------------------------------------------


def test_a2c_scores_are_exact_to_first_order():
    agent = a2c("FrozenLake", seed=2, n_steps=128, compile=False)
    agent.learn(2, progress=False)
    assert agent.optimizer_steps == 2
    rollout = agent.collect()
    agent.policy.double()
    rollout = rollout.to(dtype=torch.float64)
    index = torch.arange(0, 128, 8)
    score = influence(agent.policy, rollout, ExactReturn(), normalize="rollout")[index]
    error = []
    for lr in (0.4, 0.2, 0.1):
        agent.config = type(agent.config)(**{**vars(agent.config), "lr": lr})
        effect = leave_one_out(FrozenRound.of(agent, rollout), index, ExactReturn(), critic=False)
        error.append(float((lr / 128 * score - effect).norm()))
    assert error[0] / error[1] == pytest.approx(4, rel=0.25)  # lr squared
    assert error[1] / error[2] == pytest.approx(4, rel=0.25)


def test_a2c_takes_filters_and_one_step():
    agent = a2c("FrozenLake", seed=2, n_steps=128, compile=False, keep=IIF(1.0))
    history = agent.learn(3, progress=False)
    assert (history.kept < 128).all() and agent.optimizer_steps == 3
    with pytest.raises(ValueError, match=r"settings: \['epochs'\]"):
        a2c("FrozenLake", epochs=2)


def test_a2c_steps_by_plain_sgd_whatever_the_tasks_own_optimiser():
    assert a2c(lambda: gym.make("CartPole-v1")).config.optimizer == "sgd"
    assert a2c("FrozenLake", optimizer="adam").config.optimizer == "adam"


# ---- DQN ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dqn():
    agent = DQN("FrozenLake", seed=1, lr=0.05, **SMALL)
    agent.learn(3)
    agent.collect()
    return agent


def test_transitions_follow_the_lake(dqn):
    model, data = finite_model(make_task("FrozenLake")), dqn.fresh
    state, following = data.obs.argmax(-1), data.next_obs.argmax(-1)
    p = model.P[state, data.action, following]
    assert ((p == 1) | data.terminated).all()  # a terminal state has no row to go on from
    assert torch.equal(data.reward.double(), model.R[state, data.action])
    assert len(dqn.replay) == 256 and torch.equal(dqn.replay[-5:].obs, dqn.replay.obs[-5:])


def test_bellman_targets_end_with_the_episode(dqn):
    data = dqn.replay
    y = bellman_targets(dqn.policy, data, 0.9)
    with torch.no_grad():
        best = dqn.policy(data.next_obs).max(-1).values
    over = data.terminated
    assert over.any() and torch.equal(y[over], data.reward[over])
    assert torch.allclose(y[~over], data.reward[~over] + 0.9 * best[~over])


def test_dqn_scores_are_the_change_of_the_target_by_a_step(dqn):
    f, y = dqn.target(), bellman_targets(dqn.policy, dqn.replay, dqn.config.gamma)
    score = dqn.influence(dqn.replay)
    params = {k: p.detach() for k, p in dqn.policy.named_parameters()}
    for i in (0, 100, 255):
        one = dqn.replay[i : i + 1]
        changed = []
        for step in (1e-3, -1e-3):
            leaves = {k: p.clone().requires_grad_() for k, p in params.items()}
            loss = (call(dqn.policy, leaves, chosen, one) - y[i]).square().sum()
            slope = torch.autograd.grad(loss, list(leaves.values()))
            after = {k: p - step * g for (k, p), g in zip(params.items(), slope)}
            changed.append(float(call(dqn.policy, after, f, None)))
        difference = (changed[0] - changed[1]) / 2e-3
        assert float(score[i]) == pytest.approx(difference, rel=0.02, abs=2e-4)


def test_the_sum_of_scores_says_whether_a_step_on_the_buffer_helps(dqn):
    f, score = dqn.target(), dqn.influence(dqn.replay)
    agent = DQN("FrozenLake", seed=1, **(SMALL | {"updates": 1, "batch_size": 256, "lr": 0.02}))
    agent.policy, agent.replay, agent.round = dqn.policy, dqn.replay, dqn.round
    drawn = torch.bincount(agent.minibatches().flatten(), minlength=256)
    after = agent.retrain(torch.ones(1, 256, dtype=torch.bool))
    with torch.no_grad():
        change = call(dqn.policy, {k: p[0] for k, p in after.items()}, f, None) - f(dqn.policy)
    assert float(change) == pytest.approx(0.02 / 256 * float(drawn.float() @ score), rel=0.1)


def test_replicas_without_records_are_updates_without_them(dqn):
    keep = torch.ones(3, 256, dtype=torch.bool)
    keep[1, ::2] = False
    keep[2, dqn.minibatches().unique()] = False  # everything that is drawn
    params = dqn.retrain(keep)
    assert torch.allclose(params["0.weight"][2], dqn.policy[0].weight, atol=1e-7)
    alone = dqn.retrain(keep[1:2])
    assert torch.allclose(params["0.weight"][1], alone["0.weight"][0], atol=1e-6)
    with pytest.raises(ValueError, match="expected one with cycle=True"):
        dqn.retrain(keep, cycle=True)
    with pytest.raises(ValueError, match="the replay buffer"):
        dqn.retrain(keep[:, 1:])


@pytest.mark.parametrize("keep", [IIF(1.0), RandomDrop(like=IIF(1.0))])
def test_dqn_takes_the_filters_of_the_package(keep):
    agent = DQN("FrozenLake", seed=2, keep=keep, **SMALL)
    history = agent.learn(4)
    assert (history.kept[1:] < history.replay[1:]).all() and (history.kept[1:] > 0).all()
    assert history.return_mean.between(0, 1).all()
    plain = [DQN("FrozenLake", seed=2, **SMALL).learn(3).return_mean.tolist() for _ in range(2)]
    assert plain[0] == plain[1]  # same seed, same history


def test_q_star_is_the_value_of_the_shortest_way():
    q = optimal_q(finite_model(make_task("FrozenLake")), 0.9)
    assert float(q[0].max()) == pytest.approx(0.9**5)  # six steps, the last one is paid
    with torch.no_grad():
        assert q[14].argmax() == 2 and float(q[14, 2]) == 1


def test_dqn_refuses_what_it_cannot_do():
    wrong = (("batch_size", 0), ("epsilon", 2), ("gamma", "x"), ("lr", -1), ("lr", "a"))
    for name, value in wrong:
        with pytest.raises(ValueError, match=f"{name}: {value!r}, expected"):
            DQN("FrozenLake", **{name: value})
    with pytest.raises(ValueError, match="expected vectors and discrete actions"):
        DQN("BipedalWalker")
    agent = DQN("FrozenLake", **SMALL)
    for act in (agent.target, agent.update):
        with pytest.raises(ValueError, match="nothing is fresh"):
            act()


def test_dqn_says_that_q_diverged():
    agent = DQN("FrozenLake", seed=0, lr=1e6, **SMALL)
    with pytest.raises(FloatingPointError, match="no longer finite"):
        agent.learn(4)


# ---- GRPO ---------------------------------------------------------------------------------------


def test_weighted_advantages_are_those_among_the_members_left():
    members = GRPO(seed=3, prompts=4, group=6).collect()
    kept = torch.rand(24, generator=torch.Generator().manual_seed(0)) < 0.6
    kept[:6] = torch.tensor([True] + 5 * [False])  # left alone: says nothing
    expected = group_advantages(members.reward, members.prompt, kept)
    found = advantages(members, kept.float())
    assert torch.allclose(found, expected, atol=1e-4) and (found[:6] == 0).all()
    same = Members(members.prompt, members.word, torch.ones(24))
    assert (advantages(same, torch.ones(24)) == 0).all()


@pytest.mark.parametrize("baseline", ["all", "kept"])
def test_grpo_scores_count_what_a_member_does_to_its_group(baseline):
    agent = GRPO(seed=4, baseline=baseline, noise=0.3, lr=1e-3)
    agent.learn(3)
    members = agent.collect()
    agent.policy.double()
    members = Members(members.prompt, members.word, members.reward.double())
    n = len(members)
    score = agent.influence(members, agent.expected_reward)
    h = 1e-3
    for i in (0, 17, 63):
        ends = []
        for sign in (1, -1):
            weight = torch.ones(n, dtype=torch.float64)
            weight[i] += sign * h
            after = agent.stepped(members, weight, divisor=n)
            with torch.no_grad():
                ends.append(float(call(agent.policy, after, agent.expected_reward)))
        slope = (ends[0] - ends[1]) / (2 * h) * n / 1e-3
        assert float(score[i]) == pytest.approx(slope, abs=0.01 * float(score.abs().max()))


def test_grpo_learns_to_write_and_takes_filters():
    plain = GRPO(seed=5).learn(20)
    assert plain.return_mean.iloc[-1] > plain.return_mean.iloc[0] + 0.1
    dropped = GRPO(seed=5, keep=IIF(1.0)).learn(3)
    control = GRPO(seed=5, keep=RandomDrop(like=IIF(1.0))).learn(3)
    assert dropped.kept[0] == control.kept[0] < 64
    wrong = (("group", 1), ("lr", 0), ("lr", "a"), ("baseline", "some"), ("noise", -1.0))
    for name, value in (*wrong, ("noise", "x")):
        with pytest.raises(ValueError, match=f"{name}: {value!r}, expected"):
            GRPO(**{name: value})


def test_the_expected_reward_is_what_the_agent_earns():
    agent = GRPO(seed=6, prompts=2, group=4000)
    with torch.no_grad():
        expected = float(agent.expected_reward(agent.policy))
    assert float(agent.collect().reward.mean()) == pytest.approx(expected, abs=0.02)


def test_grpo_steps_where_nothing_is_recorded():
    agent = GRPO(seed=5)
    members = agent.collect()
    ones = torch.ones(len(members))
    recorded = agent.stepped(members, ones)
    with torch.no_grad():
        silent = agent.stepped(members, ones)
    assert all(torch.equal(p, recorded[k]) for k, p in silent.items())


def test_making_an_agent_leaves_torchs_random_state_alone():
    before = torch.get_rng_state()
    GRPO(seed=5)
    DQN("FrozenLake", seed=5)
    assert torch.equal(torch.get_rng_state(), before)
