"""What a policy sees of an environment and what it answers: kinds, shapes and encodings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np


@dataclass(frozen=True)
class Spaces:
    """What a policy sees of a task and what it answers.

    Attributes:
        obs_kind: "onehot" (Discrete), "vector" (Box, flattened) or "image" (uint8 Box, scaled).
        obs_shape: shape of one encoded observation, (d,) or (channels, height, width).
        action_kind: "discrete" or "box"; records of other libraries' agents also "multidiscrete"
            or "multibinary".
        action_dim: number of actions (discrete) or of action components (box).
        guessed: the number of actions was read off records, in which some may never occur.
    """

    obs_kind: str
    obs_shape: tuple[int, ...]
    action_kind: str
    action_dim: int
    guessed: bool = False


def describe(env: gym.Env) -> Spaces:
    """Shapes and kinds of an environment's observations and actions.

    Raises:
        ValueError: a space other than Discrete or Box (observations, actions).
    """
    obs, action = env.observation_space, env.action_space
    if isinstance(obs, gym.spaces.Discrete):
        kind, shape = "onehot", (int(obs.n),)
    elif isinstance(obs, gym.spaces.Box):
        kind = "image" if _is_image(obs) else "vector"
        shape = tuple(encoder(obs)(np.zeros(obs.shape, obs.dtype)).shape)
    else:
        raise ValueError(
            f"observation_space: {obs} is not supported, expected Discrete or Box "
            "(gymnasium.wrappers.FlattenObservation makes a Box of most)"
        )
    if isinstance(action, gym.spaces.Discrete):
        return Spaces(kind, shape, "discrete", int(action.n))
    if isinstance(action, gym.spaces.Box) and np.issubdtype(action.dtype, np.floating):
        return Spaces(kind, shape, "box", int(np.prod(action.shape)))
    raise ValueError(f"action_space: {action} is not supported, expected Discrete or float Box")


def _is_image(space: gym.spaces.Box) -> bool:
    return space.dtype == np.uint8 and len(space.shape) in (2, 3)


def encoder(space: gym.Space) -> Callable[[Any], np.ndarray]:
    """Observation encoding: one-hot, flattened float32, or channels-first pixels divided by 255.

    An image whose first side is its smallest is taken to have its channels first already.
    """
    if isinstance(space, gym.spaces.Discrete):
        n, start = int(space.n), int(space.start)
        table = np.eye(n, dtype=np.float32)

        def one_hot(obs: Any) -> np.ndarray:
            usual = isinstance(obs, (int, np.integer)) and 0 <= obs - start < n
            if not (usual or space.contains(obs)):  # which takes five times as long
                raise ValueError(
                    f"observation: the environment returned {obs!r}, "
                    f"its observation_space says {space}"
                )
            return table[int(obs) - start]

        return one_hot
    shape = space.shape
    assert shape is not None

    def checked(obs: Any) -> np.ndarray:
        obs = np.asarray(obs)
        if obs.shape != shape:
            raise ValueError(
                f"observation: the environment returned shape {obs.shape}, "
                f"its observation_space says {shape}"
            )
        return obs

    if not (isinstance(space, gym.spaces.Box) and _is_image(space)):
        return lambda obs: checked(obs).astype(np.float32).ravel()
    if len(shape) == 2:
        return lambda obs: (checked(obs)[None] / 255.0).astype(np.float32)
    if shape[0] == min(shape):  # channels already first
        return lambda obs: (checked(obs) / 255.0).astype(np.float32)
    return lambda obs: np.ascontiguousarray(checked(obs).transpose(2, 0, 1) / 255.0, np.float32)


def action_decoder(space: gym.Space) -> Callable[[Any], Any]:
    """Policy action to environment action: an int, or an array clipped to the bounds of the Box."""
    if isinstance(space, gym.spaces.Discrete):
        start = int(space.start)
        return lambda action: int(action) + start
    assert isinstance(space, gym.spaces.Box)
    low, high, shape, dtype = space.low, space.high, space.shape, space.dtype
    return lambda action: np.clip(np.reshape(action, shape), low, high).astype(dtype)
