"""A language model that writes and is judged: one half of a round, common to all algorithms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import is_function, whole
from ..filters import check_filter
from ..ppo import stream
from .config import RLHFConfig
from .models import LanguagePolicy, Model, load_tokenizer
from .reward import RewardFunction, judge
from .rollout import TextRollout, last
from .scores import text_influence
from .targets import SequenceReturn, TextTarget

TextKeep = Callable[[Any, TextRollout], "Tensor | np.ndarray"]


def _check_prompts(prompts: Any) -> None:
    if isinstance(prompts, str):
        raise ValueError(f"prompts: {prompts!r}, expected a list of strings")
    if not prompts or any(not isinstance(p, str) or not p for p in prompts):
        raise ValueError("prompts: none, or an empty one, expected non-empty strings")


class LanguageAgent:
    """A language model in training whose rounds are open to inspection and filtering.

    Args:
        model: a causal language model, its name on the Hugging Face hub, or its folder.
        reward: function of (prompts, texts) that returns n numbers, such as `ClassifierReward`.
        prompts: what generations begin with; each round draws from them.
        seed: governs everything random: adapters, prompts, generations, minibatches, filters.
        keep: filter, a callable of (agent, rollout) that returns a bool (n,) or weights (n,).
        preset: name of the settings to begin with, see `RLHFConfig.preset`.
        validation: held-out prompts, for targets that ask for them.
        tokenizer: the model's, where `model` is no name or folder.
        device: where the model lives.
        **settings: single settings of `RLHFConfig`.

    Attributes:
        policy: the model with its adapters and value head.
        config: all settings.
        kl_coef: the KL penalty's weight, as it has adapted.
        round: updates made so far.
        seconds: of the phases of the round in progress.
    """

    preset = "small"

    def __init__(
        self,
        model: Model,
        reward: RewardFunction,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        keep: TextKeep | None = None,
        preset: str | None = None,
        validation: Sequence[str] = (),
        tokenizer: Any = None,
        device: str | torch.device = "cpu",
        **settings: Any,
    ):
        self.config = RLHFConfig.preset(preset or self.preset, **settings)
        whole("seed", seed, 0)
        _check_prompts(prompts)
        if not is_function(reward):
            raise ValueError(f"reward: {reward!r}, expected a function of (prompts, texts)")
        if keep is not None:
            check_filter("keep", keep)
        self.reward, self.prompts, self.validation = reward, tuple(prompts), tuple(validation)
        self.seed, self.keep = int(seed), keep
        self.model_name = model if isinstance(model, str) else str(getattr(model, "name", ""))
        self.round = self.collected = self.optimizer_steps = 0
        self.kl_coef = self.config.kl_coef
        self.tokenizer = load_tokenizer(model, tokenizer, self.config.pad_token)
        generator = torch.Generator().manual_seed(int(self.rng("weights").integers(2**63)))
        self.policy = LanguagePolicy(model, self.config, generator).to(device)
        self.device = torch.device(device)
        self.optimizer = torch.optim.Adam(
            self.policy.trainable().values(), lr=self.config.lr, eps=self.config.adam_eps
        )
        self.seconds: dict[str, float] = {}
        self._timing = False
        self.rows: list[dict[str, Any]] = []

    def rng(self, purpose: str, count: int | None = None) -> np.random.Generator:
        """A generator for one purpose in this round; asked for again, it starts again.

        Streams depend on seed, purpose and round alone, so that arms of a comparison share them.
        """
        count = self.round if count is None else count
        return stream(self.seed, purpose, count)

    def credit(
        self,
        reward: Tensor,
        logp: Tensor,
        ref_logp: Tensor,
        value: Tensor,
        mask: Tensor,
        group: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Token rewards, advantages and the critic's targets, each (n, t): the algorithm's part."""
        raise NotImplementedError

    @property
    def loss_kl(self) -> float:
        """Weight of a KL penalty in the loss itself; PPO's is in the reward."""
        return 0.0

    def collect(self) -> TextRollout:
        """Draw prompts, write after them, judge. The parameters do not change."""
        self.seconds = {}
        count = self.config.n_sequences // self.config.group
        rollout = self._write(self._draw(self.prompts, count, "prompts"), "actions")
        self.collected += 1
        return rollout

    def write_held_out(self, count: int) -> TextRollout:
        """Records of this round's policy on `count` validation prompts."""
        if not self.validation:
            raise ValueError("validation: no prompts, expected some for a held-out target")
        group = self.config.group
        drawn = self._draw(self.validation, -(-count // group), "validation prompts")
        return self._write(drawn, "validation actions")

    def influence(
        self, rollout: TextRollout, target: TextTarget | None = None, **settings: Any
    ) -> Tensor:
        """Scores of the records with the agent's own loss, (n,); see `text_influence`."""
        with self._memory("scoring"):
            reference, weights = (target or SequenceReturn())(self, rollout)
            own = {"clip": self.config.clip, "vf_coef": self.config.vf_coef}
            own |= {"micro_batch": self.config.micro_batch, "kl_coef": self.loss_kl}
            return text_influence(self.policy, rollout, reference, weights, **(own | settings))

    def write(self, prompts: Sequence[str], seed: int = 0) -> list[str]:
        """What the model writes after each prompt; the seed alone decides the chance in it."""
        _check_prompts(prompts)
        with self._memory("generation"):
            return self._generate(prompts, np.random.default_rng(seed))[-1]

    def _draw(self, prompts: Sequence[str], count: int, purpose: str) -> list[str]:
        """`count` prompts, without repetition where there are enough, each `group` times."""
        rng = self.rng(purpose, self.collected)
        chosen = rng.choice(len(prompts), count, replace=count > len(prompts))
        return [prompts[i] for i in chosen for _ in range(self.config.group)]

    def _write(self, prompts: list[str], purpose: str) -> TextRollout:
        config = self.config
        with self._memory("generation"), self._clock("generate"):
            drawn = self.rng(purpose, self.collected)
            prompt, prompt_mask, token, mask, texts = self._generate(prompts, drawn)
        with self._clock("reward"):
            reward = judge(self.reward, prompts, texts).to(self.device)
        with self._memory("generation"), self._clock("reference"), torch.no_grad():
            parts = list(
                zip(*(x.split(config.micro_batch) for x in (prompt, prompt_mask, token, mask)))
            )
            now = [self.policy(*part) for part in parts]
            logp, value = torch.cat([x.logp for x in now]), torch.cat([x.value for x in now])
            with self.policy.reference():
                ref_logp = torch.cat([self.policy(*part).logp for part in parts])
        reward = reward.to(logp.dtype)
        index = torch.arange(len(prompts), device=self.device)
        group = index // config.group
        credit = self.credit(reward, logp, ref_logp, value, mask, group)
        token_reward, token_advantage, ret = credit
        return TextRollout(
            prompt, prompt_mask, token, mask, logp, ref_logp, value, reward, token_reward,
            token_advantage, last(token_advantage, mask), ret, group, index, tuple(prompts),
            tuple(texts),
        )  # fmt: skip

    def _generate(
        self, prompts: Sequence[str], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, list[str]]:
        """Prompt tokens and mask, generated tokens and mask, texts."""
        coded = self.tokenizer(
            list(prompts), padding=True, padding_side="left", return_tensors="pt"
        ).to(self.device)
        ids, mask = coded["input_ids"], coded["attention_mask"].bool()
        noise = torch.from_numpy(rng.random((len(prompts), self.config.new_tokens))).to(self.device)
        self.policy.eval()
        size, end = self.config.micro_batch, self.tokenizer.eos_token_id
        parts = zip(ids.split(size), mask.split(size), noise.split(size), strict=True)
        written = [self.policy.generate(*x, end, self.tokenizer.pad_token_id) for x in parts]
        token, real = (torch.cat(x) for x in zip(*written, strict=True))
        texts = [
            self.tokenizer.decode(row[on], skip_special_tokens=True).strip()
            for row, on in zip(token.cpu(), real.cpu())
        ]
        return ids, mask, token, real, texts

    @contextmanager
    def _clock(self, phase: str) -> Iterator[None]:
        """Seconds of a phase: the process's own where it is one thread, so that no other counts.

        A phase within another, such as the writing of a held-out target's texts, is the outer's.
        """
        if self._timing:
            yield
            return
        self._timing = True
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        now = time.process_time if alone else time.perf_counter
        started = now()
        try:
            yield
        finally:
            self._timing = False
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now() - started

    @contextmanager
    def _memory(self, stage: str) -> Iterator[None]:
        """Say which batch was too large for the memory."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            text = str(error)
            known = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if not known and "allocate memory" not in text:
                raise
            raise MemoryError(
                f"micro_batch: {self.config.micro_batch} sequences do not fit into memory during "
                f"{stage}, expected fewer; a smaller micro_batch gives the same results "
                f"({text.splitlines()[0] if text else type(error).__name__})"
            ) from error
