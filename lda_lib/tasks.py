"""The environments of the course, with the settings the paper gives them.

A task is a recipe: it makes fresh, independent environment objects and says how their observations
and actions look to a policy. Everything random about an episode comes from the seed of its reset,
so an episode can be replayed anywhere from (seed, actions).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from .spaces import Spaces, action_decoder, describe, encoder


class FreshWorld(gym.Wrapper):
    """Give BipedalWalker a new Box2D world at each reset.

    The world that the environment reuses keeps its solver's warm start from one episode to the
    next, so that a reset with the same seed starts a slightly different episode. With a new world
    every episode replays exactly from its seed, as LunarLander's already do.
    """

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Reset the environment in a new world."""
        import Box2D

        walker: Any = self.env.unwrapped
        walker._destroy()
        walker.world = Box2D.b2World()
        return self.env.reset(seed=seed, options=options)


def untimed(env: gym.Env) -> gym.Env:
    """The environment without gymnasium's time limits, wherever among its wrappers they stand."""
    while isinstance(env, TimeLimit):
        env = env.env
    if isinstance(env, gym.Wrapper):
        env.env = untimed(env.env)
    return env


def _wrapped(module: str, wrapper: str, env: gym.Env) -> gym.Env:
    """The environment in a wrapper whose module is only imported where it is needed."""
    return getattr(importlib.import_module(module), wrapper)(env)


@dataclass(frozen=True)
class Task:
    """An environment recipe and the paper's settings for it (Hu et al. 2025, table of settings).

    Attributes:
        name: what the course calls it.
        env_id: gymnasium id, or None where a factory makes the environment.
        kwargs: keyword arguments of `gymnasium.make`.
        module: package to import first, so that gymnasium knows the id.
        wrap: wrapper applied to the environment.
        factory: makes the environment where there is no id.
        shared: the factory returns one and the same object each time.
        takes_kwargs: the factory passes keyword arguments on to `gymnasium.make`.
        rounds: rounds of the paper's figure for this task.
        drop: the paper's p as a fraction (IIF drops this share of the negative records).
        optimizer: "sgd" or "adam".
        lr: learning rate.
    """

    name: str
    env_id: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict, hash=False)
    module: str | None = None
    wrap: Callable[[gym.Env], gym.Env] | None = None
    factory: Callable[..., gym.Env] | None = None
    shared: bool = False
    takes_kwargs: bool = False
    rounds: int = 20
    drop: float = 0.5
    optimizer: str = "adam"
    lr: float = 3e-4

    def make(self, **kwargs: Any) -> gym.Env:
        """Return a new environment; `kwargs` (such as `render_mode`) add to the task's own.

        A function of the user's own that makes environments does not get them; gymnasium's time
        limit is taken off what it made where `max_episode_steps=-1` asks for that.
        """
        if self.module:
            module = importlib.import_module(self.module)
            if self.env_id not in gym.registry:
                gym.register_envs(module)
        if self.factory and self.takes_kwargs:
            return self.factory(**kwargs)
        if self.factory:
            env = self.factory()
            return untimed(env) if kwargs.get("max_episode_steps") == -1 else env
        assert self.env_id is not None
        options = {"disable_env_checker": True, **self.kwargs, **kwargs}
        try:
            env = gym.make(self.env_id, **options)
        except (gym.error.Error, ModuleNotFoundError) as error:
            raise ValueError(
                f"task: {self.name!r} is neither a task of the course ({', '.join(TASKS)}) nor an "
                f"environment that gymnasium can make ({error})"
            ) from error
        return self.wrap(env) if self.wrap else env

    @cached_property
    def spaces(self) -> Spaces:
        """Shapes and kinds of this task's observations and actions."""
        env = self.make()
        try:
            return describe(env)
        finally:
            if self.factory is None:
                env.close()

    @cached_property
    def action_space(self) -> gym.Space:
        """The environment's own action space."""
        return self.make().action_space

    @cached_property
    def encode(self) -> Callable[[Any], np.ndarray]:
        """Function from the environment's observation to the policy's, float32 of `obs_shape`."""
        return encoder(self.make().observation_space)

    @cached_property
    def decode(self) -> Callable[[Any], Any]:
        """Function from the policy's action to the one the environment takes."""
        return action_decoder(self.action_space)


_SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 5e-3}
_LAKE = {"is_slippery": False, "map_name": "4x4"}
_ICE4 = {"is_slippery": True, "map_name": "4x4"}
_ICE8 = {"is_slippery": True, "map_name": "8x8"}
_WIND = {"enable_wind": True}
_HIGHWAY = {"config": {"vehicles_count": 10}}
_CONSOLE = {"obs_type": "ram", "frameskip": 4, "repeat_action_probability": 0.0}
_PONG: dict[str, Any] = {"env_id": "ALE/Pong-v5", "kwargs": _CONSOLE}

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("FrozenLake", "FrozenLake-v1", _LAKE, rounds=30, **_SGD),
        Task("Acrobot", "Acrobot-v1", rounds=20, **_SGD),
        Task(
            "MiniGrid",
            "MiniGrid-Empty-8x8-v0",
            module="minigrid",
            wrap=partial(_wrapped, "minigrid.wrappers", "ImgObsWrapper"),
            rounds=40,
            drop=0.125,
            **_SGD,
        ),
        Task("Highway", "highway-v0", _HIGHWAY, module="highway_env", rounds=25, **_SGD),
        Task("LunarLander", "LunarLander-v3", rounds=100, drop=0.125, **_SGD),
        Task("BipedalWalker", "BipedalWalker-v3", wrap=FreshWorld, rounds=150, drop=0.0625),
        Task("LunarLanderWindy", "LunarLander-v3", _WIND, rounds=100, drop=0.125, **_SGD),
        Task("CartPole", "CartPole-v1", rounds=20, **_SGD),
        Task(
            "Pong",
            module="lda_lib.pong",
            wrap=partial(_wrapped, "lda_lib.pong", "Pixels"),
            rounds=60,
            **_PONG,
        ),
        Task(
            "PongPositions",
            module="lda_lib.pong",
            wrap=partial(_wrapped, "lda_lib.pong", "Positions"),
            rounds=60,
            lr=1e-3,
            **_PONG,
        ),
        Task("FrozenLakeSlippery", "FrozenLake-v1", _ICE4, rounds=160, **_SGD),
        Task("FrozenLakeSlippery8x8", "FrozenLake-v1", _ICE8, rounds=160, **_SGD),
    )
}


def make_task(task: str | Task | gym.Env | Callable[[], gym.Env]) -> Task:
    """Turn a task name, gymnasium id, environment or environment factory into a `Task`.

    Args:
        task: a key of `TASKS`, a gymnasium id, an environment (remade from its spec where it has
            one, so that several independent copies are possible), or a function without arguments
            that returns a new environment.

    Raises:
        ValueError: an unknown name, or an environment whose spaces are not supported.
        TypeError: anything else.
    """
    if isinstance(task, Task):
        made = task
    elif isinstance(task, str):
        made = TASKS.get(task) or Task(task, task)
    elif isinstance(task, gym.Env):
        made = _from_environment(task)
    elif callable(task):
        made = _from_factory(task)
    else:
        raise TypeError(
            f"task: {task!r} is a {type(task).__name__}, expected a name, a gymnasium id, "
            "an environment or a function that makes one"
        )
    _ = made.spaces  # fail here, not in the middle of a run
    return made


def _from_factory(make: Callable[[], gym.Env]) -> Task:
    """Call the function twice: does it make environments, or hand out one and the same?"""
    envs = [make() for _ in range(2)]
    for env in envs:
        if not isinstance(env, gym.Env):
            raise TypeError(
                f"task: the function returned {env!r}, expected a gymnasium environment"
            )
    shared = envs[0].unwrapped is envs[1].unwrapped
    if not shared:
        for env in envs:
            env.close()
    return Task(getattr(make, "__name__", "environment"), factory=make, shared=shared)


def _from_environment(env: gym.Env) -> Task:
    """Remake the environment from its spec; without one, use the object itself."""
    spec = env.spec
    try:
        if spec is not None:
            gym.make(spec).close()
            return Task(
                spec.id, factory=lambda **kwargs: gym.make(spec, **kwargs), takes_kwargs=True
            )
    except (gym.error.Error, ValueError):
        pass  # a wrapper that does not say how it was made
    return Task(type(env.unwrapped).__name__, factory=lambda: env, shared=True)
