"""One optimiser step of PPO as a pure function, and the order in which records enter the steps.

(params, optimiser state, records, indices) -> (params, optimiser state, statistics): nothing is
changed in place, so the same function runs eagerly, compiled, vmapped over replicas, or is
differentiated through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from .config import PPOConfig
from .policy import ActorCritic, Architecture

Params = dict[str, Tensor]


class Records(NamedTuple):
    """The fields of a rollout that training reads, each with n rows."""

    obs: Tensor
    action: Tensor
    logp: Tensor
    advantage: Tensor
    ret: Tensor
    weight: Tensor  # (n,) factor on the record's loss, from the filter

    def take(self, index: Tensor) -> Records:
        """The records at `index`."""
        return Records(*(x[index] for x in self))


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


def standardise(advantage: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8) over the last axis, n - 1 in the std; one is only centred."""
    centred = advantage - advantage.mean(-1, keepdim=True)
    if advantage.shape[-1] < 2 or advantage.numel() == 0:
        return centred
    return centred / (advantage.std(-1, keepdim=True) + 1e-8)


def policy_loss(log_prob: Tensor, logp: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's clipped loss of each record, (n,) (Schulman et al. 2017, eq. 7, sign turned).

    Args:
        log_prob: log pi(a | s) now.
        logp: log pi(a | s) when the record was made.
        advantage: A_hat.
        clip: epsilon.
    """
    ratio = (log_prob - logp).exp()
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


STATISTICS = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")


def minibatch_loss(
    policy: ActorCritic,
    params: Params,
    batch: Records,
    critic_batch: Records | None,
    config: PPOConfig,
) -> tuple[Tensor, Tensor]:
    """Mean loss of a minibatch and its statistics (5,), in the order of `STATISTICS`.

    Advantages are standardised within the minibatch. With a `critic_batch` the value learns from
    those records instead, all with weight 1.
    """
    log_prob, value, entropy = functional_call(policy, params, (batch.obs, batch.action))
    actor = policy_loss(log_prob, batch.logp, standardise(batch.advantage), config.clip)
    if critic_batch is None:
        critic = batch.weight * (value - batch.ret) ** 2
    else:
        _, value, _ = functional_call(policy, params, (critic_batch.obs, critic_batch.action))
        critic = (value - critic_batch.ret) ** 2
    loss = (
        (batch.weight * actor).mean()
        + config.vf_coef * critic.mean()
        - config.ent_coef * (batch.weight * entropy).mean()
    )
    log_ratio = (log_prob - batch.logp).detach()
    ratio = log_ratio.exp()
    kl = (ratio - 1 - log_ratio).mean()
    clipped = ((ratio - 1).abs() > config.clip).to(kl.dtype).mean()
    parts = (actor.mean().detach(), critic.mean().detach(), entropy.mean().detach(), kl, clipped)
    return loss, torch.stack(parts)


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


def optimizer_step(
    params: Params, grads: Params, state: OptState, lr: Tensor, config: PPOConfig
) -> tuple[Params, OptState]:
    """SGD: theta - lr g. Adam (Kingma & Ba 2015): theta - lr m_hat / (sqrt v_hat + eps)."""
    if config.optimizer == "sgd":
        return {k: params[k] - lr * grads[k] for k in params}, state
    b1, b2 = 0.9, 0.999
    t = state.t + 1
    m = {k: b1 * state.m[k] + (1 - b1) * g for k, g in grads.items()}
    v = {k: b2 * state.v[k] + (1 - b2) * g * g for k, g in grads.items()}
    c1, c2 = 1 - b1**t, 1 - b2**t
    new = {
        k: p - lr * (m[k] / c1) / ((v[k] / c2).sqrt() + config.adam_eps) for k, p in params.items()
    }
    return new, OptState(m, v, t)


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

    return torch.compile(step, dynamic=False) if compiled else step


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
