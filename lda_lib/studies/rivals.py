"""IIF beside other rules for whom to drop."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..tasks import TASKS
from .learning import Filter, Settings, arm_settings, iif, paired_trials, random_like, run
from .learning_tables import intervals, paired_table
from .study import Study, Trial

SEEDS = {"FrozenLake": 20, "MiniGrid": 5, "Acrobot": 5, "LunarLander": 5}  # from 0
EVERYWHERE = ("PPO", "IIF", "random drop", "random negative", "lowest advantage")
ARMS = {  # the tasks of the paper's own comparisons, and FrozenLake for all
    "FrozenLake": (*EVERYWHERE, "heuristic 1", "heuristic 2", "TD error", "DTV", "DTV-Loo"),
    "MiniGrid": (*EVERYWHERE, "heuristic 1", "heuristic 2", "DTV", "DTV-Loo"),
    "Acrobot": EVERYWHERE,
    "LunarLander": (*EVERYWHERE, "TD error"),
}


def keep(arm: str, drop: float) -> Filter | None:
    """The filter of an arm; where it has a share to drop, it is the paper's p for IIF."""
    filtered = iif(drop)
    known: dict[str, Filter | None] = {
        "PPO": None,
        "IIF": filtered,
        "random drop": random_like(filtered),
        "random negative": ["RandomNegative", {"like": filtered}],
        "lowest advantage": ["LowestAdvantage", {"like": filtered}],
        "heuristic 1": ["AdvantageHeuristic", {"drop": drop, "rule": 1}],
        "heuristic 2": ["AdvantageHeuristic", {"drop": drop, "rule": 2}],
        "TD error": ["TDError", {}],
        "DTV": ["TrajectoryValue", {}],
        "DTV-Loo": ["TrajectoryValue", {"leave_out": True}],
    }
    return known[arm]


def grid(profile: str) -> list[Trial]:
    """Every rule on FrozenLake; elsewhere those that the paper compares, and the controls."""

    def arms(task: str) -> dict[str, Settings]:
        drop = TASKS[task].drop
        return {arm: arm_settings(task, profile, keep(arm, drop)) for arm in ARMS[task]}

    return paired_trials(profile, SEEDS, arms)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table, arms in the order they are declared."""
    return paired_table(rows, ARMS["FrozenLake"], tasks=SEEDS)


def figure(rows: pd.DataFrame) -> Figure:
    """What each rule gains on PPO in mean return over the rounds."""
    found = table(rows)
    return intervals(
        found[found.arm != "PPO"],
        "gain_area",
        "mean return over the rounds,\nminus that of PPO",
        tasks=SEEDS,
    )


RIVALS = Study(
    "rivals",
    "Is IIF better than simpler rules for whom to drop?",
    grid,
    run,
    table,
    figure,
    borrows=("six_environments",),
)
