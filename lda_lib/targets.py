"""Targets: what we ask of a policy, as a scalar function of its parameters.

Any callable of (policy, rollout) that returns a scalar tensor is a target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .rollout import Rollout

Target = Callable[[nn.Module, Rollout], Tensor]


@dataclass(frozen=True, eq=False)
class Return:
    """f_return: what raises the expected return from here? See paper section 3 (REINFORCE).

    f(theta) = mean over the reference records of log pi_theta(a | s) * A_hat(s, a), A_hat raw.

    Attributes:
        reference: records to judge by; None takes the rollout being scored, as the paper does.
    """

    reference: Rollout | None = None

    def __call__(self, policy: nn.Module, rollout: Rollout) -> Tensor:
        """Return f, a scalar."""
        records = rollout if self.reference is None else self.reference
        if len(records) == 0:
            return sum(p.sum() for p in policy.parameters()) * 0.0  # type: ignore[return-value]
        log_prob = policy.log_prob(records.obs, records.action)  # type: ignore[operator]
        return (log_prob * records.advantage).mean()


@dataclass(frozen=True, eq=False)
class Action:
    """f_action: why does the agent do this here? f(theta) = log pi_theta(action | obs).

    Attributes:
        obs: one encoded observation, or its index where observations are one-hot.
        action: an action index, or the components of a continuous action.
    """

    obs: Tensor | int
    action: Tensor | int

    def __call__(self, policy: nn.Module, rollout: Rollout) -> Tensor:
        """Return f, a scalar."""
        if isinstance(self.obs, int):
            size = rollout.obs.shape[-1]
            if rollout.obs.ndim != 2 or not 0 <= self.obs < size:
                raise ValueError(f"obs: index {self.obs}, expected a one-hot state below {size}")
            obs = torch.zeros_like(rollout.obs[:1])
            obs[0, self.obs] = 1.0
        else:
            obs = torch.as_tensor(self.obs).to(rollout.obs).reshape(1, *rollout.obs.shape[1:])
        action = torch.as_tensor(self.action).to(rollout.action)
        action = action.reshape(1, *rollout.action.shape[1:])
        return policy.log_prob(obs, action).squeeze(0)  # type: ignore[operator]
