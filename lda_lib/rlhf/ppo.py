"""PPO on a language model in three lines a round: collect, keep, update."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import whole
from ..progress import progress as progress_bar
from ..step import check_keep, minibatches
from .agent import LanguageAgent
from .loss import STATISTICS, record_losses
from .models import Model
from .reward import RewardFunction
from .rollout import TextRollout, token_gae, token_rewards, whiten

TextCallback = Callable[["LanguagePPO", TextRollout, "Tensor | None", "Tensor | None"], None]
Probe = Callable[["LanguagePPO"], dict[str, float]]


class LanguagePPO(LanguageAgent):
    """PPO with a per-token KL penalty in the reward, a value head and LoRA; see `LanguageAgent`."""

    def credit(
        self, reward: Tensor, logp: Tensor, ref_logp: Tensor, value: Tensor, mask: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Token rewards, advantages and the critic's targets, each (n, t)."""
        config = self.config
        rewards = token_rewards(reward, logp, ref_logp, mask, self.kl_coef)
        advantage = token_gae(rewards, value, mask, config.gamma, config.lam)
        ret = advantage + value
        if config.whiten is not None:
            advantage = whiten(advantage, mask, config.whiten)
        return rewards, advantage, ret

    def update(
        self, rollout: TextRollout, keep: Tensor | np.ndarray | None = None
    ) -> dict[str, float]:
        """Run PPO on the kept records of a rollout and adapt the KL penalty.

        Returns:
            The update's mean statistics.

        Raises:
            ValueError: `keep` has the wrong shape or values, or drops everything.
            FloatingPointError: the loss or the parameters are no longer finite; the agent keeps
                the parameters it had.
        """
        config, n = self.config, len(rollout)
        weight = check_keep(keep, n).to(device=self.device, dtype=rollout.reward.dtype)
        trainable = self.policy.trainable()
        before = {k: p.detach().clone() for k, p in trainable.items()}
        moments = copy.deepcopy(self.optimizer.state_dict())
        totals = dict.fromkeys(STATISTICS, 0.0)
        steps = 0
        kept = (weight > 0).cpu().numpy()
        seed = int(self.rng("dropout").integers(2**63))
        cuda = [self.device] if self.device.type == "cuda" else []
        with self._memory("the update"), torch.random.fork_rng(devices=cuda), self._updating():
            torch.manual_seed(seed)
            for index, _ in minibatches(kept, config.batches, self.rng("minibatches")):
                self.optimizer.zero_grad()
                size = config.micro_batch
                for part in (index[i : i + size] for i in range(0, len(index), size)):
                    batch = rollout[part]
                    now = self.policy(batch.prompt, batch.prompt_mask, batch.token, batch.mask)
                    loss, parts = record_losses(
                        now, batch, clip=config.clip, vf_coef=config.vf_coef, kl_coef=self.loss_kl
                    )
                    where = torch.from_numpy(part).to(self.device)
                    (weight[where] * loss).sum().div(len(index)).backward()
                    for name, x in parts.items():
                        totals[name] += float(x.sum()) / len(index)
                if config.max_grad_norm is not None:
                    torch.nn.utils.clip_grad_norm_(trainable.values(), config.max_grad_norm)
                self.optimizer.step()
                steps += 1
        finite = all(np.isfinite(x) for x in totals.values())
        if not finite or not all(bool(p.isfinite().all()) for p in trainable.values()):
            with torch.no_grad():
                for k, p in trainable.items():
                    p.copy_(before[k])
            self.optimizer.load_state_dict(moments)
            raise FloatingPointError(
                f"update: loss or parameters became infinite or nan in round {self.round + 1}; "
                f"expected finite numbers (lr is {config.lr})"
            )
        if config.kl_target is not None:  # Ziegler et al. 2019, section 2.2
            error = np.clip(float(rollout.kl.mean()) / config.kl_target - 1, -0.2, 0.2)
            self.kl_coef *= 1 + error * n / config.kl_horizon
        self.round += 1
        self.optimizer_steps += steps
        return {k: x / steps for k, x in totals.items()}

    def learn(
        self,
        rounds: int,
        *,
        probe: Probe | None = None,
        probe_every: int = 1,
        callback: TextCallback | None = None,
        progress: bool = True,
        label: str = "rlhf",
        save: Any = None,
    ) -> pd.DataFrame:
        """Collect, filter, update, `rounds` times.

        Args:
            rounds: how many rounds to add.
            probe: called after updates with the agent, returns columns to add to the history.
            probe_every: after every so many rounds, and after the last.
            callback: called each round with (agent, rollout, scores, keep), after the update.
            progress: show a progress bar.
            label: its label.
            save: path of a checkpoint written after every round.

        Returns:
            The history of the whole run, one tidy row per round. Reward and KL are those of the
            round's rollout, before its update.
        """
        whole("rounds", rounds, 0)
        bar = range(rounds)
        for i in progress_bar(bar, label, rounds) if progress else bar:
            kl_coef = self.kl_coef
            rollout = self.collect()
            with self._clock("score"):
                keep = None if self.keep is None else self.keep(self, rollout)
                keep = None if keep is None else check_keep(keep, len(rollout))
            with self._clock("update"):
                statistics = self.update(rollout, keep)
            due = self.round % probe_every == 0 or i == rounds - 1
            with self._clock("probe"):
                probed = probe(self) if probe is not None and due else {}
            spread = float(rollout.reward.std()) if len(rollout) > 1 else 0.0
            self.rows.append(
                {
                    "round": self.round,
                    "reward_mean": float(rollout.reward.mean()),
                    "reward_se": spread / len(rollout) ** 0.5,
                    "kl": float(rollout.kl.mean()),
                    "kl_coef": kl_coef,
                    "tokens": float(rollout.lengths.float().mean()),
                    "kept": len(rollout) if keep is None else int((keep > 0).sum()),
                    "optimizer_steps": self.optimizer_steps,
                    **statistics,
                    **probed,
                    **{f"seconds_{k}": round(s, 4) for k, s in self.seconds.items()},
                }
            )
            if save is not None:
                self.save(save)
            if callback is not None:
                callback(self, rollout, getattr(self.keep, "scores", None), keep)
        return self.history

    @property
    def history(self) -> pd.DataFrame:
        """One row per round of `learn`."""
        return pd.DataFrame(self.rows)

    @contextmanager
    def _updating(self) -> Iterator[None]:
        """The policy in training mode, with dropout only if the settings say so."""
        self.policy.train()
        if not self.config.update_dropout:
            for module in self.policy.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.eval()
        try:
            yield
        finally:
            self.policy.eval()

    def save(self, path: Any) -> None:
        """Write a checkpoint from which `load` goes on bit for bit."""
        from .checkpoint import save_agent

        save_agent(self, path)

    @classmethod
    def load(cls, path: Any, model: Model, reward: RewardFunction, prompts: Sequence[str], **more):
        """Read a checkpoint; see `lda_lib.rlhf.checkpoint.load_agent`."""
        from .checkpoint import load_agent

        return load_agent(cls, path, model, reward, prompts, **more)
