"""Repaired advantages: what they are, on which hook they hang, and that they take luck out."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from lda_lib import IIF, PPO, Repair, exact_advantage
from lda_lib.channel import continuations
from lda_lib.groundtruth import FrozenRound, retrain
from lda_lib.repair import (
    Past,
    _features,
    first_step,
    fit_advantage,
    fitted_advantage,
    stretch,
)
from lda_lib.step import shadow_adam

from .test_ppo import same_history, same_parameters, small


@pytest.fixture(scope="module")
def ice():
    agent = PPO("FrozenLakeSlippery", seed=1, lr=0.02)
    agent.learn(8, progress=False)
    return agent, agent.collect()


def past_of(rollout):
    return Past(rollout.obs, rollout.action, rollout.advantage - rollout.advantage.mean())


def fitted(policy, past, strength):
    weights = fit_advantage(policy, past, strength)
    return fitted_advantage(policy, weights, past.obs, past.action)


def test_the_regression_is_the_stated_one(ice):
    """Against numpy's least squares on rows for the penalty, action by action."""
    agent, rollout = ice
    found = fitted(agent.policy, past_of(rollout), 5.0).double().numpy()
    phi = _features(agent.policy, rollout.obs)[0].detach().double().numpy()
    target = past_of(rollout).advantage.double().numpy()
    probs = agent.policy.probs(rollout.obs).detach().double().numpy()
    action = rollout.action.numpy()
    penalty = np.sqrt(5.0) * np.eye(phi.shape[1])
    q = np.empty_like(probs)
    for a in range(probs.shape[1]):
        x = np.vstack([phi[action == a], penalty])
        y = np.concatenate([target[action == a], np.zeros(phi.shape[1])])
        q[:, a] = phi @ np.linalg.lstsq(x, y, rcond=None)[0]
    expected = q[np.arange(len(q)), action] - (probs * q).sum(1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_is_an_advantage(ice):
    """One value per state and action, whose mean under the policy is 0 in every state."""
    agent, rollout = ice
    weights = fit_advantage(agent.policy, past_of(rollout), 5.0)
    actions = [torch.full_like(rollout.action, a) for a in range(4)]
    each = [fitted_advantage(agent.policy, weights, rollout.obs, a) for a in actions]
    values = torch.stack(each, 1)
    probs = agent.policy.probs(rollout.obs).detach()
    assert (probs * values).sum(1).abs().max() < 1e-5 < 1e-3 < values.abs().mean(1).min()
    taken = values.gather(1, rollout.action.unsqueeze(1)).squeeze(1)
    assert torch.equal(taken, Repair(strength=5.0, rounds=1)(agent, rollout).advantage)


def test_a_gaussian_policys_repair_is_linear_in_its_standard_score():
    """Rewards that grow with the action: the repaired advantage does too, and is centred."""
    agent = small("BipedalWalker", n_steps=512)
    rollout = agent.collect()
    mean = agent.policy.pi(rollout.obs).detach()
    z = rollout.action - mean  # std is 1 at the start
    noise = torch.randn(len(rollout), generator=torch.Generator().manual_seed(0))
    past = Past(rollout.obs, rollout.action, z[:, 0] - 0.5 * z[:, 2] + 3 * noise)
    found = fitted(agent.policy, past, 30.0)
    merit = z[:, 0] - 0.5 * z[:, 2]

    def agree(x):
        return float(np.corrcoef(x.numpy(), merit.numpy())[0, 1])

    assert agree(found) > agree(past.advantage) + 0.1
    mirrored = past._replace(action=2 * mean - past.action)  # z turned round
    turned = fitted(agent.policy, mirrored, 30.0)
    torch.testing.assert_close(turned, found, atol=1e-4, rtol=1e-3)


def test_repair_comes_nearer_to_the_true_advantage():
    agent = PPO("FrozenLakeSlippery", seed=1, lr=0.02, repair=Repair())
    agent.learn(8, progress=False)
    rollout = agent.collect()
    truth = exact_advantage(agent.policy, rollout, agent.config.gamma)
    repaired = agent.repair(agent, rollout)

    def with_truth(x):
        return float(np.corrcoef(x.numpy(), truth.numpy())[0, 1])

    assert with_truth(repaired.advantage) > with_truth(rollout.advantage) + 0.2


def test_only_the_actor_sees_it(ice):
    agent, rollout = ice
    repaired = Repair()(agent, rollout)
    for name, values in rollout.tensors().items():
        same = torch.equal(values, repaired.tensors()[name])
        assert same == (name != "advantage")


def test_earlier_rounds_take_part_and_are_forgotten():
    agent = small("FrozenLake")
    repair = Repair(rounds=2)
    rollouts = [agent.collect() for _ in range(3)]
    for rollout in rollouts[:2]:
        repair(agent, rollout)
    last = repair(agent, rollouts[2]).advantage
    fresh = Repair(rounds=2)
    fresh(agent, rollouts[1])
    assert torch.equal(fresh(agent, rollouts[2]).advantage, last)
    assert not torch.equal(Repair(rounds=1)(agent, rollouts[2]).advantage, last)


def test_learning_uses_it_and_the_filter_sees_it():
    seen = []

    class Watch(IIF):
        def __call__(self, agent, rollout):
            seen.append(rollout.advantage)
            return super().__call__(agent, rollout)

    repair = Repair()
    agent = small("FrozenLake", keep=Watch(0.5), repair=repair)
    raw = []
    collect = agent.collect
    agent.collect = lambda: raw.append(collect()) or raw[-1]
    agent.learn(2, progress=False)
    plain = small("FrozenLake", keep=IIF(0.5))
    plain.learn(2, progress=False)
    assert not same_parameters(agent, plain)
    again = Repair()
    assert all(len(x) == len(r) for x, r in zip(seen, raw, strict=True))
    assert not torch.equal(seen[0], raw[0].advantage)
    assert torch.equal(seen[0], again(small("FrozenLake"), raw[0]).advantage)


@pytest.mark.parametrize("task", ["FrozenLakeSlippery", "BipedalWalker"])
def test_a_resumed_run_remembers(task, tmp_path):
    path = tmp_path / "agent.safetensors"
    whole = small(task, repair=Repair(rounds=4))
    expected = whole.learn(4, episodes=2, progress=False)
    first = small(task, repair=Repair(rounds=4))
    first.learn(2, episodes=2, progress=False)
    first.save(path)
    resumed = PPO.load(path, repair=Repair(rounds=4))
    same_history(resumed.learn(2, episodes=2, progress=False), expected)
    assert same_parameters(resumed, whole)
    with pytest.warns(UserWarning, match="repair: .* trained with Repair"):
        PPO.load(path)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match=r"strength: 0, expected a number above 0"):
        Repair(strength=0)
    with pytest.raises(ValueError, match=r"rounds: 0, expected a whole number from 1"):
        Repair(rounds=0)


def test_one_repair_does_not_carry_records_from_agent_to_agent():
    used, fresh = Repair(rounds=3), Repair(rounds=3)
    small("FrozenLake", repair=used).learn(2, progress=False)
    again = small("FrozenLake", seed=1, repair=used).learn(2, progress=False)
    same_history(again, small("FrozenLake", seed=1, repair=fresh).learn(2, progress=False))


def test_stretched_steps_are_as_long_as_repair_makes_them():
    plain, longer = small("FrozenLake"), small("FrozenLake", stretch=30.0)
    rollout = longer.collect()
    steps = [first_step(plain.policy, x) for x in (rollout, Repair()(plain, rollout))]
    factor = float(steps[1].norm() / steps[0].norm())
    trace = longer.update(rollout, trace=True)
    assert longer.used.lr == pytest.approx(factor * longer.config.lr) and factor > 1
    assert trace.config == longer.used and longer.used.critic_lr == longer.config.lr
    again = small("FrozenLake", lr=longer.used.lr, critic_lr=longer.config.lr)
    again.update(again.collect())
    assert same_parameters(longer, again)  # the advantages are as they were
    history = longer.learn(2, progress=False)
    assert history.lr.iloc[-1] == longer.used.lr != longer.config.lr


def test_a_stretched_run_resumes(tmp_path):
    path = tmp_path / "agent.safetensors"
    whole, first = (small("FrozenLake", stretch=30.0) for _ in range(2))
    expected = whole.learn(4, progress=False)
    first.learn(2, progress=False)
    first.save(path)
    same_history(PPO.load(path).learn(2, progress=False), expected)


def test_a_stretch_is_measured_on_the_records_that_are_learnt():
    """A filter lengthens the step itself; on top of that only what repair would add."""
    agent = small("FrozenLake", stretch=30.0, keep=IIF(drop=0.5))
    rollout = agent.collect()
    keep = agent.keep(agent, rollout)
    expected = stretch(agent.policy, rollout[keep])
    assert expected < 0.7 * stretch(agent.policy, rollout)
    agent.update(rollout, keep)
    assert agent.used.lr == pytest.approx(expected * agent.config.lr)


def test_a_stretched_update_can_be_made_again_and_shadowed():
    agent = small("FrozenLake", stretch=30.0)
    agent.learn(1, progress=False)
    rollout = agent.collect()
    everyone = torch.ones(1, len(rollout), dtype=torch.bool)
    again = next(retrain(FrozenRound.of(agent, rollout), everyone))
    with pytest.raises(ValueError, match=r"stretch=30.0.*expected none of them"):
        next(continuations(agent, rollout, everyone, 0))
    trace = agent.update(rollout, trace=True)
    for name, p in agent.policy.named_parameters():
        assert torch.allclose(again[name][0], p, atol=1e-6)
    assert shadow_adam(trace).config.optimizer == "adam"


def test_a_copied_agent_keeps_the_memory_of_its_repair():
    agent = small("FrozenLake", repair=Repair(rounds=3))
    agent.learn(2, progress=False)
    twin = copy.deepcopy(agent)
    assert len(pickle.loads(pickle.dumps(agent.repair)).memory) == 2
    same_history(agent.learn(2, progress=False), twin.learn(2, progress=False))
    assert len(twin.repair.memory) == 3 and twin.repair.memory is not agent.repair.memory


def test_nothing_to_learn_from_stretches_nothing():
    agent = small("FrozenLake")
    rollout = agent.collect()
    still = replace(rollout, advantage=torch.zeros_like(rollout.advantage))
    assert stretch(agent.policy, still) == 1.0


@pytest.mark.parametrize("other", [{"optimizer": "adam"}, {"desired_kl": 0.01}])
def test_a_stretch_stands_alone(other):
    with pytest.raises(ValueError, match=r"stretch: 30.0, expected None with Adam"):
        small("FrozenLake", stretch=30.0, **other)
