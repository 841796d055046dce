"""Records of a language model: one prompt and what was written after it.

symbol           shape   meaning
prompt           (n, p)  prompt tokens, padded on the left
prompt_mask      (n, p)  which of them are real
token            (n, t)  generated tokens, padded on the right
mask             (n, t)  which of them are real; the end token, if it came, is
logp, ref_logp   (n, t)  log-probability of each token by the policy, by the reference model
value            (n, t)  V before each token (0 without a critic)
reward           (n,)    the reward model's judgement of the whole
token_reward     (n, t)  -kl_coef (logp - ref_logp), plus `reward` at the last token
token_advantage  (n, t)  A_hat of each token, as training uses it
advantage        (n,)    A_last, that of the last token
ret              (n, t)  the critic's regression target
group            (n,)    which records share a prompt drawn once
index            (n,)    the record's place in the rollout as collected; a selection keeps it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor


@dataclass(frozen=True, repr=False)
class TextRollout:
    """Prompt-generation pairs made by one policy; the module docstring lists the fields.

    `len(rollout)` is n; `rollout[mask_or_indices]` selects; `rollout.table()` shows.
    """

    prompt: Tensor
    prompt_mask: Tensor
    token: Tensor
    mask: Tensor
    logp: Tensor
    ref_logp: Tensor
    value: Tensor
    reward: Tensor
    token_reward: Tensor
    token_advantage: Tensor
    advantage: Tensor
    ret: Tensor
    group: Tensor
    index: Tensor
    prompts: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.reward)

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are tensors, all with one row per record."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def __getitem__(self, index: int | slice | Tensor | np.ndarray | list) -> TextRollout:
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"index: {index}, expected below {len(self)} records")
            index = [index]
        places = torch.arange(len(self))[
            torch.as_tensor(index).cpu() if not isinstance(index, slice) else index
        ]
        where = places.to(self.reward.device)
        rows: dict[str, Any] = {name: x[where] for name, x in self.tensors().items()}
        for name in ("prompts", "texts"):
            every = getattr(self, name)
            rows[name] = tuple(every[i] for i in places.tolist())
        return replace(self, **rows)

    def split(self, size: int) -> Iterator[TextRollout]:
        """The records in order, at most `size` at a time."""
        return (self[i : i + size] for i in range(0, len(self), size))

    @property
    def lengths(self) -> Tensor:
        """Generated tokens of each record, (n,)."""
        return self.mask.sum(1)

    @property
    def kl(self) -> Tensor:
        """Log pi(y | x) - log pi_ref(y | x) of each record, (n,): its mean estimates the KL."""
        return ((self.logp - self.ref_logp) * self.mask).sum(1)

    def table(self, **columns: Tensor) -> pd.DataFrame:
        """Records as a table; `columns` (such as `score=scores`) are added in front."""
        data: dict[str, Any] = {k: v.detach().cpu().numpy() for k, v in columns.items()}
        for name in ("reward", "advantage", "kl", "lengths", "group"):
            data[name] = getattr(self, name).detach().cpu().numpy()
        data |= {"prompt": list(self.prompts), "text": list(self.texts)}
        return pd.DataFrame(data, index=self.index.cpu().numpy()).rename_axis("index")

    def __repr__(self) -> str:
        rows = [
            f"  {name:<16}{tuple(x.shape)!s:<12}{str(x.dtype).removeprefix('torch.')}"
            for name, x in self.tensors().items()
        ]
        return "\n".join([f"TextRollout of {len(self)} records", *rows])


def last(values: Tensor, mask: Tensor) -> Tensor:
    """`values` (n, t) at each record's last real token, (n,)."""
    return values.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)


def token_rewards(
    reward: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """-kl_coef (logp - ref_logp) at each token and the reward at the last, (n, t)."""
    rewards = -kl_coef * (logp - ref_logp) * mask
    at = mask.sum(1, keepdim=True) - 1
    return rewards.scatter_add(1, at, reward.unsqueeze(1).to(rewards))


def token_gae(reward: Tensor, value: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimates along each generation, (n, t); 0 where nothing was written.

    The generation ends with its last token: what follows is worth 0 (as the released code has it,
    also where the length limit cut it).
    """
    alive = mask.to(value.dtype)
    value, advantage = value * alive, torch.zeros_like(value)
    tail = torch.zeros_like(value[:, 0])
    for t in range(value.shape[1] - 1, -1, -1):
        following = value[:, t + 1] if t + 1 < value.shape[1] else torch.zeros_like(tail)
        tail = (reward[:, t] + gamma * following - value[:, t] + gamma * lam * tail) * alive[:, t]
        advantage[:, t] = tail
    return advantage


def whiten(advantage: Tensor, mask: Tensor, group: int) -> Tensor:
    """(A - mean) / (std + 1e-8) over the real tokens of `group` consecutive records; 0: of all."""
    out = torch.zeros_like(advantage)
    size = group or len(advantage)
    for i in range(0, len(advantage), size):
        real = mask[i : i + size]
        values = advantage[i : i + size][real]
        centred = values - values.mean()
        spread = values.std() if len(values) > 1 else values.new_ones(())
        out[i : i + size][real] = centred / (spread + 1e-8)
    return out


def group_advantages(reward: Tensor, group: Tensor, judged_by: Tensor) -> Tensor:
    """GRPO's (R - mean) / (std + 1e-4) within each group, (n,) (Shao et al. 2024, section 4.1).

    Args:
        reward: R, (n,).
        group: group of each record, (n,).
        judged_by: bool (n,), the members whose mean and spread count. A group with fewer than two
            of them says nothing: 0.
    """
    out = torch.zeros_like(reward)
    for g in group.unique():
        mine = group == g
        base = reward[mine & judged_by]
        if len(base) > 1:
            out[mine] = (reward[mine] - base.mean()) / (base.std() + 1e-4)
    return out
