"""The records of a Stable-Baselines3 model, and its policy, as scores want them."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from ..own import Elsewhere, Packing, as_rollout
from ..rollout import Rollout
from ..spaces import Spaces

ACTION_KINDS = {
    gym.spaces.Discrete: "discrete",
    gym.spaces.MultiDiscrete: "multidiscrete",
    gym.spaces.MultiBinary: "multibinary",
    gym.spaces.Box: "box",
}


class SB3Policy(nn.Module):
    """The policy of an on-policy model, as `influence` wants it. It shares the parameters.

    Args:
        policy: SB3's.
        packing: how rows hold dict observations; None where observations are tensors.
    """

    def __init__(self, policy: ActorCriticPolicy, packing: Packing | None = None):
        super().__init__()
        self.policy, self.packing = policy, packing

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log pi(action | obs), (n,)."""
        return self._ask("get_distribution", obs).log_prob(action)

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log_prob, value and entropy of the records, each (n,)."""
        value, log_prob, entropy = self._ask("evaluate_actions", obs, action)
        # squashed Gaussians have no entropy in closed form; SB3's loss takes this instead
        return log_prob, value.flatten(), -log_prob if entropy is None else entropy

    def _ask(self, method: str, obs: Tensor, *rest: Tensor) -> Any:
        """Call the policy as it was when it acted: dropout off, its distribution left alone."""
        seen = obs if self.packing is None else self.packing.unpack(obs)
        self.policy.set_training_mode(False)  # SB3 sets the mode itself before it acts or learns
        before = self.policy.action_dist
        self.policy.action_dist = copy.copy(before)  # else it would hold on to traced tensors
        try:
            return getattr(self.policy, method)(seen, *rest)
        finally:
            self.policy.action_dist = before


def policy_from(model: OnPolicyAlgorithm) -> SB3Policy:
    """The model's policy as `influence` wants it: `log_prob(obs, action)`.

    Raises:
        TypeError: no on-policy algorithm, or a policy that needs more than observations (recurrent
            states, action masks).
    """
    if not isinstance(model, OnPolicyAlgorithm):
        raise TypeError(
            f"model: {type(model).__name__}, expected an on-policy model such as PPO or A2C"
        )
    policy = model.policy
    asked = list(inspect.signature(policy.evaluate_actions).parameters)  # type: ignore[operator]
    if not isinstance(policy, ActorCriticPolicy) or len(asked) != 2:
        raise TypeError(
            f"model: its {type(policy).__name__} judges by {', '.join(asked)}, expected an "
            "ActorCriticPolicy that judges by observations and actions alone"
        )
    shapes = model.rollout_buffer.obs_shape
    return SB3Policy(policy, Packing(shapes) if isinstance(shapes, dict) else None)


def rollout_from(model: OnPolicyAlgorithm, buffer: RolloutBuffer | None = None) -> Rollout:
    """The records of a model's rollout buffer, env by env, step by step.

    Observations and rewards are those that the policy saw: normalised by VecNormalize, images
    channels first. Dict observations are packed, one row per record; `policy_from` unpacks them.
    SB3 does not keep why an episode ended, and adds gamma V(s') to the reward where a time limit
    ended it: every end is `terminated` here, and `reward` holds that bonus (advantages are right).
    An episode that began before the buffer did counts `t` from the buffer's first step.

    After `learn` the policy is one update ahead of its buffer, and `influence` says so: score from
    a callback, or make a `fresh_rollout`.

    Args:
        model: PPO, A2C, or another on-policy algorithm.
        buffer: a full buffer that the model filled; by default its own.

    Raises:
        TypeError: see `policy_from`.
        ValueError: the buffer is not full.
    """
    packing, buffer = policy_from(model).packing, buffer or model.rollout_buffer
    if not buffer.full:
        raise ValueError(
            f"model: its rollout buffer holds {buffer.pos} of {buffer.buffer_size} steps, expected "
            "a full one; fresh_rollout(model) fills one"
        )
    steps, envs = buffer.buffer_size, buffer.n_envs
    n, device = steps * envs, model.device

    def rows(x: np.ndarray, flat: bool = False) -> Tensor:
        """(T, e, ...) to a tensor (e * T, ...); `flat` if SB3 has done so."""
        x = x if flat else x.swapaxes(0, 1).reshape(n, *x.shape[2:])
        return torch.tensor(x, device=device)

    def field(name: str) -> Tensor:
        return rows(getattr(buffer, name), flat=buffer.generator_ready)

    starts = buffer.episode_starts.astype(bool)  # (T, e), as are all below
    step = np.broadcast_to(np.arange(steps)[:, None], starts.shape)
    place = {
        "episode": (starts.cumsum(0) - starts[:1]) * envs + np.arange(envs),
        "t": step - np.maximum.accumulate(np.where(starts, step, 0), 0),
        "env": np.broadcast_to(np.arange(envs), starts.shape),
        "terminated": np.vstack([starts[1:], np.asarray(model._last_episode_starts, bool)]),
        "reward": buffer.rewards,
    }
    raw: Any = buffer.observations
    if packing is None:
        obs = field("observations")
    else:
        obs = packing.pack({k: rows(x, buffer.generator_ready) for k, x in raw.items()})
    spaces = _spaces(model, obs)
    action = field("actions").reshape(n, -1)
    whole = spaces.action_kind in ("discrete", "multidiscrete")
    action = action.long() if whole else action.float()
    single: dict[str, Any] = {name: rows(x) for name, x in place.items()}
    return as_rollout(
        obs,
        action.squeeze(1) if spaces.action_kind == "discrete" else action,
        field("log_probs").reshape(n),
        field("advantages").reshape(n),
        value=field("values").reshape(n),
        ret=field("returns").reshape(n),
        task=Elsewhere(_name(model), given=spaces),
        **single,
    )


def _name(model: OnPolicyAlgorithm) -> str:
    """Algorithm and environment, such as "PPO on LunarLander-v3"."""
    env = model.get_env()
    spec = env.get_attr("spec", 0)[0] if env is not None and env.has_attr("spec") else None
    return f"{type(model).__name__} on {spec.id}" if spec else type(model).__name__


def _spaces(model: OnPolicyAlgorithm, obs: Tensor) -> Spaces:
    space: Any = model.action_space
    kind = next((k for cls, k in ACTION_KINDS.items() if isinstance(space, cls)), None)
    if kind is None:
        raise ValueError(f"action_space: {space} is not supported, expected {[*ACTION_KINDS]}")
    dim = int(space.n) if kind == "discrete" else model.rollout_buffer.action_dim
    return Spaces("image" if obs.ndim == 4 else "vector", tuple(obs.shape[1:]), kind, dim)
