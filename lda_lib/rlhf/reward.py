"""Rewards: a sequence-classification model, or any Python function, that judges what was written.

A reward function takes (prompts, texts), two lists of n strings, and returns n numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from .models import Model, load_pretrained, load_tokenizer

RewardFunction = Callable[[Sequence[str], Sequence[str]], Any]


class ClassifierReward:
    """The logit of one label of a sequence-classification model.

    Args:
        model: the classifier, its name on the Hugging Face hub, or its folder.
        label: name or number of the label whose logit is the reward, such as "courteous".
        tokenizer: its tokenizer, where `model` is no name or folder.
        reads: "generation", or "text" for prompt and generation.
        batch: texts read at a time.
        device: where the classifier lives.

    Raises:
        FileNotFoundError, ValueError: as `load_pretrained`; or no such label.
    """

    def __init__(
        self,
        model: Model,
        label: str | int,
        *,
        tokenizer: Any = None,
        reads: str = "generation",
        batch: int = 128,
        device: str | torch.device = "cpu",
    ):
        if reads not in ("generation", "text"):
            raise ValueError(f"reads: {reads!r}, expected 'generation' or 'text'")
        self.model = load_pretrained(
            AutoModelForSequenceClassification, model, "reward", dtype=torch.float32
        )
        self.model.to(device).eval()  # type: ignore[arg-type]
        self.tokenizer = load_tokenizer(model, tokenizer, "own", "reward tokenizer")
        names = {str(name): int(i) for i, name in (self.model.config.id2label or {}).items()}
        if label not in names and label not in names.values():
            raise ValueError(f"label: {label!r}, expected one of {sorted(names)} or its number")
        self.label = names[label] if isinstance(label, str) else int(label)
        self.name, self.reads, self.batch = str(label), reads, batch

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        """The logits, (n,)."""
        read = list(texts)
        if self.reads == "text":
            read = [f"{p} {t}" for p, t in zip(prompts, texts, strict=True)]
        found = []
        for i in range(0, len(read), self.batch):
            coded = self.tokenizer(
                read[i : i + self.batch], padding=True, truncation=True, return_tensors="pt",
                max_length=min(self.tokenizer.model_max_length, self._longest()),
            ).to(self.model.device)  # fmt: skip
            found.append(self.model(**coded).logits[:, self.label].float())
        return torch.cat(found) if found else torch.zeros(0)

    def _longest(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", 512))


def judge(
    reward: RewardFunction, prompts: Sequence[str], texts: Sequence[str], argument: str = "reward"
) -> Tensor:
    """`reward(prompts, texts)` as a float tensor (n,), checked.

    Raises:
        ValueError: not n numbers, or one is NaN or infinite; the text is shown.
    """
    values = reward(prompts, texts)
    try:
        out = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values)
        out = out.detach().float()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument}: returned {type(values).__name__}, expected numbers"
        ) from error
    if out.shape != (len(texts),):
        raise ValueError(f"{argument}: returned shape {tuple(out.shape)}, expected ({len(texts)},)")
    if not out.isfinite().all():
        bad = int((~out.isfinite()).nonzero()[0])
        raise ValueError(
            f"{argument}: returned {float(out[bad])} for text {bad} ({texts[bad][:80]!r}), "
            "expected a finite number"
        )
    return out
