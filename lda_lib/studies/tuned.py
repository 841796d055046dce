"""Best against best: PPO, repair and the stretched step, each at its best rate.

`repair_tuning` gave all three the same rates on the same seeds, which are not reported; the rule is
the highest mean area under the curve. This study runs the chosen ones on seeds from 0.
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

METHODS: dict[str, Settings] = {  # as `repair_tuning` calls them: what they add to PPO's settings
    "PPO": {},
    "repair 30": {"repair": repair_settings()},
    "stretched": {"stretch": 30.0},
}
SEEDS = {"FrozenLake": 20, "FrozenLakeSlippery": 20, "Acrobot": 20}
CHOSEN = {  # task: factor on its rate for each method
    "FrozenLake": (16, 16, 16),
    "FrozenLakeSlippery": (8, 8, 4),
    "Acrobot": (2, 1, 1),
}
ARMS = ("PPO, tuned", "repair, tuned", "stretched, tuned")


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
    """The three arms of each task."""

    def arms(task: str) -> dict[str, Settings]:
        found = {}
        for method, k in zip(METHODS, CHOSEN[task], strict=True):
            rate: dict[str, Any] = {} if k == 1 else {"lr": k * TASKS[task].lr}
            found[arm_name(method, k)] = arm_settings(task, profile, **METHODS[method], **rate)
        return found

    return paired_trials(profile, SEEDS, arms)


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in which a method has one name on all tasks."""
    method = rows.arm.str.replace(r" x\d+$", "", regex=True)
    return rows.assign(arm=method.map(dict(zip(METHODS, ARMS, strict=True))))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table against PPO, all tuned."""
    return paired_table(named(rows), ARMS, baseline=ARMS[0], tasks=SEEDS)


def figure(rows: pd.DataFrame) -> Figure:
    """Learning curves, a panel per task."""
    return panels(named(rows), ARMS, tasks=SEEDS)


TUNED = Study(
    "tuned",
    "Is anything left of what repair or a stretched step gain when PPO has its best rate?",
    grid,
    learning.run,
    table,
    figure,
    borrows=("step_size",),
)
