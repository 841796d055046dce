"""Everyone at one pace: PPO, the filter and repair, each update moving the policy equally far.

A filter changes two things at once: which records an update learns from, and how far it goes. IIF
moves the policy by 0.005 to 0.015 nats a round on all tasks of the course, plain PPO at the same
rate by 20 times less on the lakes. `PPOConfig.desired_kl` sets the second alone; what is left of a
filter's gain beside a PPO of the same pace is due to the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics import bootstrap, sample_efficiency
from ..tasks import TASKS
from . import learning
from .learning import arm_settings, curves, iif, intervals, paired_table
from .repair import LUCKY, TUNING, TUNING_SEEDS, repair_settings, same_names
from .study import Study, Trial

TARGETS = (0.0025, 0.005, 0.01, 0.02)  # nats
TUNED_ON = ("FrozenLake", "FrozenLakeSlippery", "Acrobot")


def tuning_grid(profile: str) -> list[Trial]:
    """Plain PPO at each pace, on seeds that are not reported.

    The paces 0.005 and 0.01 had been looked at on the lakes, on these seeds, when this was written.
    """
    tasks = TUNED_ON if profile != "smoke" else TUNED_ON[:1]
    return [
        Trial(task, f"KL {kl:g}", s, arm_settings(task, profile, None, TUNING[task], desired_kl=kl))
        for task in tasks
        for s in (TUNING_SEEDS if profile == "full" else TUNING_SEEDS[:1])
        for kl in TARGETS
    ]


def tuning_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task and pace: the paired table, and the rank of its mean return over the rounds."""
    found = paired_table(rows, (), baseline=f"KL {TARGETS[0]:g}", tasks=TUNED_ON)
    found.insert(2, "rank", found.groupby("task").area.rank(ascending=False))
    return found


def tuning_figure(rows: pd.DataFrame) -> Figure:
    """Learning curves at each pace."""
    return learning.panels(rows, [f"KL {kl:g}" for kl in TARGETS], tasks=TUNED_ON)


PACE_TUNING = Study(
    "pace_tuning",
    "How far should an update move the policy? On seeds that are not reported.",
    tuning_grid,
    learning.run,
    tuning_table,
    tuning_figure,
)

CHOSEN = 0.005

SEEDS = {  # from 0; the last two tasks were never looked at while this was made
    "FrozenLake": 20,
    "FrozenLakeSlippery": 20,
    "Acrobot": 20,
    "MiniGrid": 5,
    "LunarLander": 5,
    "CartPole": 10,
    "FrozenLakeSlippery8x8": 5,
}
ARMS = ("PPO", "IIF", "PPO, paced", "IIF, paced", "repair, paced")
GENTLE = repair_settings(30.0, 1)  # of this round's records alone; with a pace, memory only delays


def grid(profile: str) -> list[Trial]:
    """PPO and the paper's filter at their own pace and at the chosen one, and repair at that."""
    trials = []
    for task, seeds in SEEDS.items():
        if profile == "smoke" and task != "FrozenLake":
            continue
        filtered = iif(TASKS[task].drop)
        arms: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
            "PPO": (None, {}, {}),
            "IIF 50 %" if task in LUCKY else "IIF": (filtered, {}, {}),
            "PPO, paced": (None, {}, {"desired_kl": CHOSEN}),
            "IIF, paced": (filtered, {}, {"desired_kl": CHOSEN}),
            "repair, paced": (None, GENTLE, {"desired_kl": CHOSEN}),
        }
        trials += [
            Trial(task, arm, s, arm_settings(task, profile, keep, **ppo) | more)
            for s in range(seeds if profile == "full" else 2)
            for arm, (keep, more, ppo) in arms.items()
        ]
    return trials


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table against PPO, with `over_iif`: the saving SE_ave less IIF's, by seed."""
    rows = same_names(rows)
    found = paired_table(rows, ARMS, tasks=SEEDS)
    more = []
    for task, arm in zip(found.task, found.arm, strict=True):
        x, y, z = (curves(rows, task, a) for a in ("PPO", "IIF", arm))
        seeds = [s for s in z.columns if s in x.columns and s in y.columns]
        gains = [
            100 * (sample_efficiency(x[s], z[s]).se_ave - sample_efficiency(x[s], y[s]).se_ave)
            for s in seeds
        ]
        estimate = bootstrap(np.asarray(gains)) if seeds else (np.nan,) * 3
        more.append(dict(zip(("over_iif", "over_iif_low", "over_iif_high"), estimate)))
    return found.join(pd.DataFrame(more))


def figure(rows: pd.DataFrame) -> Figure:
    """Mean return over the rounds, less that of PPO with the same seed."""
    found = table(rows)
    found = found[found.arm != "PPO"]
    return intervals(found, "gain_area", "mean return less PPO's", tasks=SEEDS)


PACE = Study(
    "pace",
    "What is left of the filter's gain when each update moves the policy equally far?",
    grid,
    learning.run,
    table,
    figure,
    borrows=("six_environments", "slippery", "repair"),
)
