"""Influence scores: how much learning from one record moves a target.

    score_i = < grad f(theta), -grad loss_i(theta) >

the change of the target f per unit of learning rate when one plain SGD step is made on the loss of
record i alone. Positive: learning from the record raises the target. (PAPER section 1; paper
section 3.)

symbol  shape  meaning
n       -      records in the rollout
p       -      parameters
v       (p,)   grad f(theta), the direction in which the target rises
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from .collect import check_fit
from .ghost import ghost_scores
from .loss import Params, policy_loss, standardise
from .rollout import Rollout
from .step import Trace
from .targets import Return, Target

# per-record losses and log-probabilities, both (n,), as a function of the policy
Losses = Callable[[nn.Module], tuple[Tensor, Tensor]]

METHODS = ("jvp", "ghost", "vmap", "loop")


def influence(
    policy: nn.Module,
    rollout: Rollout,
    target: Target | None = None,
    *,
    method: str = "jvp",
    score_loss: str = "policy",
    normalize: str = "minibatch",
    trace: Trace | None = None,
    clip: float = 0.2,
    vf_coef: float = 0.5,
    ent_coef: float = 0.0,
    batch_size: int = 64,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Influence score of every record of a rollout on a target.

    Args:
        policy: the policy that made the rollout. For "jvp", "vmap" and "loop" any module with
            `log_prob(obs, action) -> (n,)`; "ghost" knows Linear, Conv2d and the Gaussian head.
        rollout: n records.
        target: callable of (policy, rollout) that returns a scalar; `Return()` by default.
        method: "jvp": one backward pass for v, one forward-mode product for all records, memory
            of a few forward passes. "ghost": per layer, from inputs and output gradients. "vmap":
            all n gradients, n * p memory. "loop": one backward pass per record. All agree.
        score_loss: "policy", or "full" with the value and entropy terms, as in training (needs
            `policy(obs, action) -> log_prob, value, entropy`).
        normalize: the record's advantage. "minibatch": standardised within groups of `batch_size`
            consecutive records of a random permutation, as released. "rollout": over all records.
            "none": raw. The target's advantage is the target's own affair.
        trace: with the trace of an update, TracIn: the scores at the parameters of every step,
            summed over the steps whose minibatch held the record, advantages standardised as they
            were in that minibatch (paper eq. 2). `method` and `normalize` are not used.
        clip: PPO's epsilon.
        vf_coef: weight of the value term in the full loss.
        ent_coef: weight of the entropy term in the full loss.
        batch_size: group size of `normalize="minibatch"`.
        rng: source of its permutation; by default always the same one.

    Returns:
        Scores, (n,), in units of the target per unit of learning rate.

    Raises:
        ValueError: an unknown setting, a rollout that does not fit the policy, a target that is
            no scalar, scores that are not finite.
    """
    target = Return() if target is None else target
    _expect("method", method, METHODS)
    _expect("score_loss", score_loss, ("policy", "full"))
    _expect("normalize", normalize, ("minibatch", "rollout", "none"))
    _check_fit(policy, rollout)

    def losses(records: Rollout, advantage: Tensor) -> Losses:
        """Per-record loss and log_prob, both (n,), as a function of the policy."""

        def of(p: nn.Module) -> tuple[Tensor, Tensor]:
            if score_loss == "policy":
                log_prob = p.log_prob(records.obs, records.action)  # type: ignore[operator]
                return policy_loss(log_prob, records.logp, advantage, clip), log_prob
            log_prob, value, entropy = p(records.obs, records.action)
            loss = policy_loss(log_prob, records.logp, advantage, clip)
            return loss + vf_coef * (value - records.ret) ** 2 - ent_coef * entropy, log_prob

        return of

    if trace is not None:
        scores = _tracin(policy, rollout, target, trace, losses)
    else:
        rng = np.random.default_rng(0) if rng is None else rng
        advantage = normalized(rollout.advantage, normalize, batch_size, rng)
        params = {k: x.detach() for k, x in policy.named_parameters()}
        v = target_gradient(policy, params, rollout, target)
        if method == "jvp":
            scores, log_prob = _jvp(policy, params, losses(rollout, advantage), v)
        elif method == "ghost":
            scores, log_prob = ghost_scores(policy, losses(rollout, advantage), v)
        else:
            scores = _by_record(policy, params, rollout, advantage, losses, v, method)
            with torch.no_grad():
                log_prob = policy.log_prob(rollout.obs, rollout.action)  # type: ignore[operator]
        _warn_if_stale(log_prob, rollout.logp)
    if not scores.isfinite().all():
        bad = int((~scores.isfinite()).nonzero()[0])
        raise ValueError(f"scores: record {bad} has score {scores[bad]}, expected a finite number")
    return scores


def normalized(advantage: Tensor, how: str, batch_size: int, rng: np.random.Generator) -> Tensor:
    """The record's advantage in the score, (n,); see `influence`."""
    if how == "none":
        return advantage
    if how == "rollout":
        return standardise(advantage)
    order = torch.from_numpy(rng.permutation(len(advantage))).to(advantage.device)
    full = len(order) // batch_size * batch_size
    out = torch.empty_like(advantage)
    groups = order[:full].view(-1, batch_size)  # all full groups at once
    out[groups] = standardise(advantage[groups])
    out[order[full:]] = standardise(advantage[order[full:]])
    return out


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
    filled = (torch.zeros_like(x) if g is None else g for x, g in zip(leaves.values(), grads))
    return dict(zip(leaves, filled, strict=True))


def _jvp(policy: nn.Module, params: Params, losses: Callable, v: Params) -> tuple[Tensor, Tensor]:
    """-(d losses / d params) v, (n,), by one forward-mode pass, and log_prob, (n,)."""
    with torch.no_grad():
        out = jvp(lambda p: call(policy, p, losses), (params,), (v,), has_aux=True)
    return -out[1], out[2]  # type: ignore[misc]


def _by_record(policy, params, rollout, advantage, losses, v, method) -> Tensor:
    """Gradient of each record's loss, then the product with v."""

    def loss_i(p: Params, record: Rollout, a: Tensor) -> Tensor:
        return call(policy, p, losses(record, a))[0].sum()

    if method == "loop":
        scores = []
        for i in range(len(rollout)):
            leaves = {k: x.detach().requires_grad_() for k, x in params.items()}
            with torch.enable_grad():
                loss = loss_i(leaves, rollout[i], advantage[i : i + 1])
            g = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            scores.append(-sum((x * y).sum() for x, y in zip(g, v.values()) if x is not None))
        return torch.stack(scores) if scores else advantage.new_zeros(0)

    names = ("obs", "action", "logp", "ret")

    def gradient_i(a: Tensor, *fields: Tensor) -> Params:
        record: Any = _OneRecord(*(x.unsqueeze(0) for x in fields))
        return grad(loss_i)(params, record, a.unsqueeze(0))

    if len(rollout) == 0:
        return advantage.new_zeros(0)
    grads = vmap(gradient_i)(advantage, *(getattr(rollout, name) for name in names))
    return -torch.stack([(grads[k] * v[k]).flatten(1).sum(1) for k in v]).sum(0).detach()


class _OneRecord:
    """The fields the losses read, for vmap, which cannot carry a whole rollout."""

    def __init__(self, obs: Tensor, action: Tensor, logp: Tensor, ret: Tensor):
        self.obs, self.action, self.logp, self.ret = obs, action, logp, ret


def _tracin(policy, rollout, target, trace: Trace, losses) -> Tensor:
    scores = torch.zeros_like(rollout.advantage)
    for params, index in zip(trace.params, trace.index, strict=True):
        batch = rollout[index]
        v = target_gradient(policy, params, rollout, target)
        of = losses(batch, standardise(batch.advantage))
        # index_add_, not +=: with equal_steps a record can stand twice in one minibatch
        scores.index_add_(0, index, _jvp(policy, params, of, v)[0] * trace.weight[index])
    return scores


def _check_fit(policy: nn.Module, rollout: Rollout) -> None:
    if rollout.obs.shape[:1] != rollout.advantage.shape:
        raise ValueError(
            f"rollout: obs {tuple(rollout.obs.shape)} and advantage "
            f"{tuple(rollout.advantage.shape)} disagree, expected (n, ...) and (n,)"
        )
    if not callable(getattr(policy, "log_prob", None)):
        raise ValueError(f"policy: {type(policy).__name__} has no log_prob(obs, action)")
    if (arch := getattr(policy, "arch", None)) is not None:
        check_fit(rollout, arch)


def _warn_if_stale(log_prob: Tensor, logp: Tensor, tolerance: float = 1e-3) -> None:
    """Scores at theta_k presume that the policy is the one that made the records: ratio is 1."""
    if log_prob.shape != logp.shape:
        raise ValueError(
            f"policy: log_prob returned {tuple(log_prob.shape)}, expected {tuple(logp.shape)}"
        )
    gap = float((log_prob - logp).abs().max()) if len(logp) else 0.0
    if not gap <= tolerance:
        warnings.warn(
            f"rollout: stale records, made by another policy than the one being scored (log-ratio "
            f"up to {gap:.2g}, expected 0); collect again, or score before the update",
            stacklevel=3,
        )


def _expect(name: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"{name}: {value!r}, expected one of {choices}")
