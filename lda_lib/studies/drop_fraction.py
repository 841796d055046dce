"""How much to drop: p from 6.25 to 100 % of the negative records."""

from __future__ import annotations

from functools import partial

import pandas as pd

from ..tasks import TASKS
from .learning import arm_settings, iif, paired_table, panels, random_like, run
from .study import Study, Trial

FRACTIONS = (0.0625, 0.125, 0.25, 0.5, 0.75, 1.0)
SEEDS = {"FrozenLake": 20, "MiniGrid": 5, "Acrobot": 5, "LunarLander": 5}  # from 0


def arms(task: str) -> dict[str, list | None]:
    """PPO, IIF at each p, and a random drop at the largest; the paper's p is called plain IIF.

    These names let the study take the runs at the paper's p from `six_environments`.
    """
    paper = TASKS[task].drop
    found: dict[str, list | None] = {"PPO": None}
    found |= {"IIF" if p == paper else f"IIF {100 * p:g} %": iif(p) for p in FRACTIONS}
    return found | {
        "random drop": random_like(iif(paper)),
        "random drop 100 %": random_like(iif(1.0)),
    }


def grid(profile: str) -> list[Trial]:
    """All p on the four tasks of the paper's ablation."""
    return [
        Trial(task, arm, s, arm_settings(task, profile, keep))
        for task, seeds in SEEDS.items()
        if profile != "smoke" or task == "FrozenLake"
        for s in range(seeds if profile == "full" else 2)
        for arm, keep in arms(task).items()
    ]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table with each arm's p in percent."""
    found = paired_table(rows, ORDER, tasks=SEEDS)
    share = [
        float(arm.split()[-2]) if arm.endswith("%") else 100 * TASKS[task].drop
        for task, arm in zip(found.task, found.arm)
    ]
    found.insert(2, "p", share)
    found.loc[found.arm == "PPO", "p"] = 0.0
    return found.sort_values(["task", "p"], kind="stable", ignore_index=True)


ORDER = ("PPO", "IIF", *arms("FrozenLake"))

DROP_FRACTION = Study(
    "drop_fraction",
    "How does learning depend on the share of the negative records that is dropped?",
    grid,
    run,
    table,
    partial(panels, arms=ORDER, tasks=SEEDS),
    borrows=("six_environments",),
)
