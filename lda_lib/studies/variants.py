"""The paper's comparison under other settings: with Adam, with clipping, and without each confound.

Three studies with one form: in each setting PPO, IIF and a random drop of the same size, paired by
seed, and the savings of the two filtered arms against the PPO of the same setting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from .learning import Settings, arm_settings, paired_trials, papers_arms, run
from .learning_tables import at_shared_rounds, intervals, paired_table
from .six_environments import ARMS
from .study import Study, Trial


def _grid(
    profile: str, variants: dict[str, tuple[Settings, Settings]], seeds: dict[str, int]
) -> list[Trial]:
    """`variants`: name -> (settings of PPO, arguments of IIF); the name "" has no suffix."""

    def arms(task: str) -> dict[str, Settings]:
        found = {}
        for variant, (ppo, arguments) in variants.items():
            for arm, keep in papers_arms(task, **arguments).items():
                label = f"{arm}, {variant}" if variant else arm
                found[label] = arm_settings(task, profile, keep, **ppo)
        return found

    return paired_trials(profile, seeds, arms)


def _table(rows: pd.DataFrame, variants: dict[str, Any]) -> pd.DataFrame:
    """The paired table of each variant, against the PPO of that variant."""
    rows, parts = at_shared_rounds(rows), []  # variants too are compared where all were measured
    for variant in variants:
        labels = {f"{arm}, {variant}" if variant else arm: arm for arm in ARMS}
        mine = rows[rows.arm.isin(labels)]
        if len(mine):
            part = paired_table(mine.assign(arm=mine.arm.map(labels)), ARMS)
            part.insert(1, "variant", variant or "paired")
            parts.append(part)
    return pd.concat(parts, ignore_index=True).sort_values("task", kind="stable")


def _figure(rows: pd.DataFrame, variants: dict[str, Any]) -> Figure:
    found = _table(rows, variants)
    return intervals(
        found[found.arm != "PPO"],
        "gain_area",
        "mean return over the rounds,\nminus that of PPO",
        by="variant",
        split="arm",
    )


def _study(
    name: str,
    question: str,
    variants: dict[str, tuple[Settings, Settings]],
    seeds: dict[str, int],
    also: tuple[str, ...] = (),
) -> Study:
    """`also`: further studies that have some of these trials."""
    grid: Callable[[str], list[Trial]] = partial(_grid, variants=variants, seeds=seeds)
    return Study(
        name,
        question,
        grid,
        run,
        partial(_table, variants=variants),
        partial(_figure, variants=variants),
        borrows=("six_environments", *also),
    )


ADAM = _study(
    "adam",
    "Does IIF, whose scores presume SGD, also help an agent that learns with Adam?",
    # the paper's rate for LunarLander; it gives none for MiniGrid, so the usual 3e-4 is there too
    {
        "Adam 1e-3": ({"optimizer": "adam", "lr": 1e-3}, {}),
        "Adam 3e-4": ({"optimizer": "adam", "lr": 3e-4}, {}),
    },
    {"MiniGrid": 5, "LunarLander": 5},
)

AS_WRITTEN = _study(
    "as_written",
    "What becomes of the comparison with the gradient clipping that the paper states?",
    {"": ({}, {}), "clipped": ({"preset": "as_written"}, {})},
    {"FrozenLake": 20, "Acrobot": 5, "LunarLander": 5},
    also=("confounds",),
)

CONFOUND: dict[str, tuple[Settings, Settings]] = {
    "": ({}, {}),
    "restarted each round": ({"preset": "as_released"}, {}),
    "remainder kept": ({"drop_remainder": False}, {}),
    "equal steps": ({"equal_steps": True}, {}),
    "critic on all": ({"critic": "all"}, {}),
    "one normalisation": ({}, {"settings": {"normalize": "rollout"}}),
    "value loss in the score": ({}, {"settings": {"score_loss": "full"}}),
    "clipped": ({"preset": "as_written"}, {}),
}

CONFOUNDS = _study(
    "confounds",
    "Which of the released code's choices does the gain of IIF depend on?",
    CONFOUND,
    {"FrozenLake": 20, "Acrobot": 10},
)
