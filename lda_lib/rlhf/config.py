"""Settings of a language-model run, and presets."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

from ..config import PPOConfig, expect, expect_whole, is_number, preset


@dataclass(frozen=True)
class RLHFConfig:
    """All settings of a run. Nothing that changes a result is set anywhere else.

    Attributes:
        n_sequences: records (prompt and generation) per round.
        new_tokens: longest generation, in tokens.
        batch_size: records per minibatch.
        epochs: passes over the kept records per round.
        lr: Adam's learning rate.
        adam_eps: Adam's epsilon.
        max_grad_norm: clip the gradient of each step to this norm; None leaves it alone.
        gamma: discount per token.
        lam: GAE's lambda.
        clip: PPO's epsilon.
        vf_coef: weight of half the squared error of the value (PPO).
        kl_coef: weight of the per-token KL penalty in the first round.
        kl_target: KL per sequence, in nats, that the adaptive weight aims at; None: fixed weight.
        kl_horizon: sequences over which the weight adapts (Ziegler et al. 2019, section 2.2).
        whiten: consecutive sequences whose tokens' advantages are centred and scaled together; 0:
            all of the round; None: advantages stay raw (PPO).
        group: generations per prompt (1, or more for GRPO).
        group_baseline: "all": a group's mean and spread are those of all its members; "kept": of
            the members the filter kept (GRPO).
        equal_steps: cycle the kept records to as many minibatches as all records make.
        lora_r, lora_alpha, lora_dropout: of the adapters.
        lora_targets: names of the layers that get adapters; () for peft's choice.
        update_dropout: dropout in updates. In generation and scoring it is always off.
        micro_batch: most sequences in one pass through the model: memory, not results.
        dtype: of the frozen weights: "float32", "bfloat16" or "float64". Adapters and value head
            are float32 at least.
        gradient_checkpointing: recompute activations in updates: memory, not results.
        pad_token: "own": the tokenizer's; "eos": its end token.
    """

    n_sequences: int = 128
    new_tokens: int = 24
    batch_size: int = 8
    epochs: int = 4
    lr: float = 1e-4
    adam_eps: float = 1e-8
    max_grad_norm: float | None = None
    gamma: float = 1.0
    lam: float = 0.95
    clip: float = 0.2
    vf_coef: float = 0.1
    kl_coef: float = 0.04
    kl_target: float | None = 0.1
    kl_horizon: int = 10_000
    whiten: int | None = 0
    group: int = 1
    group_baseline: str = "all"
    equal_steps: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = ()
    update_dropout: bool = False
    micro_batch: int = 64
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    pad_token: str = "own"

    def __post_init__(self) -> None:
        names = isinstance(self.lora_targets, tuple | list)
        names = names and all(isinstance(name, str) for name in self.lora_targets)
        expect(self, "lora_targets", names, "a list of names")
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        expect_whole(
            self, "n_sequences", "new_tokens", "batch_size", "epochs", "kl_horizon", "group",
            "lora_r", "lora_alpha", "micro_batch",
        )  # fmt: skip
        for name in ("gamma", "lam", "lora_dropout"):
            value = getattr(self, name)
            expect(self, name, is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
        for name in ("lr", "clip", "adam_eps"):
            value = getattr(self, name)
            expect(self, name, is_number(value) and value > 0, "a number above 0")
        for name in ("vf_coef", "kl_coef"):
            value = getattr(self, name)
            expect(self, name, is_number(value) and value >= 0, "a number from 0")
        for name in ("max_grad_norm", "kl_target"):
            value = getattr(self, name)
            fine = value is None or (is_number(value) and value > 0)
            expect(self, name, fine, "None or a number above 0")
        fine = self.whiten is None or (isinstance(self.whiten, Integral) and self.whiten >= 0)
        expect(self, "whiten", fine, "None or a whole number from 0")
        for name in ("equal_steps", "update_dropout", "gradient_checkpointing"):
            expect(self, name, isinstance(getattr(self, name), bool), "True or False")
        for name, choices in _CHOICES.items():
            expect(self, name, getattr(self, name) in choices, f"one of {choices}")
        if self.n_sequences % self.group:
            raise ValueError(f"group: {self.group} does not divide n_sequences {self.n_sequences}")

    @classmethod
    def preset(cls, name: str = "small", **settings: Any) -> RLHFConfig:
        """Settings by name, with `settings` replacing single ones.

        "small": the small world's. "paper": the paper's for GPT-Neo-2.7B (its section on RLHF):
        256 sequences of up to 30 tokens, minibatches of 1. "released": the same with the released
        whitening per 64 sequences; its held-out target and full loss are settings of the filter
        (`released_filter`). "grpo": the small world's with groups of 8.
        """
        return preset(cls, PRESETS, name, settings)

    @property
    def batches(self) -> PPOConfig:
        """How records enter the steps, for `lda_lib.step.minibatches`."""
        return PPOConfig(
            batch_size=self.batch_size,
            epochs=self.epochs,
            equal_steps=self.equal_steps,
            drop_remainder=False,
        )


_CHOICES: dict[str, tuple] = {
    "group_baseline": ("all", "kept"),
    "dtype": ("float32", "bfloat16", "float64"),
    "pad_token": ("own", "eos"),
}

_PAPER: dict[str, Any] = {
    "n_sequences": 256,
    "new_tokens": 30,
    "batch_size": 1,
    "lr": 1e-5,
    "update_dropout": True,
    "micro_batch": 16,
    "dtype": "bfloat16",
    "pad_token": "eos",
}
PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "paper": _PAPER,
    "released": _PAPER | {"whiten": 64},
    "grpo": {"group": 8, "lam": 1.0, "vf_coef": 0.0, "kl_target": None},
}
