"""Influence scores: how much learning from one record moves a target.

    score_i = < grad f(theta), -grad loss_i(theta) >

the change of the target f per unit of learning rate when one plain SGD step is made on the loss of
record i alone. Positive: learning from the record raises the target. (Hu et al. 2025,
section 3.)

symbol  shape  meaning
n       -      records in the rollout
p       -      parameters
v       (p,)   grad f(theta), the direction in which the target rises
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

from .collect import check_fit
from .config import PPOConfig, is_function, whole
from .ghost import ghost_scores
from .loss import Params, policy_loss, standardise
from .policy import Architecture
from .rollout import Rollout
from .step import OptState, Trace, preconditioner
from .targets import Return, Target, call, target_gradient
from .unrolled import unrolled

# per-record losses and log-probabilities, both (n,), as a function of the policy
Losses = Callable[[nn.Module], tuple[Tensor, Tensor]]

METHODS = ("jvp", "ghost", "vmap", "loop")
ESTIMATORS = ("tracin", "tracin_adam", "unrolled")


def influence(
    policy: nn.Module,
    rollout: Rollout,
    target: Target | None = None,
    *,
    method: str = "jvp",
    score_loss: str = "policy",
    normalize: str = "minibatch",
    trace: Trace | None = None,
    estimator: str = "tracin",
    clip_width: float = 0.0,
    opt_state: OptState | None = None,
    adam_eps: float = 1e-5,
    clip: float | None = None,
    vf_coef: float | None = None,
    ent_coef: float | None = None,
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
        trace: of an update, for scores of the whole update instead of its first moment. Advantages
            are then standardised as they were in the minibatches; `method` and `normalize` are not
            used.
        estimator: with a trace. "tracin": the scores at the parameters of every step, summed over
            the steps whose minibatch held the record (paper eq. 2). "tracin_adam": the same, each
            step's target gradient scaled as Adam scaled the step. "unrolled": exact, by
            differentiating through all steps: times lr / batch size it is the derivative of the
            target after the update in the record's weight (always on the loss of training).
        clip_width: with "unrolled", let PPO's clip set in gradually in the derivative, over about
            this much of the ratio; 0.01 where many ratios reach the clip. 0: exact.
        opt_state: without a trace, Adam's state as the update finds it (`agent.opt_state`): the
            target gradient is scaled as Adam would scale a step. With plain scores, None.
        adam_eps: epsilon of that Adam.
        clip: PPO's epsilon; None: the trace's, or 0.2.
        vf_coef: weight of the value term in the full loss; None: the trace's, or 0.5.
        ent_coef: weight of the entropy term in the full loss; None: the trace's, or 0.
        batch_size: group size of `normalize="minibatch"`.
        rng: source of its permutation; by default always the same one.

    Returns:
        Scores, (n,), in units of the target per unit of learning rate.

    Raises:
        ValueError: an unknown setting, a rollout that does not fit the policy, a target that is
            no scalar, scores that are not finite.
    """
    target = Return() if target is None else target
    if not is_function(target):
        raise ValueError(f"target: {target!r}, expected a function of policy and rollout")
    _expect("method", method, METHODS)
    _expect("score_loss", score_loss, ("policy", "full"))
    _expect("normalize", normalize, ("minibatch", "rollout", "none"))
    _expect("estimator", estimator, ESTIMATORS)
    if trace is None and estimator != "tracin":
        raise ValueError(f"estimator: {estimator!r} without a trace, expected one of an update")
    if clip_width < 0 or (clip_width > 0 and estimator != "unrolled"):
        raise ValueError(f"clip_width: {clip_width!r}, expected 0, or above with 'unrolled'")
    if trace is not None and opt_state is not None:
        raise ValueError("opt_state: given with a trace, which holds its own; expected None")
    if opt_state is not None and not (opt_state.m and float(opt_state.t) >= 1):
        raise ValueError("opt_state: no moments, expected that of an agent with Adam after a step")
    whole("batch_size", batch_size, 2)  # alone, a standardised advantage is 0
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng: {rng!r}, expected a numpy Generator or None")
    _check_fit(policy, rollout)
    if trace is not None:
        _check_trace(rollout, trace, score_loss, estimator)
    given: dict[str, Any] = {
        "clip": clip,
        "vf_coef": vf_coef,
        "ent_coef": ent_coef,
        "adam_eps": adam_eps,
    }
    settings = replace(
        PPOConfig() if trace is None else trace.config,
        **{name: x for name, x in given.items() if x is not None},
    )
    clip, vf_coef, ent_coef = settings.clip, settings.vf_coef, settings.ent_coef

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

    if trace is not None and estimator == "unrolled":
        per_rate = trace.config.batch_size / trace.config.lr
        scores = per_rate * unrolled(policy, rollout, target, trace, clip_width)
        first = rollout[trace.index[0]]
        with torch.no_grad():
            of = losses(first, first.advantage)
            log_prob = call(policy, trace.params[0], lambda p: of(p)[1])
        _warn_if_stale(log_prob, first.logp)
    elif trace is not None:
        adam = estimator == "tracin_adam"
        scores = _tracin(policy, rollout, target, trace, losses, adam)
    else:
        rng = np.random.default_rng(0) if rng is None else rng
        advantage = normalized(rollout.advantage, normalize, batch_size, rng)
        params = {k: x.detach() for k, x in policy.named_parameters() if x.requires_grad}
        if not params:
            raise ValueError("policy: no parameter requires a gradient, so nothing can be learnt")
        v = target_gradient(policy, params, rollout, target)
        if opt_state is not None:
            config = PPOConfig(optimizer="adam", adam_eps=adam_eps)
            v = _scaled(v, preconditioner(opt_state, config))
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


def _scaled(v: Params, factor: Params) -> Params:
    return {k: x * factor[k] for k, x in v.items()}


def _tracin(policy, rollout, target, trace: Trace, losses, adam: bool) -> Tensor:
    scores = torch.zeros_like(rollout.advantage)
    after = [*trace.state[1:], trace.final[1]]
    for params, state, index in zip(trace.params, after, trace.index, strict=True):
        batch = rollout[index]
        v = target_gradient(policy, params, rollout, target)
        if adam:
            v = _scaled(v, preconditioner(state, trace.config))
        of = losses(batch, standardise(batch.advantage))
        product, log_prob = _jvp(policy, params, of, v)
        if params is trace.params[0]:
            _warn_if_stale(log_prob, batch.logp)
        # index_add_, not +=: with equal_steps a record can stand twice in one minibatch
        scores.index_add_(0, index, product * trace.weight[index])
    return scores


def _check_fit(policy: nn.Module, rollout: Rollout) -> None:
    if rollout.obs.shape[:1] != rollout.advantage.shape:
        raise ValueError(
            f"rollout: obs {tuple(rollout.obs.shape)} and advantage "
            f"{tuple(rollout.advantage.shape)} disagree, expected (n, ...) and (n,)"
        )
    if not callable(getattr(policy, "log_prob", None)):
        raise ValueError(f"policy: {type(policy).__name__} has no log_prob(obs, action)")
    if random := [type(m).__name__ for m in policy.modules() if m.training and _differs(m)]:
        raise ValueError(f"policy: {random[0]} in training mode, expected policy.eval() before")
    if isinstance(arch := getattr(policy, "arch", None), Architecture):
        check_fit(rollout, arch)


def _differs(module: nn.Module) -> bool:
    """Whether in training a record's output depends on chance or on the other records."""
    return isinstance(module, nn.modules.dropout._DropoutNd | nn.modules.batchnorm._BatchNorm)


def _check_trace(rollout: Rollout, trace: Trace, score_loss: str, estimator: str) -> None:
    """A trace holds what happened to the records of one rollout: is it this one?"""
    if not isinstance(trace, Trace):
        raise ValueError(
            f"trace: a {type(trace).__name__}, expected what agent.update(rollout, trace=True) "
            "returns"
        )
    if len(trace.weight) != len(rollout):
        raise ValueError(
            f"trace: of an update on {len(trace.weight)} records, expected the rollout's "
            f"{len(rollout)}"
        )
    if not torch.equal(trace.advantage, rollout.advantage):
        raise ValueError(
            "trace: of an update on other advantages than the rollout's, expected the rollout that "
            "the update learnt from (as repaired, if it was)"
        )
    if estimator != "unrolled" and score_loss == "full" and trace.critic[0] is not None:
        raise ValueError(
            "score_loss: 'full' with the trace of a critic that learnt from other minibatches "
            "(critic='all'), expected 'policy', or estimator='unrolled'"
        )


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
