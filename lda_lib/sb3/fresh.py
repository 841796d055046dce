"""Fresh records from a Stable-Baselines3 model, in memory or from its file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from ..rollout import Rollout
from .records import policy_from, rollout_from


def fresh_rollout(
    model: OnPolicyAlgorithm, n_steps: int | None = None, *, seed: int | None = None
) -> Rollout:
    """Records that the model makes now, in its own environments; it does not learn from them.

    Parameters, the model's own buffer, step count, logger, episode statistics and those of
    VecNormalize stay as they are; its environments move on.

    Args:
        model: an on-policy model with an environment.
        n_steps: steps in each environment; by default as many as a round of training has.
        seed: seeds everything first and begins new episodes; None goes on as things are.

    Raises:
        TypeError: see `policy_from`.
        ValueError: the model has no environment.
    """
    policy_from(model)
    if (env := model.get_env()) is None:
        raise ValueError("model: it has no environment, expected one: load(path, env=...)")
    n_steps = model.n_steps if n_steps is None else n_steps
    if n_steps < 1:
        raise ValueError(f"n_steps: {n_steps}, expected 1 or more")
    if seed is not None:
        model.set_random_seed(seed)
        model._last_obs = None  # begin new episodes
    by_key = isinstance(model.observation_space, gym.spaces.Dict)
    made: Any = DictRolloutBuffer if by_key else RolloutBuffer
    buffer = made(
        n_steps,
        model.observation_space,
        model.action_space,
        device=model.device,
        gae_lambda=model.gae_lambda,
        gamma=model.gamma,
        n_envs=model.n_envs,
    )
    names = ("num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_logger")
    before = {name: getattr(model, name) for name in names if hasattr(model, name)}
    before |= {name: copy(getattr(model, name)) for name in ("ep_info_buffer", "ep_success_buffer")}
    normalize = model.get_vec_normalize_env()
    training = normalize.training if normalize is not None else False
    try:
        if normalize is not None:
            normalize.training = False
        _, callback = model._setup_learn(n_steps, None, reset_num_timesteps=False)
        model.collect_rollouts(env, callback, buffer, n_rollout_steps=n_steps)
        return rollout_from(model, buffer)
    finally:
        if normalize is not None:
            normalize.training = training
        for name, value in before.items():
            setattr(model, name, value)


def load_model(
    path: Path | str, env: str, *, vecnormalize: Path | str | None = None, n_envs: int = 1
) -> OnPolicyAlgorithm:
    """A PPO or A2C model from the zip that `model.save` wrote, in environments of its own.

    Stable-Baselines3 unpickles these files: a manipulated one can run any code. Load only files
    that you trust.

    Args:
        path: the model's zip.
        env: gymnasium id; "module:id" imports the module first.
        vecnormalize: statistics that `VecNormalize.save` wrote; they are used, not updated. The
            rewards stay normalised too, because the critic was trained on such rewards.
        n_envs: environments side by side.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no zip of an on-policy model, an unknown id, other spaces than the model's, a
            damaged file.
    """
    for file in (path, vecnormalize):
        if file is not None and not Path(file).is_file():
            raise FileNotFoundError(f"no file {str(file)!r}")
    algorithm = _algorithm(Path(path))
    try:
        made: VecEnv = DummyVecEnv([lambda: Monitor(gym.make(env)) for _ in range(n_envs)])
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise ValueError(f"env: gymnasium cannot make {env!r} ({error})") from error
    if vecnormalize is not None:
        with _reading("vecnormalize", vecnormalize, f"statistics of VecNormalize for {env!r}"):
            made = VecNormalize.load(str(vecnormalize), made)
            made.training = False
    with _reading("path", path, f"a whole {algorithm.__name__} model for {env!r}"):
        return algorithm.load(path, env=made, device="cpu")


@contextmanager
def _reading(name: str, path: Path | str, expected: str) -> Iterator[None]:
    """Name the file that cannot be read; what unpickling raises depends on what is in it."""
    try:
        yield
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: {str(path)!r}, expected {expected} ({told})") from error


def _algorithm(path: Path) -> type[OnPolicyAlgorithm]:
    """Which algorithm wrote a zip, by the names of its settings; nothing is unpickled for that."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(json.loads(archive.read("data")))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"path: {str(path)!r} is no model saved by Stable-Baselines3 ({error})"
        ) from error
    if "gae_lambda" not in names:
        raise ValueError(f"path: {str(path)!r} holds no on-policy model, expected PPO or A2C")
    return PPO if "clip_range" in names else A2C
