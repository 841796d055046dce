"""What DQN learns from and is judged by: transitions, the numbers Q is pulled to, Q*.

symbol      shape    meaning
obs         (n, *o)  encoded observation s
action      (n,)     index a
y           (n,)     r + gamma max_a' Q-(s', a'), the number that Q(s, a) is pulled to; 0 for Q-
                     behind a terminal state
Q, Q-       (n, k)   the network, and its copy from the beginning of the round
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from ..exact import FiniteModel


@dataclass(frozen=True)
class Transitions:
    """Records of experience as DQN keeps them, one row each."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor

    def __len__(self) -> int:
        return len(self.reward)

    def __getitem__(self, index: Any) -> Transitions:
        return Transitions(*(getattr(self, f.name)[index] for f in fields(self)))

    def __add__(self, newer: Transitions) -> Transitions:
        pairs = ((getattr(self, f.name), getattr(newer, f.name)) for f in fields(self))
        return Transitions(*(torch.cat(pair) for pair in pairs))


def bellman_targets(q: nn.Module, data: Transitions, gamma: float) -> Tensor:
    """Y = r + gamma max Q(s', .), without the second term behind a terminal state, (n,)."""
    with torch.no_grad():
        return data.reward + gamma * q(data.next_obs).max(-1).values * ~data.terminated


@dataclass(frozen=True, eq=False)
class BellmanFit:
    """f(theta) = - mean over `data` of (Q(s, a) - y)^2: minus, so that positive scores help."""

    data: Transitions
    y: Tensor  # (n,), fixed

    def __call__(self, q: nn.Module, units: Any = None) -> Tensor:
        """Return f, a scalar."""
        return -(chosen(q, self.data) - self.y).square().mean()


def chosen(q: nn.Module, data: Transitions) -> Tensor:
    """Q(s, a) of the actions that were taken, (n,)."""
    return q(data.obs).gather(-1, data.action.unsqueeze(-1)).squeeze(-1)


def optimal_q(model: FiniteModel, gamma: float) -> Tensor:
    """Q* of a task whose every state is known, (S, A) float64: the truth that y stands in for."""
    q = torch.zeros_like(model.R)
    for _ in range(10_000):
        following = model.R + gamma * model.P @ q.max(-1).values
        if (following - q).abs().max() < 1e-12:
            return following
        q = following
    raise RuntimeError(f"gamma: {gamma}, values did not settle in 10000 sweeps")
