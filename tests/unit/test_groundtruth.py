"""Removal and its derivative: replicas repeat the update, the sweep matches finite differences."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from lda_lib import PPO, ExactReturn, Return, influence
from lda_lib.groundtruth import (
    REMOVALS,
    FrozenRound,
    leave_one_out,
    outcomes,
    random_subsets,
    retrain,
)
from lda_lib.loss import Records, minibatch_loss, policy_loss
from lda_lib.step import OptState, make_step, shadow_adam
from lda_lib.unrolled import unrolled

from .synthetic import relative_gap

SETTINGS = {
    "sgd": {"lr": 0.05},
    "adam": {"optimizer": "adam", "lr": 1e-3},
    "adam, clipped gradients, critic on all": {
        "optimizer": "adam",
        "lr": 1e-3,
        "max_grad_norm": 0.1,
        "critic": "all",
    },
}


def about_to_update(task="FrozenLake", rounds=1, n_steps=96, seed=1, double=False, **settings):
    """An agent and the records it is about to learn from."""
    small = {"n_steps": n_steps, "batch_size": 32, "epochs": 2, "compile": False}
    agent = PPO(task, seed=seed, **(small | settings))
    agent.learn(rounds, episodes=0, evaluate_every=99, progress=False)
    rollout = agent.collect()
    if double:
        agent.policy.double()
        m, v, t = agent.opt_state
        m, v = ({k: x.double() for k, x in moment.items()} for moment in (m, v))
        agent.opt_state, rollout = OptState(m, v, t.double()), rollout.to(dtype=torch.float64)
    return agent, rollout


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("target", [Return(), ExactReturn()])
def test_unrolled_is_the_derivative_of_real_updates_in_the_record_weights(name, target):
    agent, rollout = about_to_update(double=True, **SETTINGS[name])
    ones = torch.ones(96, dtype=torch.float64)
    trace = copy.deepcopy(agent).update(rollout, ones, trace=True)
    found = unrolled(agent.policy, rollout, target, trace)
    for i in (0, 40, 95):
        ends = []
        for h in (1e-5, -1e-5):
            twin, weight = copy.deepcopy(agent), ones.clone()
            weight[i] += h
            twin.update(rollout, weight)
            with torch.no_grad():
                ends.append(float(target(twin.policy, rollout)))
        difference = (ends[0] - ends[1]) / 2e-5
        assert abs(difference - float(found[i])) < 2e-6 * float(found.abs().max())


def test_unrolled_goes_through_a_shared_network():
    agent, rollout = about_to_update("MiniGrid", 0, 32, double=True, epochs=1)
    ones = torch.ones(32, dtype=torch.float64)
    found = unrolled(
        agent.policy,
        rollout,
        Return(),
        copy.deepcopy(agent).update(rollout, ones, trace=True),
    )
    ends = []
    for h in (1e-5, -1e-5):
        twin, weight = copy.deepcopy(agent), ones.clone()
        weight[3] += h
        twin.update(rollout, weight)
        with torch.no_grad():
            ends.append(float(Return()(twin.policy, rollout)))
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(found[3]), rel=1e-5)


def test_unrolled_becomes_tracin_as_steps_shrink():
    gaps = []
    for lr in (1e-3, 1e-4):
        agent, rollout = about_to_update(rounds=0, double=True, lr=lr)
        trace = copy.deepcopy(agent).update(rollout, trace=True)
        how = {"trace": trace, "score_loss": "policy"}
        tracin = influence(agent.policy, rollout, **how)
        gaps.append(
            relative_gap(influence(agent.policy, rollout, estimator="unrolled", **how), tracin)
        )
    assert gaps[1] < 0.02 and gaps[0] / gaps[1] == pytest.approx(10, rel=0.3)


def test_adam_aware_scores_scale_the_target_gradient():
    agent, rollout = about_to_update(rounds=2, optimizer="adam", lr=1e-3)
    plain = influence(agent.policy, rollout, normalize="none")
    aware = influence(agent.policy, rollout, normalize="none", opt_state=agent.opt_state)
    state, by_hand = agent.opt_state, torch.zeros(len(rollout))
    parameters = dict(agent.policy.named_parameters())

    def gradient(scalar):
        found = torch.autograd.grad(scalar, list(parameters.values()), allow_unused=True)
        return {k: g for k, g in zip(parameters, found) if g is not None}

    v = gradient(Return()(agent.policy, rollout))
    for i in range(len(rollout)):
        g = gradient(agent.policy.log_prob(rollout[i].obs, rollout[i].action).sum())
        for k in g:
            d = 1 / ((state.v[k] / (1 - 0.999**state.t)).sqrt() + 1e-5)
            by_hand[i] += rollout.advantage[i] * (g[k] * d * v[k]).sum()
    assert relative_gap(aware, by_hand) < 1e-4
    assert relative_gap(aware / aware.abs().max(), plain / plain.abs().max()) > 0.1
    # where every component has the same second moment the two are proportional
    even = state._replace(v={k: torch.full_like(x, 0.01) for k, x in state.v.items()})
    equal = influence(agent.policy, rollout, normalize="none", opt_state=even)
    assert relative_gap(equal / equal.abs().max(), plain / plain.abs().max()) < 1e-5
    trace = agent.update(rollout, trace=True)
    per_step = influence(agent.policy, rollout, trace=trace, estimator="tracin_adam")
    assert relative_gap(per_step, influence(agent.policy, rollout, trace=trace)) > 0.1


def test_a_shadow_adam_sees_the_gradients_of_sgd():
    agent, rollout = about_to_update(double=True, lr=0.05)
    trace = agent.update(rollout, torch.ones(96, dtype=torch.float64), trace=True)
    records = Records.of(rollout, trace.weight)
    leaves = {k: x.clone().requires_grad_() for k, x in trace.params[0].items()}
    real = torch.optim.Adam(leaves.values(), lr=1e-3)
    for params, index in zip(trace.params, trace.index):
        here = {k: x.detach().requires_grad_() for k, x in params.items()}
        loss, _ = minibatch_loss(agent.policy, here, records.take(index), None, agent.config)
        for x, g in zip(leaves.values(), torch.autograd.grad(loss, list(here.values()))):
            x.grad = g
        real.step()
    half = len(trace.params) // 2
    earlier = replace(trace, params=trace.params[:half], final=(trace.params[half], trace.final[1]))
    later = replace(trace, params=trace.params[half:])
    shadow = shadow_adam(later, shadow_adam(earlier).final[1])
    assert shadow.config.optimizer == "adam" and float(shadow.final[1].t) == len(trace.params)
    assert len(shadow.state) == len(later.params)
    for k, x in leaves.items():
        assert relative_gap(shadow.final[1].m[k], real.state[x]["exp_avg"]) < 1e-9
        assert relative_gap(shadow.final[1].v[k], real.state[x]["exp_avg_sq"]) < 1e-9
    with pytest.raises(ValueError, match="expected sgd"):
        shadow_adam(shadow)


def test_a_soft_clip_becomes_the_clip():
    log_prob = torch.linspace(-0.6, 0.6, 41, dtype=torch.float64)
    logp, advantage = torch.zeros(41).double(), torch.tensor([1.5, -0.7, 0.0]).repeat(14)[:41]
    hard = policy_loss(log_prob, logp, advantage.double(), 0.2)
    for width in (0.1, 0.01):
        gap = (policy_loss(log_prob, logp, advantage.double(), 0.2, width) - hard).abs().max()
        assert 0 < gap <= width * 1.5 * np.log(2) + 1e-12
    agent, rollout = about_to_update(double=True, lr=0.5)
    trace = copy.deepcopy(agent).update(rollout, trace=True)
    assert trace.statistics[:, 4].max() > 0.05  # the clip is at work
    how = {"trace": trace, "estimator": "unrolled"}
    exact = influence(agent.policy, rollout, **how)
    assert relative_gap(influence(agent.policy, rollout, clip_width=1e-7, **how), exact) < 1e-4
    assert relative_gap(influence(agent.policy, rollout, clip_width=0.05, **how), exact) > 1e-2


@pytest.mark.parametrize("task", ["FrozenLake", "CartPole"])  # states that repeat, and none
@pytest.mark.parametrize("name", SETTINGS)
def test_rebatched_replicas_are_real_updates_on_the_kept_records(task, name):
    agent, rollout = about_to_update(task, **SETTINGS[name])
    keep = random_subsets(96, 0.8, 3, np.random.default_rng(0))
    frozen = FrozenRound.of(agent, rollout)
    (replicas,) = retrain(frozen, keep, "re-batching")
    for r, mask in enumerate(keep):
        twin = copy.deepcopy(agent)
        twin.update(rollout, mask)
        for k, p in twin.policy.named_parameters():
            assert torch.allclose(p, replicas[k][r], rtol=1e-4, atol=2e-6), k


@pytest.mark.parametrize("task", ["FrozenLake", "CartPole"])
@pytest.mark.parametrize("name", SETTINGS)
def test_weight_zero_replicas_are_the_full_update_with_silent_records(task, name):
    agent, rollout = about_to_update(task, **SETTINGS[name])
    keep = random_subsets(96, 0.5, 2, np.random.default_rng(0))
    frozen = FrozenRound.of(agent, rollout)
    (replicas,) = retrain(frozen, keep)
    step = make_step(agent.policy.arch, agent.config, False)
    for r, mask in enumerate(keep):
        params = {k: p.detach() for k, p in agent.policy.named_parameters()}
        state, lr = agent.opt_state, torch.tensor(agent.config.lr)
        records = Records.of(rollout, mask.float())
        for index, critic in frozen.batches(np.ones(96, bool)):
            who = None if critic is None else torch.from_numpy(critic)
            params, state, _ = step(params, state, records, torch.from_numpy(index), who, lr)
        for k, p in params.items():
            assert torch.allclose(p, replicas[k][r], rtol=1e-4, atol=2e-6), k


def test_leave_one_out_is_what_the_exact_influence_predicts_where_steps_are_small():
    agent, rollout = about_to_update(double=True, lr=0.01)
    trace = copy.deepcopy(agent).update(rollout, trace=True)
    index = torch.arange(0, 96, 3)
    effect = leave_one_out(FrozenRound.of(agent, rollout), index, ExactReturn())
    exact = unrolled(agent.policy, rollout, ExactReturn(), trace)[index]
    assert relative_gap(exact, effect) < 0.02
    assert (effect > 0).any() and (effect < 0).any()


def test_neither_chunks_nor_looking_change_the_outcome_but_the_order_does():
    agent, rollout = about_to_update(double=True)
    before = copy.deepcopy(agent.policy.state_dict())
    keep = random_subsets(96, 0.5, 5, np.random.default_rng(1))
    for removal in REMOVALS:
        whole = outcomes(FrozenRound.of(agent, rollout), keep, Return(), removal)
        parts = outcomes(FrozenRound.of(agent, rollout), keep, Return(), removal, chunk=2)
        other = outcomes(FrozenRound.of(agent, rollout, order=1), keep, Return(), removal)
        assert relative_gap(parts, whole) < 1e-10
        assert relative_gap(other, whole) > 1e-6
    assert all(torch.equal(p, before[k]) for k, p in agent.policy.state_dict().items())
    assert agent.round == 1


def test_random_subsets_have_one_size_and_every_record_its_chance():
    keep = random_subsets(200, 0.8, 500, np.random.default_rng(0))
    assert (keep.sum(1) == 160).all()
    assert (keep.double().mean(0) - 0.8).abs().max() < 0.1


def test_bad_input_says_what_was_expected():
    agent, rollout = about_to_update()
    frozen, keep = FrozenRound.of(agent, rollout), torch.ones(2, 96, dtype=torch.bool)
    with pytest.raises(ValueError, match="removal: 'gone', expected one of"):
        outcomes(frozen, keep, Return(), "gone")
    with pytest.raises(ValueError, match=r"keep: .*expected bool"):
        outcomes(frozen, keep[:, :5], Return())
    with pytest.raises(ValueError, match="at least one"):
        outcomes(frozen, ~keep, Return())
    keep[0, :40] = False
    with pytest.raises(ValueError, match=r"keep \[56, 96\] records, expected equally many"):
        outcomes(frozen, keep, Return(), "re-batching")
    with pytest.raises(ValueError, match=r"kept: 1\.5"):
        random_subsets(10, 1.5, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no finite model"):
        task = replace(rollout.task, env_id="CartPole-v1", kwargs={})
        ExactReturn()(agent.policy, replace(rollout, task=task))
    for wrong, words in (
        ({"estimator": "exact"}, "estimator: 'exact', expected one of"),
        ({"estimator": "unrolled"}, "without a trace"),
        ({"clip_width": 0.1}, "clip_width: 0.1"),
        ({"opt_state": agent.opt_state}, "opt_state: no moments"),
    ):
        with pytest.raises(ValueError, match=words):
            influence(agent.policy, rollout, **wrong)
    trace = agent.update(rollout, trace=True)
    with pytest.raises(ValueError, match="opt_state: given with a trace"):
        influence(agent.policy, rollout, trace=trace, opt_state=agent.opt_state)


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("task", ["FrozenLake", "CartPole"])
def test_without_the_critic_the_policy_learns_the_same(task, removal):
    agent, rollout = about_to_update(task, optimizer="adam", lr=1e-3)
    frozen, keep = (
        FrozenRound.of(agent, rollout),
        random_subsets(96, 0.8, 3, np.random.default_rng(0)),
    )
    whole = outcomes(frozen, keep, Return(), removal)
    assert torch.equal(outcomes(frozen, keep, Return(), removal, critic=False), whole)
    (replicas,) = retrain(frozen, keep, removal, critic=False)
    assert not any(name.startswith("v.") for name in replicas)
    clipped = replace(frozen, config=replace(frozen.config, max_grad_norm=0.5))
    with pytest.raises(ValueError, match="critic: False"):
        outcomes(clipped, keep, Return(), removal, critic=False)
