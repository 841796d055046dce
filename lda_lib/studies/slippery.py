"""Where the world is random: PPO and IIF on slippery lakes, CartPole and a windy LunarLander."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..exact import exact_advantage
from ..ppo import PPO, Keep
from ..rollout import Rollout
from ..tasks import Task
from .learning import (
    Settings,
    arm_settings,
    iif,
    make_filter,
    make_repair,
    paired_trials,
    random_like,
)
from .learning_tables import paired_table, panels
from .study import Study, Trial

SEEDS = {  # from 0
    "FrozenLakeSlippery": 20,
    "FrozenLakeSlippery8x8": 5,
    "CartPole": 10,
    "LunarLanderWindy": 5,
}
ARMS = {
    "PPO": None,
    "IIF 6.25 %": iif(0.0625),
    "IIF 12.5 %": iif(0.125),
    "IIF 50 %": iif(0.5),
    "random drop 50 %": random_like(iif(0.5)),
}


def grid(profile: str) -> list[Trial]:
    """Several p on each task, and the random control of the largest."""

    def arms(task: str) -> dict[str, Settings]:
        return {arm: arm_settings(task, profile, keep) for arm, keep in ARMS.items()}

    return paired_trials(profile, SEEDS, arms)


class Watched:
    """A filter that also notes, where it can be known, how its choice biases the advantages.

    The bias of a round is the mean of A_hat - A_true over the kept records minus that over all:
    above 0 the agent learns from records that look better than they are (nan without a model).
    """

    def __init__(self, keep: Keep | None):
        self.keep = keep
        self.bias: list[float] = []

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """What the filter answers, or all."""
        everyone = torch.ones(len(rollout), dtype=torch.bool)
        kept = everyone if self.keep is None else torch.as_tensor(self.keep(agent, rollout))
        self.bias.append(np.nan)
        if agent.model is not None:
            error = rollout.advantage - exact_advantage(agent.policy, rollout, agent.config.gamma)
            self.bias[-1] = float(error[kept > 0].mean() - error.mean())
        return kept


def run(trial: Trial, task: Task | None = None) -> pd.DataFrame:
    """The history of one run, with the bias of what each round kept; `task`: the trial's own."""
    s: dict[str, Any] = trial.settings
    keep, repair = Watched(make_filter(s["keep"])), make_repair(s)
    agent = PPO(task or trial.task, seed=trial.seed, keep=keep, repair=repair, **s["ppo"])
    history = agent.learn(
        s["rounds"], episodes=s["episodes"], evaluate_every=s["evaluate_every"], progress=False
    )
    return history.drop(columns="steps").assign(bias=keep.bias)


def table(
    rows: pd.DataFrame, arms: Sequence[str] = tuple(ARMS), tasks: Iterable[str] = SEEDS
) -> pd.DataFrame:
    """The paired table, with entropy after a fifth of the rounds, mean bias and KL up to there."""
    found = paired_table(rows, arms, tasks=tasks)
    last = rows.groupby("task")["round"].transform("max")
    early = rows[rows["round"] <= (last // 5).clip(lower=1)]
    by_arm = early.sort_values("round").groupby(["task", "arm", "seed"])
    summary = pd.DataFrame(
        {"entropy": by_arm.entropy.last(), "bias": by_arm.bias.mean(), "kl": by_arm.kl.mean()}
    )
    return found.merge(summary.groupby(["task", "arm"]).mean().reset_index(), on=["task", "arm"])


SLIPPERY = Study(
    "slippery",
    "Does filtering help or hurt where outcomes are partly luck?",
    grid,
    run,
    table,
    partial(panels, arms=tuple(ARMS), tasks=SEEDS),
)
