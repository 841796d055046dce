"""Why filtering works, and why it hurts: its ingredients replaced one by one by exact ones.

On the lakes the true advantage A(s, a) is known. Kinds of advantage (KINDS):
estimated   A_hat, what PPO uses: the action's merit, later actions' merit, the world's luck
skill       the same sum with the world's luck taken out (Pan & Schoelkopf 2024): A summed along
            the trajectory with factors (gamma lambda)^l
exact       A(s, a): the action's merit alone
repaired    what `Repair` makes of A_hat; needs no model
An arm says which kind the filter scores records by, which kind its target is made of, and which
kind PPO then learns from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from ..attribution import influence
from ..estimates import summed
from ..exact import exact_advantage
from ..filters import drop_lowest
from ..ppo import PPO
from ..repair import Repair
from ..rollout import Rollout
from ..targets import Return
from .learning import arm_settings
from .learning_tables import paired_table, panels
from .study import Study, Trial

KINDS = ("estimated", "skill", "exact", "repaired")
ROUNDS = {"FrozenLake": 12, "FrozenLakeSlippery": 96}
SEEDS = 20  # from 0
DROP = 0.5
# (records, target, learning); records None: no filter
ROWS: tuple[tuple[str | None, str | None, str], ...] = (
    (None, None, "estimated"),
    (None, None, "skill"),
    (None, None, "exact"),
    (None, None, "repaired"),
    ("estimated", "estimated", "estimated"),
    ("estimated", "exact", "estimated"),
    ("exact", "estimated", "estimated"),
    ("exact", "exact", "estimated"),
    ("skill", "estimated", "estimated"),
    ("skill", "skill", "estimated"),
    ("skill", "skill", "skill"),
    ("repaired", "repaired", "estimated"),
    ("repaired", "repaired", "repaired"),
)


def name(records: str | None, target: str | None, learning: str, normalize: str = "") -> str:
    """What an arm is called."""
    if records is None:
        return f"all | {learning}"
    return f"{records}, {target} | {learning} ({normalize})"


def grid(profile: str) -> list[Trial]:
    """Each row with scores of centred and scaled advantages, and of raw ones.

    All arms make as many optimiser steps as PPO, and their critics learn from all records, so that
    only the actor's records differ.
    """
    arms = {
        name(*row, normalize): {"records": row[0], "target": row[1], "learning": row[2]}
        | ({"normalize": normalize} if row[0] else {})
        for row in ROWS
        for normalize in (("rollout", "none") if row[0] else ("",))
    }
    trials = []
    for task, rounds in ROUNDS.items():
        if profile == "smoke" and task != "FrozenLake":
            continue
        shared = arm_settings(task, profile, None, rounds, equal_steps=True, critic="all")
        trials += [
            Trial(task, arm, s, {k: v for k, v in shared.items() if k != "keep"} | settings)
            for s in range(SEEDS if profile == "full" else 1)
            for arm, settings in arms.items()
        ]
    return trials


def of_kind(kind: str, agent: PPO, rollout: Rollout, repair: Repair) -> Rollout:
    """The rollout with advantages of a kind."""
    if kind == "estimated":
        return rollout
    if kind == "repaired":
        return repair(agent, rollout)
    advantage = exact_advantage(agent.policy, rollout, agent.config.gamma)
    if kind == "skill":
        factor = agent.config.gamma * agent.config.lam
        advantage = torch.from_numpy(summed(advantage.numpy(), rollout, factor))
    return replace(rollout, advantage=advantage.to(rollout.advantage))


def run(trial: Trial) -> pd.DataFrame:
    """Returns, entropy, KL, and how the choice biases what is learned from, by round.

    `bias`: mean of A_hat - A over the kept records minus the same over all. `agreement`:
    correlation of the advantages learned from with the true ones.
    """
    s: dict[str, Any] = trial.settings
    agent = PPO(trial.task, seed=trial.seed, **s["ppo"])
    repair, rows = Repair(), []
    for k in range(1, s["rounds"] + 1):
        rollout = agent.collect()
        needed = {s["learning"], s["records"], s["target"]} - {None}
        kinds = {kind: of_kind(kind, agent, rollout, repair) for kind in sorted(needed)}
        keep = np.ones(len(rollout), bool)
        if s["records"] is not None:
            scores = influence(
                agent.policy,
                kinds[s["records"]],
                Return(reference=kinds[s["target"]]),
                normalize=s["normalize"],
                clip=agent.config.clip,
            )
            count = int(DROP * int((scores < 0).sum()))
            keep = drop_lowest(scores, count, agent.rng("ties")).numpy()
        truth = exact_advantage(agent.policy, rollout, agent.config.gamma).numpy()
        error = rollout.advantage.numpy() - truth
        used = kinds[s["learning"]]
        agreement = np.corrcoef(used.advantage.numpy()[keep], truth[keep])[0, 1]
        statistics = agent.update(used, keep)
        assert isinstance(statistics, pd.Series)
        rows.append(
            {
                "round": k,
                "return_mean": agent.evaluate().mean,
                "return_se": 0.0,
                "kept": int(keep.sum()),
                "bias": float(error[keep].mean() - error.mean()),
                "agreement": float(agreement),
                "entropy": float(statistics["entropy"]),
                "kl": float(statistics["kl"]),
                "optimizer_steps": agent.optimizer_steps,
            }
        )
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table against PPO, with mean bias, agreement and the last entropy."""
    found = paired_table(rows, (), baseline=name(*ROWS[0]), tasks=ROUNDS)
    by = rows.sort_values("round").groupby(["task", "arm", "seed"])
    more = pd.DataFrame(
        {"bias": by.bias.mean(), "agreement": by.agreement.mean(), "entropy": by.entropy.last()}
    )
    return found.merge(more.groupby(["task", "arm"]).mean().reset_index(), on=["task", "arm"])


def figure(rows: pd.DataFrame) -> Figure:
    """Learning curves of the arms without filter, and of the paper's filter."""
    shown = [name(*row, "rollout" if row[0] else "") for row in ROWS[:5]]
    return panels(rows[rows.arm.isin(shown)], shown, tasks=ROUNDS)


LUCK = Study(
    "luck",
    "Which ingredient of the filter makes it work, and which makes it hurt?",
    grid,
    run,
    table,
    figure,
)
