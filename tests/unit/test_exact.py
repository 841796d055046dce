"""Exact returns, values and advantages against long simulation."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from lda_lib import (
    PPO,
    TASKS,
    exact_advantage,
    exact_return,
    exact_values,
    finite_model,
    make_task,
)
from lda_lib.exact import action_probs


def capable(task: str) -> PPO:
    """An agent whose random policy is sharpened, so that it reaches the goal now and then."""
    agent = PPO(task, seed=4, n_steps=64)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        agent.policy.pi[-1].weight += 0.4 * torch.randn(
            agent.policy.pi[-1].weight.shape, generator=g
        )
    return agent


def simulate(agent: PPO, episodes: int, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Undiscounted and discounted returns of real episodes in the real environment."""
    env = agent.task.make()
    model = finite_model(agent.task)
    with torch.no_grad():
        probs = action_probs(agent.policy, model).numpy()
    probs /= probs.sum(-1, keepdims=True)  # float32's last digits
    rng, returns = np.random.default_rng(0), np.zeros((2, episodes))
    for k in range(episodes):
        env.reset(seed=k)
        over, factor = False, 1.0
        while not over:
            action = rng.choice(probs.shape[1], p=probs[model.state_of(env)])
            _, reward, terminated, truncated, _ = env.step(int(action))
            returns[:, k] += reward, factor * reward
            factor *= gamma
            over = terminated or truncated
    return returns[0], returns[1]


@pytest.mark.parametrize(
    ("task", "episodes"), [("FrozenLake", 4000), ("FrozenLakeSlippery", 4000), ("MiniGrid", 150)]
)
def test_exact_return_is_what_long_simulation_finds(task, episodes):
    agent = capable(task)
    model = finite_model(agent.task)
    probs = action_probs(agent.policy, model).detach()
    returns, discounted = simulate(agent, episodes, 0.99)
    exact = float(exact_return(probs, model))
    assert returns.std() > 0, "the comparison needs episodes that differ"
    assert abs(returns.mean() - exact) < 4 * returns.std() / episodes**0.5
    value, _ = exact_values(probs, model, 0.99)
    start = float((model.start * (value if model.stationary else value[0])).sum())
    assert abs(discounted.mean() - start) < 4 * discounted.std() / episodes**0.5 + 1e-4
    assert agent.evaluate().mean == pytest.approx(exact) and agent.evaluate().exact


@pytest.mark.parametrize("task", ["FrozenLake", "FrozenLakeSlippery8x8", "MiniGrid"])
def test_values_satisfy_bellman_and_advantages_average_to_zero(task):
    agent = capable(task)
    model = finite_model(agent.task)
    probs = action_probs(agent.policy, model).detach()
    value, q = exact_values(probs, model, 0.9)
    torch.testing.assert_close((probs * q).sum(-1), value)
    nxt = value if model.stationary else torch.cat([value[1:], torch.zeros_like(value[:1])])
    pay = 1.0 if model.stationary else model.pay[:, None, None]
    expected = pay * model.R + 0.9 * torch.einsum("sap,...p->...sa", model.P, nxt)
    torch.testing.assert_close(q, expected)
    rollout = agent.collect()
    advantage = exact_advantage(agent.policy, rollout, gamma=0.9)
    i = 5
    s, a = int(rollout.state[i]), int(rollout.action[i])
    where = (s,) if model.stationary else (int(rollout.t[i]), s)
    assert float(advantage[i]) == pytest.approx(float(q[where][a] - value[where]))
    assert advantage.shape == (64,) and advantage.dtype == torch.float64


def test_models_are_the_environments():
    """Every recorded step of a long rollout is possible in the model, and its picture is right."""
    for task in ("FrozenLakeSlippery", "MiniGrid"):
        rollout = PPO(task, seed=0, n_steps=1500).collect()
        model = finite_model(rollout.task)
        torch.testing.assert_close(model.obs[rollout.state], rollout.obs)
        stays = ~(rollout.terminated | rollout.truncated)[:-1]
        s, a, s_next = rollout.state[:-1], rollout.action[:-1], rollout.state[1:]
        assert (model.P[s, a, s_next][stays] > 0).all()
    assert model.P.shape == (144, 7, 144) and len(model.pay) == 256


def test_the_return_is_differentiable():
    agent = capable("FrozenLake")
    model = finite_model(agent.task)
    probs = action_probs(agent.policy, model).detach().requires_grad_()
    (g,) = torch.autograd.grad(exact_return(probs, model), probs)
    h = torch.zeros_like(probs)
    h[0, 2] = 1e-5
    with torch.no_grad():
        difference = (exact_return(probs + h, model) - exact_return(probs - h, model)) / 2e-5
    assert float(g[0, 2]) == pytest.approx(float(difference), rel=1e-6)


def test_where_states_cannot_be_listed_there_is_no_model():
    assert finite_model(TASKS["Acrobot"]) is None
    wrapped = make_task(lambda: TASKS["FrozenLake"].make())  # might have been changed inside
    assert finite_model(wrapped) is None
    rollout = PPO("CartPole", n_steps=8).collect()
    with pytest.raises(ValueError, match="no finite model"):
        exact_advantage(PPO("CartPole").policy, rollout)


def test_a_wrapped_task_has_no_model_of_what_is_inside():
    plain = TASKS["FrozenLake"]
    wrapped = replace(plain, wrap=lambda env: gym.wrappers.TransformReward(env, lambda r: r - 1))
    assert finite_model(plain) is not None and finite_model("MiniGrid") is not None
    assert finite_model(wrapped) is None


def test_records_without_a_state_are_refused():
    agent = PPO("FrozenLake", n_steps=64, batch_size=32, compile=False)
    rollout = agent.collect()
    lost = replace(rollout, state=torch.full_like(rollout.state, -1))
    with pytest.raises(ValueError, match="state is -1"):
        exact_advantage(agent.policy, lost)
