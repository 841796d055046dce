"""GRPO (Shao et al. 2024) on a world small enough to list every sentence.

A prompt asks for one word of `length` letters; a policy writes it letter by letter; the reward is
the share of right letters. Each round every prompt is answered by a group of members, and a
member's advantage is its reward against its own group: (R - mean) / (std + 1e-4). No critic.

symbol   shape        meaning
n        -            members of a round, prompts times group size
prompt   (n,)         what was asked, which is also the number of the group
word     (n, length)  letters written
reward   (n,)         R
weight   (n,)         w, of a member in the loss, and in its group's mean and spread
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..config import expect, expect_whole, is_number
from ..loss import Params
from ..ppo import stream
from ..step import check_keep
from ..targets import call
from .scores import Target, weight_scores

BASELINES = ("all", "kept")


@dataclass(frozen=True)
class GRPOConfig:
    """Settings; `noise` is the standard deviation of what a judge adds to the true reward."""

    prompts: int = 8
    letters: int = 4
    length: int = 3
    group: int = 8
    lr: float = 1.0
    noise: float = 0.0
    baseline: str = "kept"

    def __post_init__(self) -> None:
        expect_whole(self, "prompts", "length")
        expect_whole(self, "letters", "group", least=2)
        expect(self, "lr", is_number(self.lr) and self.lr > 0, "a number above 0")
        expect(self, "noise", is_number(self.noise) and self.noise >= 0, "a number from 0")
        expect(self, "baseline", self.baseline in BASELINES, f"one of {BASELINES}")


class Writer(nn.Module):
    """A policy over words: each letter given the prompt, its place and the letter before."""

    def __init__(self, config: GRPOConfig):
        super().__init__()
        self.config = config
        inputs = config.prompts + config.length + config.letters + 1
        self.net = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, config.letters))

    def log_prob(self, prompt: Tensor, word: Tensor) -> Tensor:
        """Log pi(word | prompt), (n,), summed over its letters."""
        config, n = self.config, len(prompt)
        before = torch.cat([torch.full((n, 1), config.letters), word[:, :-1]], 1)
        place = torch.arange(config.length).expand(n, -1)
        parts = (
            one_hot(prompt, config.prompts).unsqueeze(1).expand(-1, config.length, -1),
            one_hot(place, config.length),
            one_hot(before, config.letters + 1),
        )
        inputs = torch.cat(parts, -1).to(next(self.parameters()))
        log_p = self.net(inputs).log_softmax(-1)
        return log_p.gather(-1, word.unsqueeze(-1)).squeeze(-1).sum(-1)


@dataclass(frozen=True)
class Members:
    """The answers of one round, one row each."""

    prompt: Tensor
    word: Tensor
    reward: Tensor

    def __len__(self) -> int:
        return len(self.reward)


def advantages(members: Members, weight: Tensor) -> Tensor:
    """(R - mean) / (std + 1e-4) within each group, by weighted mean and spread, (n,).

    With weights 0 and 1 these are the advantages among the members left; a group with fewer than
    two of them, or with equal rewards, says nothing: 0. Differentiable in the weights.
    """
    groups = one_hot(members.prompt).to(weight)  # (n, groups)
    total = weight @ groups
    mean = (weight * members.reward) @ groups / total.clamp(min=1e-12)
    centred = members.reward - groups @ mean
    variance = (weight * centred.square()) @ groups / (total - 1).clamp(min=1e-12)
    speaks = (variance > 1e-12) & (total > 1 + 1e-6)
    spread = torch.where(speaks, variance, 1.0).sqrt()
    return groups @ speaks.to(weight) * centred / (groups @ spread + 1e-4)


class GRPO:
    """A GRPO agent on the small world: one step of plain SGD a round, on all its members.

    Args:
        seed: governs everything random: the wanted words, weights, letters, noise, filters.
        keep: filter, a callable of (agent, members) that returns bool (n,), `IIF` or
            `RandomDrop`.
        **settings: of `GRPOConfig`.

    Attributes:
        policy: the writer.
        wanted: (prompts, length), the word that each prompt asks for.
    """

    def __init__(self, *, seed: int = 0, keep: Callable | None = None, **settings: Any):
        self.config, self.seed, self.keep = GRPOConfig(**settings), seed, keep
        self.round = 0
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.rng("weights").integers(2**31)))
            self.policy = Writer(config)
        shape = (config.prompts, config.length)
        self.wanted = torch.from_numpy(self.rng("wanted").integers(0, config.letters, shape))
        words = itertools.product(range(config.letters), repeat=config.length)
        self.words = torch.tensor(list(words))  # every word there is
        self.rows: list[dict[str, float]] = []

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator for one purpose in this round; asked for again, it starts again."""
        return stream(self.seed, purpose, self.round)

    def _everything(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every prompt with every word, and the true reward."""
        prompt = torch.arange(self.config.prompts).repeat_interleave(len(self.words))
        word = self.words.repeat(self.config.prompts, 1)
        return prompt, word, (word == self.wanted[prompt]).float().mean(-1)

    def expected_reward(self, policy: nn.Module, members: Any = None) -> Tensor:
        """J: the true reward expected over prompts and words, exact; a target."""
        prompt, word, reward = self._everything()
        return (policy.log_prob(prompt, word).exp() * reward).sum() / self.config.prompts  # type: ignore[operator]

    def collect(self) -> Members:
        """Let every prompt be answered by a group; the policy does not change."""
        config, rng = self.config, self.rng("words")
        prompt, word, reward = self._everything()
        with torch.no_grad():
            log_p = self.policy.log_prob(prompt, word).view(config.prompts, -1).numpy()
        noise = rng.gumbel(size=(config.prompts, config.group, log_p.shape[1]))
        place = torch.from_numpy((log_p[:, None] + noise).argmax(-1)).flatten()
        asked = torch.arange(config.prompts).repeat_interleave(config.group)
        judged = reward[asked * len(self.words) + place]
        judged = judged + config.noise * torch.from_numpy(rng.normal(size=len(judged))).float()
        return Members(asked, self.words[place], judged)

    def loss(self, policy: nn.Module, members: Members, weight: Tensor) -> Tensor:
        """Summed loss of the members: - w_i A_i(w) log pi(word_i | prompt_i)."""
        judges = weight if self.config.baseline == "kept" else torch.ones_like(weight)
        advantage = advantages(members, judges)
        log_prob = policy.log_prob(members.prompt, members.word)  # type: ignore[operator]
        return -(weight * advantage * log_prob).sum()

    def influence(self, members: Members, target: Target | None = None) -> Tensor:
        """Score of each member, (n,); by default on f_return of the members themselves."""
        everyone = advantages(members, torch.ones_like(members.reward))

        def own_return(policy: nn.Module, members: Members) -> Tensor:
            log_prob = policy.log_prob(members.prompt, members.word)  # type: ignore[operator]
            return (log_prob * everyone).mean()

        return weight_scores(self.policy, members, self.loss, target or own_return)

    def stepped(self, members: Members, weight: Tensor, divisor: float | None = None) -> Params:
        """The parameters after the round's step; the policy stays.

        Args:
            members: n answers.
            weight: (n,), 0 for those left out.
            divisor: what the summed loss is divided by; None for the weights' sum.
        """
        params = {k: p.detach().requires_grad_() for k, p in self.policy.named_parameters()}
        with torch.enable_grad():
            loss = call(self.policy, params, self.loss, members, weight)
            loss = loss / (weight.sum() if divisor is None else divisor)
        slope = torch.autograd.grad(loss, list(params.values()))
        return {k: p.detach() - self.config.lr * g for (k, p), g in zip(params.items(), slope)}

    def update(self, members: Members, keep: Tensor | None = None) -> None:
        """One step on the kept members, averaged over them."""
        mask = check_keep(keep, len(members)).to(members.reward)
        self.policy.load_state_dict(self.stepped(members, mask))
        self.round += 1

    def learn(self, rounds: int) -> pd.DataFrame:
        """Collect, filter, update, `rounds` times; one row per round so far."""
        for _ in range(rounds):
            members = self.collect()
            keep = None if self.keep is None else self.keep(self, members)
            self.update(members, keep)
            with torch.no_grad():
                J = float(self.expected_reward(self.policy))
            kept = len(members) if keep is None else int((torch.as_tensor(keep) > 0).sum())
            self.rows.append({"round": self.round, "return_mean": J, "kept": kept})
        return pd.DataFrame(self.rows)
