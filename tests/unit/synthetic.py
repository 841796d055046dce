"""Small random policies and rollouts for tests that need no environment."""

from __future__ import annotations

import torch
from torch import nn

from lda_lib.policy import ActorCritic, Architecture
from lda_lib.rollout import Rollout
from lda_lib.spaces import Spaces
from lda_lib.tasks import Task


def make_policy(
    obs_shape=(5,), kind="discrete", dim=3, hidden=(7, 6), seed=0, dtype=torch.float64
) -> ActorCritic:
    """An actor-critic whose every parameter, biases and log std included, is random."""
    g = torch.Generator().manual_seed(seed)
    policy = ActorCritic(Architecture(obs_shape, kind, dim, hidden), g).to(dtype)
    with torch.no_grad():
        for p in policy.parameters():
            p += 0.3 * torch.randn(p.shape, generator=g, dtype=dtype)
    return policy


def make_rollout(policy: nn.Module, n: int, obs_shape, kind, dim, seed=0) -> Rollout:
    """n random records as the policy itself would have made them (ratio 1)."""
    g = torch.Generator().manual_seed(seed + 1)
    dtype = next(policy.parameters()).dtype
    obs = torch.randn(n, *obs_shape, generator=g, dtype=dtype)
    if kind == "discrete":
        action = torch.randint(dim, (n,), generator=g)
    else:
        action = torch.randn(n, dim, generator=g, dtype=dtype)
    advantage, value = torch.randn(2, n, generator=g, dtype=dtype)
    with torch.no_grad():
        logp = policy.log_prob(obs, action)
    task = Task("synthetic")
    # a recipe without an environment: its spaces are given, not asked for
    task.__dict__["spaces"] = Spaces("vector", tuple(obs_shape), kind, dim)
    index = torch.arange(n)
    no = torch.zeros(n, dtype=torch.bool)
    return Rollout(
        obs=obs, action=action, logp=logp, value=value, reward=advantage.clone(),
        advantage=advantage, ret=advantage + value, episode=index * 0, t=index, env=index * 0,
        terminated=no, truncated=no, state=index * 0 - 1, index=index, task=task, episodes={},
    )  # fmt: skip


def pair(n=12, obs_shape=(5,), kind="discrete", dim=3, hidden=(7, 6), seed=0):
    """A policy and a rollout it made."""
    policy = make_policy(obs_shape, kind, dim, hidden, seed)
    return policy, make_rollout(policy, n, obs_shape, kind, dim, seed)


def relative_gap(x: torch.Tensor, y: torch.Tensor) -> float:
    """Largest difference, relative to the largest value of `y`."""
    assert x.shape == y.shape
    if len(y) == 0:
        return 0.0
    gap, scale = float((x - y).abs().max()), float(y.abs().max())
    return gap / scale if scale > 0 else gap
