"""GRPO: the other generations on the same prompt are the baseline, there is no critic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .ppo import LanguagePPO
from .rollout import TextRollout, group_advantages


class LanguageGRPO(LanguagePPO):
    """Group relative policy optimisation (Shao et al. 2024, section 4.1).

    Every token of a generation has the advantage (R - mean) / std within the generations of its
    prompt; the KL penalty is a term of the loss. With `group_baseline="kept"` the mean and spread
    are those of the members that the filter kept, so that dropping one changes what the others
    teach, and a member left alone teaches nothing; with "all" they stay those of the whole group.
    """

    preset = "grpo"

    @property
    def loss_kl(self) -> float:
        """Weight of the KL term."""
        return self.kl_coef

    def credit(
        self,
        reward: Tensor,
        logp: Tensor,
        ref_logp: Tensor,
        value: Tensor,
        mask: Tensor,
        group: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Token rewards, advantages and (unused) critic's targets, each (n, t)."""
        if self.config.group < 2:
            raise ValueError(f"group: {self.config.group}, expected 2 or more for GRPO")
        everyone = torch.ones_like(reward, dtype=torch.bool)
        advantage = group_advantages(reward, group, everyone).unsqueeze(1) * mask
        at = mask.sum(1, keepdim=True) - 1
        rewards = torch.zeros_like(logp).scatter(1, at, reward.unsqueeze(1))
        return rewards, advantage, torch.zeros_like(logp)

    def update(
        self, rollout: TextRollout, keep: Tensor | np.ndarray | None = None
    ) -> dict[str, float]:
        """As PPO's; with `group_baseline="kept"` on advantages among the kept."""
        if keep is not None and self.config.group_baseline == "kept":
            rollout = rebaselined(rollout, torch.as_tensor(keep).to(rollout.reward.device) > 0)
        return super().update(rollout, keep)


def rebaselined(rollout: TextRollout, kept: Tensor) -> TextRollout:
    """The rollout with group advantages by the kept members' mean and spread.

    Args:
        rollout: n records.
        kept: bool (n,).
    """
    advantage = group_advantages(rollout.reward, rollout.group, kept)
    by_token = advantage.unsqueeze(1) * rollout.mask
    return replace(rollout, advantage=advantage, token_advantage=by_token)
