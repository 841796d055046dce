"""One optimiser step of PPO as a pure function, and the order in which records enter the steps.

(params, optimiser state, records, indices) -> (params, optimiser state, statistics): nothing is
changed in place, so the same function runs eagerly, compiled, vmapped over replicas, or is
differentiated through.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from types import FunctionType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .config import PPOConfig
from .loss import Params, Records, minibatch_loss
from .policy import ActorCritic, Architecture


class OptState(NamedTuple):
    """Adam's moments and step count; empty for SGD."""

    m: Params
    v: Params
    t: Tensor  # ()

    @classmethod
    def zeros(cls, params: Params, optimizer: str) -> OptState:
        """The state before the first step."""
        blank = params if optimizer == "adam" else {}
        return cls(
            {k: torch.zeros_like(p) for k, p in blank.items()},
            {k: torch.zeros_like(p) for k, p in blank.items()},
            torch.zeros(()),
        )


def gradient(loss: Callable[[Params], tuple[Tensor, Tensor]], params: Params):
    """Gradient of `loss(params)[0]` by parameter, and `loss(params)[1]`.

    Both branches compute the same: torch.func is what can be compiled, autograd is twice as fast
    when it is not.
    """
    if torch.compiler.is_compiling():
        return torch.func.grad(loss, has_aux=True)(params)
    leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
    with torch.enable_grad():
        value, aux = loss(leaves)
    return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True)), aux


def clip_norm(grads: Params, max_norm: float) -> Params:
    """Scale the gradients so that their joint norm is at most `max_norm`."""
    norm = torch.stack([g.pow(2).sum() for g in grads.values()]).sum().sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return {name: scale * g for name, g in grads.items()}


def learning_rates(config: PPOConfig) -> Tensor:
    """Of the policy and of the layers that only the value uses, (2,)."""
    return torch.tensor([config.lr, config.critic_lr or config.lr])


def rate_of(name: str, lr: Tensor) -> Tensor:
    """The one of `learning_rates` that a parameter learns with; a single rate is everyone's."""
    return lr.expand(2)[int(name.startswith("v."))]


def optimizer_step(
    params: Params, grads: Params, state: OptState, lr: Tensor, config: PPOConfig
) -> tuple[Params, OptState]:
    """SGD: theta - lr g. Adam (Kingma & Ba 2015): theta - lr m_hat / (sqrt v_hat + eps)."""
    if config.optimizer == "sgd":
        return {k: params[k] - rate_of(k, lr) * grads[k] for k in params}, state
    b1, b2 = 0.9, 0.999
    t = state.t + 1
    m = {k: b1 * state.m[k] + (1 - b1) * g for k, g in grads.items()}
    v = {k: b2 * state.v[k] + (1 - b2) * g * g for k, g in grads.items()}
    c1, c2 = 1 - b1**t, 1 - b2**t
    new = {
        k: p - rate_of(k, lr) * (m[k] / c1) / ((v[k] / c2).sqrt() + config.adam_eps)
        for k, p in params.items()
    }
    return new, OptState(m, v, t)


def preconditioner(state: OptState, config: PPOConfig) -> Params:
    """D = 1 / (sqrt v_hat + eps), by which Adam scales each component of its step.

    Raises:
        ValueError: the state is SGD's, or Adam's before its first step.
    """
    if config.optimizer != "adam" or float(state.t) < 1:
        raise ValueError(
            f"state: {config.optimizer} after {float(state.t):.0f} steps, expected Adam after one"
        )
    c2 = 1 - 0.999**state.t
    return {k: 1 / ((v / c2).sqrt() + config.adam_eps) for k, v in state.v.items()}


Step = Callable[..., tuple[Params, OptState, Tensor]]


def make_step(arch: Architecture, config: PPOConfig, compiled: bool) -> Step:
    """Return `step(params, state, records, index, critic_index, lr)`.

    Steps are shared by all agents of one architecture and one arithmetic, whatever their seed,
    filter or learning rate, so that compilation is paid once.
    """
    arithmetic = PPOConfig(
        clip=config.clip,
        vf_coef=config.vf_coef,
        ent_coef=config.ent_coef,
        optimizer=config.optimizer,
        adam_eps=config.adam_eps,
        max_grad_norm=config.max_grad_norm,
    )
    return _make_step(arch, arithmetic, compiled)


@lru_cache(maxsize=64)
def _make_step(arch: Architecture, config: PPOConfig, compiled: bool) -> Step:
    policy = ActorCritic(arch, torch.Generator().manual_seed(0))  # only its structure is used

    def step(
        params: Params,
        state: OptState,
        records: Records,
        index: Tensor,
        critic_index: Tensor | None,
        lr: Tensor,
    ) -> tuple[Params, OptState, Tensor]:
        batch = records.take(index)
        critic_batch = None if critic_index is None else records.take(critic_index)

        def loss(p: Params) -> tuple[Tensor, Tensor]:
            return minibatch_loss(policy, p, batch, critic_batch, config)

        grads, statistics = gradient(loss, params)
        if config.max_grad_norm is not None:
            grads = clip_norm(grads, config.max_grad_norm)
        params, state = optimizer_step(params, grads, state, lr, config)
        return params, state, statistics

    if not compiled:
        return step
    # torch counts recompilations by code object, eight for all steps of a process; beyond them it
    # would go on uncompiled without a word. So each step gets a code object of its own.
    own = FunctionType(step.__code__.replace(), step.__globals__, "step", None, step.__closure__)
    return torch.compile(own, dynamic=False)


def can_compile(policy: ActorCritic) -> bool:
    """Whether a long run should compile its steps: on the CPU, with a C++ compiler at hand."""
    if next(policy.parameters()).device.type != "cpu":
        return False
    if shutil.which("g++") or shutil.which("clang++"):
        return True
    warnings.warn("compile: no C++ compiler found, the run goes on uncompiled", stacklevel=3)
    return False


@dataclass(frozen=True)
class Trace:
    """What happened in one update, step by step: the input of all scores of a whole update."""

    params: list[Params]  # before each step
    state: list[OptState]  # before each step
    index: list[Tensor]  # (b,) records of each step's minibatch
    critic: list[Tensor | None]  # (b,) and of the critic's, where it has its own
    weight: Tensor  # (n,)
    advantage: Tensor  # (n,) that it learnt from
    statistics: Tensor  # (steps, 5)
    final: tuple[Params, OptState]  # after the last step
    config: PPOConfig


def shadow_adam(trace: Trace, start: OptState | None = None) -> Trace:
    """The trace of an SGD update with the state that Adam would have, fed the same gradients.

    A negative control for scores that know Adam: here it had no hand in the update, so they should
    predict its effects no better than plain ones.

    Args:
        trace: of an update by SGD.
        start: the shadow state before the update, `final[1]` of an earlier shadow; zeros for None.

    Raises:
        ValueError: the trace is Adam's, which has a state of its own.
    """
    if trace.config.optimizer != "sgd":
        raise ValueError(f"trace: of an update by {trace.config.optimizer}, expected sgd")
    config = replace(trace.config, optimizer="adam")
    state = OptState.zeros(trace.params[0], "adam") if start is None else start
    states, lr = [], learning_rates(config)
    for params, after in pairwise([*trace.params, trace.final[0]]):
        states.append(state)
        grads = {k: (p - after[k]) / rate_of(k, lr) for k, p in params.items()}
        state = optimizer_step(params, grads, state, lr, config)[1]
    return replace(trace, state=states, final=(trace.final[0], state), config=config)


def minibatches(
    keep: np.ndarray, config: PPOConfig, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Indices of the records of each optimiser step, and of the critic's where it has its own.

    All n records are shuffled and the dropped ones skipped, so that two arms with equal random
    streams meet the records they share in the same order.

    Args:
        keep: (n,) bool.
        config: batch_size, epochs, drop_remainder, equal_steps, critic.
        rng: source of the shuffles.
    """
    n, size = len(keep), config.batch_size
    for _ in range(config.epochs):
        order = rng.permutation(n)
        order = order[keep[order]]
        if config.equal_steps:
            order = np.resize(order, n)
        if config.drop_remainder and len(order) > size:
            order = order[: len(order) // size * size]
        everyone = rng.permutation(n) if config.critic == "all" else None
        for i in range(0, len(order), size):
            mine = order[i : i + size]
            yield mine, None if everyone is None else everyone[i : i + len(mine)]


def check_keep(keep: Tensor | np.ndarray | None, n: int) -> Tensor:
    """Check what a filter returned.

    Returns:
        bool or float tensor (n,); all True for None.

    Raises:
        ValueError: wrong shape or kind, a negative or non-finite weight, or nothing left.
    """
    if keep is None:
        return torch.ones(n, dtype=torch.bool)
    keep = torch.as_tensor(keep)
    if keep.shape != (n,):
        raise ValueError(f"keep: shape {tuple(keep.shape)}, expected ({n},)")
    if keep.dtype != torch.bool and not keep.is_floating_point():
        raise ValueError(f"keep: dtype {keep.dtype}, expected bool or float weights")
    if keep.is_floating_point() and not (keep.isfinite().all() and (keep >= 0).all()):
        raise ValueError("keep: a weight is negative or not finite, expected weights from 0")
    if not keep.any():
        raise ValueError("keep: every record is dropped, expected at least one to learn from")
    return keep
