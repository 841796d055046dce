"""Networks as the paper has them, and actors that are the policy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lda_lib import PPO
from lda_lib.policy import ActorCritic, Architecture, draw_noise, make_actor

from .synthetic import make_policy


def fresh(obs_shape=(8,), kind="discrete", dim=4) -> ActorCritic:
    return ActorCritic(Architecture(obs_shape, kind, dim), torch.Generator().manual_seed(0))


def test_architecture_and_initialisation():
    policy = fresh()
    assert [tuple(m.weight.shape) for m in policy.pi if hasattr(m, "weight")] == [
        (64, 8), (64, 64), (4, 64),
    ]  # fmt: skip
    hidden = policy.pi[2].weight
    torch.testing.assert_close(hidden @ hidden.T, 2 * torch.eye(64), atol=1e-4, rtol=0)
    head = policy.pi[4].weight
    torch.testing.assert_close(head @ head.T, 1e-4 * torch.eye(4), atol=1e-8, rtol=0)
    assert policy.v[4].weight.norm().item() == pytest.approx(1, abs=1e-5)
    assert all(m.bias.abs().max().item() == 0 for m in policy.pi if hasattr(m, "bias"))
    assert fresh(kind="box").std.log_std.abs().max().item() == 0


def test_images_share_a_convolutional_body():
    policy = fresh((3, 7, 7), dim=7)
    shapes = [tuple(m.weight.shape) for m in policy.body if hasattr(m, "weight")]
    assert shapes == [(16, 3, 3, 3), (32, 16, 3, 3), (64, 32 * 3 * 3)]
    assert policy.pi[0].weight.shape == policy.v[0].weight.shape == (64, 64)
    with pytest.raises(ValueError, match=r"obs_shape: \(3, 4, 2\) is too small"):
        fresh((3, 4, 2))


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_log_prob_and_entropy_are_torchs_own(kind):
    policy = make_policy(kind=kind)
    g = torch.Generator().manual_seed(3)
    obs = torch.randn(20, 5, dtype=torch.float64, generator=g)
    out = policy.pi(obs)
    if kind == "discrete":
        theirs = torch.distributions.Categorical(logits=out)
        action = torch.randint(3, (20,), generator=g)
        expected = theirs.log_prob(action), theirs.entropy()
        torch.testing.assert_close(policy.probs(obs), theirs.probs)
    else:
        theirs = torch.distributions.Normal(out, policy.std.log_std.exp())
        action = torch.randn(20, 3, dtype=torch.float64, generator=g)
        expected = theirs.log_prob(action).sum(-1), theirs.entropy().sum(-1)
        with pytest.raises(ValueError, match="Gaussian"):
            policy.probs(obs)
    log_prob, value, entropy = policy(obs, action)
    torch.testing.assert_close(log_prob, expected[0])
    torch.testing.assert_close(entropy, expected[1])
    torch.testing.assert_close(policy.log_prob(obs, action), log_prob)
    torch.testing.assert_close(policy.value(obs), value)


def test_the_fast_actor_samples_from_the_policy():
    policy = make_policy(dim=4, dtype=torch.float32)
    obs = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    noise = draw_noise(policy, np.random.default_rng(0), (20_000, 1))
    act = make_actor(policy)
    actions = np.array([act(obs.numpy(), z)[0] for z in noise])
    expected = policy.probs(obs)[0].detach().double().numpy()
    counts = np.bincount(actions, minlength=4)
    assert stats.chisquare(counts, 20_000 * expected / expected.sum()).pvalue > 1e-4


def test_the_fast_actor_draws_gaussians():
    policy = make_policy(kind="box", dim=2, dtype=torch.float32)
    obs = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    noise = draw_noise(policy, np.random.default_rng(0), (20_000, 1))
    actions = np.concatenate([make_actor(policy)(obs.numpy(), z) for z in noise])
    mean, std = policy.pi(obs)[0].detach().numpy(), policy.std.log_std.exp().detach().numpy()
    np.testing.assert_allclose(actions.mean(0), mean, atol=5 * std.max() / math.sqrt(20_000))
    np.testing.assert_allclose(actions.std(0), std, rtol=0.03)


def test_convolutional_actors_act_like_their_policy():
    agent = PPO("MiniGrid", seed=0, n_steps=64)
    rollout = agent.collect()
    noise = draw_noise(agent.policy, agent.rng("actions", 0), (64, 1))
    with torch.no_grad():
        logits = agent.policy.pi(agent.policy.body(rollout.obs)).numpy()
    assert ((logits + noise[:, 0]).argmax(-1) == rollout.action.numpy()).all()
