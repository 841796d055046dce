"""PPO's loss, record by record and by the minibatch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import softplus

from .config import PPOConfig
from .policy import ActorCritic
from .rollout import Rollout

Params = dict[str, Tensor]


class Records(NamedTuple):
    """The fields of a rollout that training reads, each with n rows."""

    obs: Tensor
    action: Tensor
    logp: Tensor
    advantage: Tensor
    ret: Tensor
    weight: Tensor  # (n,) factor on the record's loss, from the filter

    @classmethod
    def of(cls, rollout: Rollout, weight: Tensor) -> Records:
        """What training reads of a rollout, with a weight for each record."""
        return cls(
            rollout.obs, rollout.action, rollout.logp, rollout.advantage, rollout.ret, weight
        )

    def take(self, index: Tensor) -> Records:
        """The records at `index`."""
        return Records(*(x[index] for x in self))


def standardise(advantage: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8) over the last axis, n - 1 in the std; one is only centred."""
    centred = advantage - advantage.mean(-1, keepdim=True)
    if advantage.shape[-1] < 2 or advantage.numel() == 0:
        return centred
    return centred / (advantage.std(-1, keepdim=True) + 1e-8)


def policy_loss(
    log_prob: Tensor, logp: Tensor, advantage: Tensor, clip: float, width: float = 0.0
) -> Tensor:
    """PPO's clipped loss of each record, (n,) (Schulman et al. 2017, eq. 7, sign turned).

    Args:
        log_prob: log pi(a | s) now.
        logp: log pi(a | s) when the record was made.
        advantage: A_hat.
        clip: epsilon.
        width: above 0 the clip sets in gradually, over about this much of the ratio (a softplus
            in place of its corner); for derivatives, training uses 0.
    """
    ratio = (log_prob - logp).exp()
    if width > 0:
        beyond = advantage.sign() * (ratio - 1) - clip  # above 0: the clip holds
        return advantage.abs() * width * softplus(beyond / width) - ratio * advantage
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


STATISTICS = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")


def minibatch_loss(
    policy: ActorCritic,
    params: Params,
    batch: Records,
    critic_batch: Records | None,
    config: PPOConfig,
    clip_width: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Mean loss of a minibatch and its statistics (5,), in the order of `STATISTICS`.

    Advantages are standardised within the minibatch. With a `critic_batch` the value learns from
    those records instead, all with weight 1. For `clip_width` see `policy_loss`.
    """
    log_prob, value, entropy = functional_call(policy, params, (batch.obs, batch.action))
    actor = policy_loss(log_prob, batch.logp, standardise(batch.advantage), config.clip, clip_width)
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
