"""The loss of a record, a prompt and its generation: the mean over its own tokens."""

from __future__ import annotations

from torch import Tensor

from ..loss import policy_loss
from .models import Pass
from .rollout import TextRollout

STATISTICS = ("policy_loss", "value_loss", "entropy", "ratio_gap", "clip_fraction")


def token_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over each record's real tokens, (n,)."""
    return (values * mask).sum(1) / mask.sum(1)


def record_losses(
    now: Pass, batch: TextRollout, *, clip: float, vf_coef: float, kl_coef: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped loss of each record, (n,), and its parts without gradient.

    Args:
        now: what the policy says about the records' tokens.
        batch: the records.
        clip: epsilon.
        vf_coef: weight of half the squared error of the value, the error clipped around the old
            value as the ratio is around 1.
        kl_coef: weight of a KL penalty in the loss itself, as GRPO has it (Schulman's estimator
            r - 1 - log r with r = pi_ref / pi).
    """
    mask = batch.mask
    parts = {
        "policy_loss": token_mean(
            policy_loss(now.logp, batch.logp, batch.token_advantage, clip), mask
        )
    }
    loss = parts["policy_loss"]
    if vf_coef:
        near = batch.value + (now.value - batch.value).clamp(-clip, clip)
        error = ((now.value - batch.ret) ** 2).maximum((near - batch.ret) ** 2)
        parts["value_loss"] = 0.5 * token_mean(error, mask)
        loss = loss + vf_coef * parts["value_loss"]
    if kl_coef:
        log_r = batch.ref_logp - now.logp
        loss = loss + kl_coef * token_mean(log_r.exp() - 1 - log_r, mask)
    ratio = (now.logp - batch.logp).detach().exp()
    parts["entropy"] = token_mean(now.entropy, mask)
    parts["ratio_gap"] = token_mean((ratio - 1).abs(), mask)
    parts["clip_fraction"] = token_mean(((ratio - 1).abs() > clip).to(ratio.dtype), mask)
    return loss, {k: x.detach() for k, x in parts.items()}
