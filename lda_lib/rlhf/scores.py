"""Influence scores of prompt-generation pairs, exact, by one forward-mode product.

    score_i = < grad f(theta), -grad loss_i(theta) >      over the LoRA parameters theta

The target's gradient v takes a forward and a backward pass over its reference records; then one jvp
per micro-batch, a pass that carries each activation's change along v beside it, gives the scores of
its records. Nothing is kept between micro-batches but v and the scores, and no layer needs a hook.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from ..ghost import ghost_scores
from ..loss import Params
from .loss import record_losses
from .models import LanguagePolicy
from .rollout import TextRollout

METHODS = ("jvp", "ghost", "loop")


def text_influence(
    policy: LanguagePolicy,
    rollout: TextRollout,
    reference: TextRollout,
    weights: Tensor,
    *,
    method: str = "jvp",
    score_loss: str = "policy",
    clip: float = 0.2,
    vf_coef: float = 0.1,
    kl_coef: float = 0.0,
    micro_batch: int = 64,
) -> Tensor:
    """Influence score of every record of a rollout on a target.

    Dropout is off here whatever the policy's mode, as it was in generation: the ratio is 1.

    Args:
        policy: the policy that made the rollout.
        rollout: n records.
        reference: the target's m records, and
        weights: their tokens' weights, (m, t): what a target returns (module `targets`).
        method: "jvp"; "ghost": layer by layer from the adapters' inputs and output gradients, with
            a hook on each; or "loop": one backward pass per record, the slow reference.
        score_loss: "policy", or "full" with the value term (PPO, as released) and the loss's own
            KL penalty (GRPO). The value head itself is no LoRA parameter; its loss moves the
            adapters beneath it.
        clip: PPO's epsilon.
        vf_coef: weight of the value term in the full loss.
        kl_coef: weight of the KL penalty in the full loss.
        micro_batch: most records in one pass: memory, not results.

    Returns:
        Scores, (n,), in units of the target per unit of learning rate.

    Raises:
        ValueError: an unknown setting, weights that do not fit, scores that are not finite.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r}, expected one of {METHODS}")
    if score_loss not in ("policy", "full"):
        raise ValueError(f"score_loss: {score_loss!r}, expected 'policy' or 'full'")
    if weights.shape != reference.mask.shape:
        raise ValueError(
            f"weights: shape {tuple(weights.shape)}, expected {tuple(reference.mask.shape)}"
        )
    full = score_loss == "full"
    terms = {"clip": clip, "vf_coef": full * vf_coef, "kl_coef": full * kl_coef}
    training = policy.training
    policy.eval()
    try:
        v = target_gradient(policy, reference, weights, micro_batch)
        by_part = {"jvp": _jvp, "ghost": _ghost, "loop": _by_record}[method]
        size = 1 if method == "loop" else micro_batch
        found = [by_part(policy, part, v, terms) for part in rollout.split(size)]
    finally:
        policy.train(training)
    scores = torch.cat([x for x, _ in found]) if found else rollout.advantage.new_zeros(0)
    _warn_if_stale(max((gap for _, gap in found), default=0.0), policy)
    if not scores.isfinite().all():
        bad = int((~scores.isfinite()).nonzero()[0])
        raise ValueError(f"scores: record {bad} has score {scores[bad]}, expected a finite number")
    return scores


def target_gradient(
    policy: LanguagePolicy, reference: TextRollout, weights: Tensor, micro_batch: int
) -> Params:
    """V = grad f by LoRA parameter: the sum of the micro-batches' gradients."""
    adapters = policy.adapters()
    v = {k: torch.zeros_like(p) for k, p in adapters.items()}
    pairs = zip(reference.split(micro_batch), weights.split(micro_batch), strict=True)
    for records, weight in pairs:
        f = (_pass(policy, records).logp * weight).sum()
        # materialize_grads: an adapter that an unusual model does not use has gradient 0
        grads = torch.autograd.grad(f, list(adapters.values()), materialize_grads=True)
        for total, g in zip(v.values(), grads):
            total += g
    return v


def _pass(policy: LanguagePolicy, records: TextRollout, params: Params | None = None) -> Any:
    fields = (records.prompt, records.prompt_mask, records.token, records.mask)
    return policy(*fields) if params is None else functional_call(policy, params, fields)


@torch.no_grad()
def _jvp(
    policy: LanguagePolicy, records: TextRollout, v: Params, terms: dict[str, float]
) -> tuple[Tensor, float]:
    """Scores of a micro-batch, (b,), and its largest log-ratio."""

    def losses(params: Params) -> tuple[Tensor, Tensor]:
        now = _pass(policy, records, params)
        return record_losses(now, records, **terms)[0], now.logp

    params = {k: p.detach() for k, p in policy.adapters().items()}
    _, change, logp = jvp(losses, (params,), (v,), has_aux=True)  # type: ignore[misc]
    return -change, _gap(logp, records)


def _ghost(
    policy: LanguagePolicy, records: TextRollout, v: Params, terms: dict[str, float]
) -> tuple[Tensor, float]:
    """As `_jvp`, by ghost products over the adapters' layers: a backward pass, no gradients kept.

    A layer's weight is used at every token, so its product sums over them (module `lda_lib.ghost`).
    """

    def losses(policy: Any) -> tuple[Tensor, Tensor]:
        now = _pass(policy, records)
        return record_losses(now, records, **terms)[0], now.logp

    scores, logp = ghost_scores(policy, losses, v)
    return scores, _gap(logp, records)


def _by_record(
    policy: LanguagePolicy, record: TextRollout, v: Params, terms: dict[str, float]
) -> tuple[Tensor, float]:
    now = _pass(policy, record)
    loss = record_losses(now, record, **terms)[0].sum()
    grads = torch.autograd.grad(loss, list(policy.adapters().values()), materialize_grads=True)
    score = -sum((g * x).sum() for g, x in zip(grads, v.values()))
    assert isinstance(score, Tensor)
    return score.detach().unsqueeze(0), _gap(now.logp, record)


def _gap(logp: Tensor, records: TextRollout) -> float:
    return float((logp - records.logp).detach().abs().max())


def _warn_if_stale(gap: float, policy: LanguagePolicy) -> None:
    """Scores at theta_k presume that the policy is the one that wrote the records: ratio is 1."""
    half = next(policy.lm.parameters()).dtype in (torch.bfloat16, torch.float16)
    if not gap <= (0.5 if half else 1e-3):  # a half-precision pass depends on its batch's shape
        warnings.warn(
            f"rollout: stale records, written by another policy than the one being scored "
            f"(log-ratio of a token up to {gap:.2g}, expected 0); collect again, or score before "
            "the update",
            stacklevel=3,
        )
