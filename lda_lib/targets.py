"""Targets: what we ask of a policy, as a scalar function of its parameters.

Any callable of (policy, rollout) that returns a scalar tensor is a target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .exact import action_probs, exact_return, finite_model
from .loss import Params
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
        spaces = rollout.task.spaces
        if isinstance(self.obs, Integral):
            size = rollout.obs.shape[-1]
            if not _one_hot(rollout.obs):
                raise ValueError(
                    f"obs: index {self.obs}, expected an observation {tuple(rollout.obs.shape[1:])}"
                )
            if not 0 <= self.obs < size:
                raise ValueError(f"obs: index {self.obs}, expected a one-hot state below {size}")
            obs = torch.zeros_like(rollout.obs[:1])
            obs[0, int(self.obs)] = 1.0
        else:
            obs = _one("obs", torch.as_tensor(self.obs).to(rollout.obs), rollout.obs)
            if _one_hot(rollout.obs) and not _one_hot(obs):
                raise ValueError(f"obs: {obs[0].tolist()}, expected a 1 among zeros, or its index")
        given = torch.as_tensor(self.action)
        if not rollout.action.is_floating_point() and not (given == given.long()).all():
            raise ValueError(f"action: {given.tolist()}, expected whole numbers")
        if spaces.action_kind == "discrete" and not spaces.guessed:
            if given.numel() != 1 or not 0 <= int(given) < spaces.action_dim:
                raise ValueError(
                    f"action: {given.tolist()}, expected one below {spaces.action_dim}"
                )
        action = _one("action", given.to(rollout.action), rollout.action)
        return policy.log_prob(obs, action).squeeze(0)  # type: ignore[operator]


def _one(name: str, value: Tensor, rows: Tensor) -> Tensor:
    """The value as one more row, (1, ...)."""
    shape = rows.shape[1:]
    if value.shape not in (shape, (1, *shape)) and not value.numel() == shape.numel() == 1:
        raise ValueError(f"{name}: shape {tuple(value.shape)}, expected {tuple(shape)}")
    return value.reshape(1, *shape)


def _one_hot(obs: Tensor) -> bool:
    """Whether each row is a state's number: all 0 but for a single 1."""
    return obs.ndim == 2 and bool((((obs == 0) | (obs == 1)).all(1) & (obs.sum(1) == 1)).all())


@dataclass(frozen=True)
class ExactReturn:
    """J itself, where the rollout's task has a finite model: what Return() is an estimate of.

    An oracle: with it the scores show what is lost to the method alone, not to the target.
    """

    def __call__(self, policy: nn.Module, rollout: Rollout) -> Tensor:
        """Return J, a scalar, float64."""
        model = finite_model(rollout.task)
        if model is None:
            raise ValueError(f"rollout: task {rollout.task.name!r} has no finite model")
        return exact_return(action_probs(policy, model), model)  # type: ignore[arg-type]


class _Under(nn.Module):
    """Lets `functional_call` evaluate any function of the policy under other parameters."""

    def __init__(self, policy: nn.Module):
        super().__init__()
        self.policy = policy

    def forward(self, function: Callable[..., Tensor], *args: Any) -> Tensor:
        return function(self.policy, *args)


def call(policy: nn.Module, params: Params, function: Callable[..., Tensor], *args: Any) -> Tensor:
    """`function(policy, *args)` with the policy's parameters replaced by `params`.

    Parameters that several modules share are replaced in all of them, and each place is named once:
    where one module hangs under several names (Stable-Baselines3's feature extractor does), torch's
    own untying puts the replacement back in place of the parameter, which then learns no more.
    """
    given = {id(p): params[name] for name, p in policy.named_parameters() if name in params}
    places = {
        ".".join(filter(None, ("policy", prefix, name))): given[id(p)]
        for prefix, module in policy.named_modules()  # each module once
        for name, p in module._parameters.items()
        if id(p) in given
    }
    return functional_call(_Under(policy), places, (function, *args), tie_weights=False)


def target_gradient(policy: nn.Module, params: Params, rollout: Rollout, target: Target) -> Params:
    """V = grad f(params), by parameter; zero where the target does not depend on one.

    Raises:
        ValueError: the target is not a finite scalar, or depends on no parameter.
    """
    leaves = {k: x.detach().requires_grad_() for k, x in params.items()}
    with torch.enable_grad():
        value = call(policy, leaves, target, rollout)
    if not isinstance(value, Tensor) or value.shape != () or not value.isfinite():
        raise ValueError(f"target: {target!r} returned {value!r}, expected a finite scalar tensor")
    if not value.requires_grad:
        raise ValueError(f"target: {target!r} does not depend on the policy's parameters")
    grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    if all(g is None for g in grads):  # such as one that reads another module's
        raise ValueError(f"target: {target!r} depends on none of the policy's parameters")
    filled = (torch.zeros_like(x) if g is None else g for x, g in zip(leaves.values(), grads))
    return dict(zip(leaves, filled, strict=True))
