"""How much to drop: p from 6.25 to 100 % of the negative records."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..plots import COLOURS, LINES, MARKERS, use_style
from ..tasks import TASKS
from .learning import Settings, arm_settings, iif, paired_trials, random_like, run
from .learning_tables import ordered, paired_table
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

    def settings(task: str) -> dict[str, Settings]:
        return {arm: arm_settings(task, profile, keep) for arm, keep in arms(task).items()}

    return paired_trials(profile, SEEDS, settings)


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


def figure(rows: pd.DataFrame) -> Figure:
    """Gain on PPO and saving of rounds over p: a column per task."""
    use_style()
    found = table(rows)
    tasks = ordered(found, "task", SEEDS)
    kinds = {
        "IIF": found.arm.str.startswith("IIF"),
        "random drop, as many": ~(found.arm.str.startswith("IIF") | (found.arm == "PPO")),
    }
    names = {"gain_area": "mean return over the rounds,\nminus that of PPO", "se_ave": "SE_ave, %"}
    size = (3.2 * len(tasks) + 1.6, 5.6)
    fig, axes = plt.subplots(2, len(tasks), figsize=size, squeeze=False, sharex=True)
    place = {100 * p: k for k, p in enumerate(FRACTIONS)}  # p doubles: even steps tell them apart
    for column, task in enumerate(tasks):
        for ax, (value, label) in zip(axes[:, column], names.items(), strict=True):
            for k, (kind, chosen) in enumerate(kinds.items()):
                mine = found[chosen & (found.task == task)]
                ends = mine[[f"{value}_low", f"{value}_high"]].to_numpy().T
                ax.errorbar(
                    [place[p] for p in mine.p],
                    mine[value],
                    yerr=np.nan_to_num(np.abs(ends - mine[value].to_numpy())),
                    color=COLOURS[k],
                    linestyle=LINES[k],
                    marker=MARKERS[k],
                    capsize=3,
                    label=kind,
                )
            ax.axhline(0, color="0.4", linewidth=0.9)
            ax.set_ylabel(label if column == 0 else "")
        axes[0, column].set_title(task)
        axes[1, column].set_xticks(list(place.values()), [f"{p:g}" for p in place])
        axes[1, column].set_xlabel("p, % of the negative records")
    axes[0, -1].legend(fontsize=9)
    fig.tight_layout()
    return fig


ORDER = tuple(dict.fromkeys(("PPO", "IIF", *arms("FrozenLake"))))

DROP_FRACTION = Study(
    "drop_fraction",
    "How does learning depend on the share of the negative records that is dropped?",
    grid,
    run,
    table,
    figure,
    borrows=("six_environments",),
)
