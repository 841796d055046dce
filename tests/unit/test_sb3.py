"""Scores and filters on the unmodified Stable-Baselines3: real models in real environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lda_lib import IIF, Action, RandomDrop, TDError, influence, score_table

sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.env_util import make_vec_env  # noqa: E402
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv  # noqa: E402
from stable_baselines3.common.logger import KVWriter, Logger  # noqa: E402
from stable_baselines3.common.torch_layers import FlattenExtractor  # noqa: E402
from stable_baselines3.common.vec_env import VecNormalize  # noqa: E402

from lda_lib.sb3 import (  # noqa: E402
    FilterableDictRolloutBuffer,
    FilterableRolloutBuffer,
    FilterCallback,
    IIFCallback,
    agent_from,
    fresh_rollout,
    policy_from,
    rollout_from,
)

from .synthetic import relative_gap  # noqa: E402


class Levers(gym.Env):
    """Pull several levers at once; the reward counts those that agree with the lights."""

    observation_space = spaces.Box(0, 1, (3,), np.float32)

    def __init__(self, action_space=None):
        self.action_space = action_space or spaces.MultiDiscrete([2, 3, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.lights = 0, self.np_random.integers(2, size=3)
        return self.lights.astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        reward = float((np.ravel(action)[:3] == self.lights).sum())
        self.lights = self.np_random.integers(2, size=3)
        return self.lights.astype(np.float32), reward, self.t >= 9, False, {}


def model_of(algorithm="PPO", env="CartPole-v1", n_envs=3, policy="MlpPolicy", env_kwargs=None, **kw):
    vec = make_vec_env(env, n_envs, seed=0, env_kwargs=env_kwargs) if not hasattr(env, "num_envs") else env
    own = {"n_steps": 32, "batch_size": 16, "n_epochs": 2} if algorithm == "PPO" else {}
    defaults = {"seed": 0, "device": "cpu", "rollout_buffer_class": FilterableRolloutBuffer}
    return getattr(sb3, algorithm)(policy, vec, **(defaults | own | kw))


def weights(model):
    return {k: x.clone() for k, x in model.policy.state_dict().items()}


def same(one, other) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one)


DISCRETE = {"env": "CartPole-v1"}
CASES = {
    "discrete": DISCRETE,
    "one environment": {"env": "CartPole-v1", "n_envs": 1},
    "discrete observations": {"env": "FrozenLake-v1"},
    "box": {"env": "Pendulum-v1"},
    "gSDE": {"env": "Pendulum-v1", "use_sde": True},
    "squashed": {"env": "Pendulum-v1", "use_sde": True, "policy_kwargs": {"squash_output": True}},
    "multidiscrete": {"env": Levers},
    "multibinary": {"env": Levers, "env_kwargs": {"action_space": spaces.MultiBinary(3)}},
    "dict": {"env": SimpleMultiObsEnv, "policy": "MultiInputPolicy"},
    "a2c": {"algorithm": "A2C", "n_steps": 16},
    "a2c normalised": {"algorithm": "A2C", "n_steps": 16, "normalize_advantage": True},
}


class Watch(FilterCallback):
    """Compares the callback's scores with one backward pass per record, before the update."""

    def _on_rollout_end(self):
        before = weights(self.model)
        super()._on_rollout_end()
        assert same(before, weights(self.model))
        assert all(p.grad is None or not p.grad.isnan().any() for p in self.model.policy.parameters())
        agent = agent_from(self.model)
        agent.round = self.agent.round - 1  # the same groups of standardisation
        config = agent.config
        self.loop = influence(
            policy_from(self.model), rollout_from(self.model), method="loop",
            normalize=config.normalize, batch_size=config.batch_size, rng=agent.rng("score"),
        )  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_scores_of_the_callback_equal_the_loop(case):
    model = model_of(**CASES[case])
    watch = Watch(IIF(drop=0.5))
    model.learn(2 * model.n_steps * model.n_envs, callback=watch)
    n = model.n_steps * model.n_envs
    assert len(watch.scores) == 2 and watch.scores[-1].shape == (n,)
    assert float(watch.loop.abs().max()) > 0
    assert relative_gap(watch.scores[-1], watch.loop) < 2e-6
    dropped = int((~watch.kept[-1]).sum())
    assert dropped == int(0.5 * int((watch.scores[-1] < 0).sum())) > 0


class Double(FlattenExtractor):
    """SB3 turns observations into float32; this turns them into float64."""

    def forward(self, observations):
        return super().forward(observations).double()


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_scores_equal_the_loop_in_double_precision(env):
    model = model_of(env=env, policy_kwargs={"features_extractor_class": Double})
    model.policy.double()
    watch = Watch(IIF(drop=0.5))
    model.learn(96, callback=watch)
    assert watch.scores[0].dtype == torch.float64
    assert relative_gap(watch.scores[0], watch.loop) < 1e-10
