"""Exact in-round influence: the derivative of a target after a whole update in the record weights.

One backward sweep through the steps of the update carries the costate W = d f / d (parameters and
optimiser state), as backpropagation through time does. Each step costs one gradient of a gradient.

symbol  meaning
W       costate of the parameters after the step; W_m, W_v of Adam's moments
g       gradient of the minibatch loss, a function of parameters and record weights
G       costate of g: how the target changes with the gradient of this step

For SGD, theta' = theta - lr g, so G = -lr W and W becomes W + H G, with H the loss's Hessian. Both
H G and the derivative by the record weights come out of one differentiation of < g, G >.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import PPOConfig
from .loss import Params, Records, minibatch_loss
from .rollout import Rollout
from .step import OptState, Trace, clip_norm, learning_rates, rate_of
from .targets import Target, target_gradient


def unrolled(
    policy: nn.Module, rollout: Rollout, target: Target, trace: Trace, clip_width: float = 0.0
) -> Tensor:
    """D f(theta after the update) / d (weight of record i), the order of batches held fixed.

    Removing record i by giving it weight zero changes the target by minus this, to first order.
    Everything an update does is differentiated: every step's Hessian, Adam's moments, gradient
    clipping, the critic's loss where it shares the network. Advantages stay standardised over the
    full minibatches.

    One thing is not smooth: PPO's clip. Where a ratio reaches it, gradients of records vanish at
    once, and a derivative that takes each record's side of the clip as given does not see that
    missing records change sides. `clip_width` lets the clip set in gradually in the derivative
    (never in the update): the records at the boundary then answer for those that are missing.

    Args:
        policy: the network; its parameters come from the trace.
        rollout: n records.
        target: f, evaluated after the update.
        trace: of the update.
        clip_width: see `policy_loss`; 0 is the exact derivative.

    Returns:
        (n,), in units of the target.
    """
    params, _ = trace.final
    costate = target_gradient(policy, params, rollout, target)
    costate = {k: x.to(params[k]) for k, x in costate.items()}
    moments = OptState.zeros(params, trace.config.optimizer)
    records = Records.of(rollout, trace.weight)
    out = torch.zeros_like(rollout.advantage)
    states = [*trace.state[1:], trace.final[1]]  # after each step
    for params, state, index, critic in zip(
        reversed(trace.params),
        reversed(states),
        reversed(trace.index),
        reversed(trace.critic),
        strict=True,
    ):
        leaves = {k: x.detach().requires_grad_() for k, x in params.items()}
        batch = records.take(index)
        weight = batch.weight.detach().requires_grad_()
        critic_batch = None if critic is None else records.take(critic)
        with torch.enable_grad():
            loss, _ = minibatch_loss(
                policy,  # type: ignore[arg-type]
                leaves,
                batch._replace(weight=weight),
                critic_batch,
                trace.config,
                clip_width,
            )
            found = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
            g = dict(zip(leaves, found, strict=True))
            if trace.config.max_grad_norm is not None:
                g = clip_norm(g, trace.config.max_grad_norm)
            G, moments = _through_optimizer(costate, moments, g, state, trace.config)
            product = torch.stack([(g[k] * G[k]).sum() for k in g]).sum()
        *hessian, by_weight = torch.autograd.grad(product, [*leaves.values(), weight])
        costate = {k: costate[k] + h for k, h in zip(costate, hessian, strict=True)}
        out.index_add_(0, index, by_weight)
    return out


def _through_optimizer(
    costate: Params, moments: OptState, g: Params, state: OptState, config: PPOConfig
) -> tuple[Params, OptState]:
    """Pull the costates back through one optimiser step.

    Args:
        costate: W, of the parameters after the step.
        moments: W_m and W_v, of Adam's moments after the step.
        g: gradient of the step.
        state: Adam's state after the step.
        config: optimizer, rates, adam_eps.

    Returns:
        G, the costate of the gradient, and the costates of the moments before the step.
    """
    rates = learning_rates(config)  # as single precision as in the update itself
    if config.optimizer == "sgd":
        return {k: -rate_of(k, rates) * w for k, w in costate.items()}, moments
    b1, b2 = 0.9, 0.999
    c1, c2 = 1 - b1**state.t, 1 - b2**state.t
    G, before_m, before_v = {}, {}, {}
    for k, w in costate.items():
        lr, root = rate_of(k, rates), (state.v[k] / c2).sqrt()
        d = 1 / (root + config.adam_eps)
        # d (m_hat D) / d v_hat; where no gradient ever came v_hat is 0, and stays 0
        slope = torch.where(root > 0, state.m[k] / c1 * d * d / (2 * root), 0.0)
        m = moments.m[k] - lr / c1 * w * d
        v = moments.v[k] + lr / c2 * w * slope
        G[k] = (1 - b1) * m + 2 * (1 - b2) * g[k].detach() * v
        before_m[k], before_v[k] = b1 * m, b2 * v
    return G, OptState(before_m, before_v, state.t)
