"""Many updates side by side, as one stacked network.

symbol   shape     meaning
r        -         replicas, updates that share nothing
b        -         records of a step
params   (r, ...)  each parameter, stacked over replicas
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from .config import PPOConfig
from .loss import Params, Records, minibatch_loss
from .policy import ActorCritic
from .step import OptState, clip_norm, gradient, learning_rates, optimizer_step


class Replica(ActorCritic):
    """The same networks, made fast for replicas.

    With `distinct`, they are evaluated once per distinct observation instead of once per record;
    the "observation" of a record is then its row in `distinct`. Without the critic values are 0.
    """

    def __init__(self, policy: ActorCritic, distinct: Tensor | None, critic: bool):
        nn.Module.__init__(self)
        self.arch, self.distinct, self.critic = policy.arch, distinct, critic
        for name, module in policy.named_children():
            self.add_module(name, module)

    def replicas(self, r: int, state: OptState) -> tuple[Params, OptState]:
        """The parameters that learn and the optimiser's state of r replicas, (r, ...) each."""
        params = {
            k: p.detach().expand(r, *p.shape).contiguous()
            for k, p in self.named_parameters()
            if self.critic or not k.startswith("v.")
        }
        m, v = (
            {k: x.expand(r, *x.shape) for k, x in moment.items() if k in params}
            for moment in state[:2]
        )
        return params, OptState(m, v, state.t)

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log_prob, value and entropy, each (n,), in one pass."""
        features = self.body(obs if self.distinct is None else self.distinct)
        out = self.pi(features)
        value = self.v(features).squeeze(-1) if self.critic else torch.zeros_like(out[..., 0])
        if self.distinct is not None:
            out, value = out[obs], value[obs]
        log_prob, entropy = self._judge(out, action)
        return log_prob, value, entropy


def side_by_side(
    policy: Replica,
    params: Params,
    state: OptState,
    batches: Iterable[tuple[Records, Records | None]],
    config: PPOConfig,
    own: bool,
) -> tuple[Params, OptState]:
    """Make the steps of r updates that share nothing, all at once.

    Args:
        policy: the networks that the replicas share the shape of.
        params: (r, ...) each.
        state: of the optimiser; moments (r, ...) each.
        batches: of each step, its records, (r, b) each if they are the replicas' `own` and else
            (b,), always with weights (r, b); and the critic's, (b,), where it has others.
        config: of the update.
        own: do records differ between replicas?

    Returns:
        Parameters and state after the last step.
    """

    def loss(p: Params, batch: Records, critic: Records | None) -> Tensor:
        return minibatch_loss(policy, p, batch, critic, config)[0]

    dim = 0 if own else None
    rows: Any = Records(dim, dim, dim, dim, dim, 0)  # type: ignore[arg-type]
    losses = vmap(loss, in_dims=(0, rows, None))
    lr = learning_rates(config)
    for batch, critic_batch in batches:

        def total(
            p: Params, batch: Records = batch, critic_batch: Records | None = critic_batch
        ) -> tuple[Tensor, Tensor]:
            # replicas share nothing, so the gradient of the sum holds each one's own
            return losses(p, batch, critic_batch).sum(), lr

        grads, _ = gradient(total, params)
        if (norm := config.max_grad_norm) is not None:
            grads = vmap(partial(clip_norm, max_norm=norm))(grads)
        params, state = optimizer_step(params, grads, state, lr, config)
    return params, state
