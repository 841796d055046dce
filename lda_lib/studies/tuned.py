"""Best against best: PPO and repair, each at the rate that was best on seeds that are not reported.

`repair_tuning` gave both the same rates on the same seeds; the rule is the highest mean area under
the curve. This study runs the chosen two on seeds from 0.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..metrics import area_under_curve
from ..tasks import TASKS
from . import learning
from .learning import Settings, arm_settings, paired_trials
from .learning_tables import curves, paired_table, panels
from .repair import FACTORS, repair_settings
from .study import Study, Trial

METHODS = ("PPO", "repair 30")
SEEDS = {"FrozenLake": 20, "FrozenLakeSlippery": 20, "Acrobot": 20}
CHOSEN = {  # task: factor on its rate for PPO, with repair
    "FrozenLake": (16, 16),
    "FrozenLakeSlippery": (8, 8),
    "Acrobot": (2, 1),
}


def arm_name(method: str, factor: int) -> str:
    """As in `repair_tuning`."""
    return method if factor == 1 else f"{method} x{factor}"


def best_factor(tuning: pd.DataFrame, task: str, method: str) -> int:
    """The factor on the learning rate with the highest mean area, from the rows of the tuning.

    Where the best is at the end of the grid, a better one may lie beyond.
    """
    areas = {
        k: float(curves(tuning, task, arm_name(method, k)).apply(area_under_curve).mean())
        for k in (1, *FACTORS)
        if arm_name(method, k) in set(tuning.arm[tuning.task == task])
    }
    return max(areas, key=lambda k: areas[k])


def grid(profile: str) -> list[Trial]:
    """The two arms of each task."""

    def arms(task: str) -> dict[str, Settings]:
        found = {}
        for method, k in zip(METHODS, CHOSEN[task], strict=True):
            ppo: dict[str, Any] = {} if k == 1 else {"lr": k * TASKS[task].lr}
            repair = None if method == "PPO" else repair_settings()
            found[arm_name(method, k)] = arm_settings(task, profile, repair=repair, **ppo)
        return found

    return paired_trials(profile, SEEDS, arms)


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with arms "PPO, tuned" and "repair, tuned"."""
    tuned = rows.arm.str.startswith("repair").map({True: "repair, tuned", False: "PPO, tuned"})
    return rows.assign(arm=tuned)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table of repair against PPO, both tuned."""
    return paired_table(named(rows), (), baseline="PPO, tuned", tasks=SEEDS)


def figure(rows: pd.DataFrame) -> Figure:
    """Learning curves, a panel per task."""
    return panels(named(rows), ("PPO, tuned", "repair, tuned"), tasks=SEEDS)


TUNED = Study(
    "tuned",
    "Is anything left of repair's gain when PPO has its own best learning rate?",
    grid,
    learning.run,
    table,
    figure,
    borrows=("step_size",),
)
