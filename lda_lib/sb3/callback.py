"""Callbacks that train a Stable-Baselines3 model on the records a filter keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn

from ..attribution import target_gradient
from ..filters import IIF
from ..own import OwnAgent
from ..rollout import Rollout
from ..targets import Return
from .buffer import FilterableRolloutBuffer
from .records import policy_from, rollout_from

QUANTILES = (5, 25, 50, 75, 95)


def agent_from(
    model: OnPolicyAlgorithm, keep: Callable[[Any, Rollout], Any] | None = None
) -> OwnAgent:
    """What filters ask of an agent, for an SB3 model: its policy, the settings of its loss."""
    batch = getattr(model, "batch_size", None)  # PPO has one, A2C takes all records at once
    normalize = "none"
    if model.normalize_advantage:  # type: ignore[attr-defined]
        normalize = "rollout" if batch is None else "minibatch"
    return OwnAgent(
        policy_from(model),
        keep,
        seed=model.seed or 0,
        gamma=model.gamma,
        lam=model.gae_lambda,
        vf_coef=model.vf_coef,
        ent_coef=model.ent_coef,
        batch_size=batch or model.n_steps * model.n_envs,
        normalize=normalize,
        **({"clip": float(model.clip_range(1.0))} if hasattr(model, "clip_range") else {}),
    )


class FilterCallback(BaseCallback):
    """Train an SB3 model on the records that a filter keeps.

    Logs to SB3's logger, each round: influence/dropped (share of the records) and, where the filter
    scores, influence/negative (share), influence/score_q05 to q95, influence/target_grad_norm.

    Args:
        keep: filter, a callable of (agent, rollout), such as `IIF(0.125)` or
            `RandomDrop(like=IIF(0.125))`; None keeps all.
        verbose: SB3's.

    Attributes:
        scores: the scores of every round so far, each (n,), where the filter has any.
        kept: whom it kept, each (n,): bool, or weights.
        rollout: the last round's records.
    """

    def __init__(self, keep: Callable[[Any, Rollout], Any] | None, verbose: int = 0):
        super().__init__(verbose)
        self.keep = keep
        self.scores: list[Tensor] = []
        self.kept: list[Tensor] = []
        self.rollout: Rollout | None = None
        self.agent: OwnAgent | None = None

    def _init_callback(self) -> None:
        model: Any = self.model
        policy = policy_from(model)
        if not isinstance(model.rollout_buffer, FilterableRolloutBuffer):
            raise TypeError(
                f"model: its buffer is a {type(model.rollout_buffer).__name__}, expected "
                f"{type(model).__name__}(..., rollout_buffer_class=FilterableRolloutBuffer), or "
                "load(..., custom_objects={'rollout_buffer_class': FilterableRolloutBuffer})"
            )
        if self.agent is None or self.agent.policy.policy is not policy.policy:
            self.agent = agent_from(model, self.keep)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        assert self.agent is not None
        self.agent.config = agent_from(model).config  # a setting may have changed since
        self.rollout = rollout_from(model)
        keep = self.agent.choose(self.rollout)
        model.rollout_buffer.keep(keep)
        self.kept.append(keep)
        record = self.logger.record
        record("influence/dropped", float((keep <= 0).float().mean()))
        scores = self.agent.scores
        if scores is None:
            return
        self.scores.append(scores)
        record("influence/negative", float((scores < 0).float().mean()))
        for q, value in zip(QUANTILES, np.percentile(scores.cpu().numpy(), QUANTILES), strict=True):
            record(f"influence/score_q{q:02d}", float(value))
        record("influence/target_grad_norm", self._gradient_norm())

    def _gradient_norm(self) -> float:
        """Length of the target's gradient, |grad f|: how far the records agree."""
        assert self.agent is not None and self.rollout is not None
        policy = self.agent.policy
        params = {k: x.detach() for k, x in policy.named_parameters()}
        target = getattr(self.keep, "target", None) or Return()
        gradient = target_gradient(policy, params, self.rollout, target)
        return float(nn.utils.get_total_norm(list(gradient.values())))


class IIFCallback(FilterCallback):
    """Train an SB3 model with iterative influence-based filtering; see `IIF`, `FilterCallback`.

    Args:
        drop: p as a fraction of the records with negative score, 0 to 1.
        **filter: further arguments of `IIF`: target, settings.
    """

    def __init__(self, drop: float, **filter: Any):
        super().__init__(IIF(drop, **filter))
