"""Small environments whose every number is known."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class Corridor(gym.Env):
    """Walk right from 0; the observation is (position, action before), the reward the position.

    Ends (terminated) at `goal`; `gym.wrappers.TimeLimit` or `limit` truncates. With `poison` the
    reward of that step number (counted over the environment's life) is nan.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, goal=5, limit=1000, poison=None, continuous=False, shape=(2,)):
        self.goal, self.limit, self.poison, self.shape = goal, limit, poison, shape
        self.action_space = (
            gym.spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else gym.spaces.Discrete(2)
        )
        self.lived = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.integers(2)), 0
        return self._obs(0), {}

    def _obs(self, action):
        full = np.array([self.x, float(np.ravel(action)[0])])
        return full if self.shape == (2,) else full[:1]

    def step(self, action):
        assert self.action_space.contains(action), action
        self.x += 1.0
        self.t += 1
        self.lived += 1
        reward = float("nan") if self.lived == self.poison else self.x
        return self._obs(action), reward, self.x >= self.goal, self.t >= self.limit, {}


class Unrepeatable(Corridor):
    """A world that ignores its seed."""

    births = 0

    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed)
        type(self).births += 1
        self.x = 1e-3 * type(self).births
        return self._obs(0), info
