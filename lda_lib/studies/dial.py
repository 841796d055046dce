"""A dial of randomness: from a lake that never slips to one that slips two times in three.

Each condition, a slip probability and a step size, has PPO, the paper's filter, repair (the
library's own, `Repair()`) and the stretched step of its own, paired by seed. On the worst ice the
step is also a quarter, four and eight times the paper's: does a smaller step save the filter there,
does a larger one give PPO its speed?

Expected, before any of it ran, from the two lakes at its ends: in mean return over the rounds the
filter ahead of PPO without slips and behind it on the worst ice, the two changing places once in
between, we do not know where; repair and the stretched step ahead of PPO at every slip probability;
a smaller step no help to the filter, since contradictions are silenced at any step.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..plots import COLOURS, LINES, MARKERS, use_style
from ..tasks import TASKS, Task
from . import slippery
from .confirm import STRETCHED
from .learning import arm_settings, iif, random_like
from .pace import GENTLE
from .study import Study, Trial

SLIPS = (0.0, 1 / 6, 1 / 3, 1 / 2, 2 / 3)
STEPS = (0.25, 4, 8)  # times the paper's rate, at the last of SLIPS
ROUNDS = 96
SEEDS = 10  # from 0
ARMS = ("PPO", "IIF", "repair", STRETCHED, "random drop")


def condition(slip: float, step: float = 1) -> str:
    """What a condition is called."""
    return f"slip {slip:.2f}" + ("" if step == 1 else f", step x{step:g}")


def icy(slip: float) -> Task:
    """The 4x4 lake on which a step goes to either side with probability `slip` in all."""
    kwargs = {"is_slippery": True, "map_name": "4x4", "success_rate": 1 - slip}
    return replace(TASKS["FrozenLake"], name=condition(slip), kwargs=kwargs)


def grid(profile: str) -> list[Trial]:
    """A quarter of the step gets four times the rounds; the random control the paper's step."""
    filtered = iif(0.5)
    arms: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # filter, repair, settings of PPO
        "PPO": (None, None, {}),
        "IIF": (filtered, None, {}),
        "repair": (None, GENTLE, {}),
        STRETCHED: (None, None, {"stretch": 30.0}),
        "random drop": (random_like(filtered), None, {}),
    }
    conditions = [(slip, 1.0) for slip in SLIPS] + [(SLIPS[-1], step) for step in STEPS]
    if profile == "smoke":
        conditions = conditions[1:2]
    trials = []
    for slip, step in conditions:
        rounds = round(ROUNDS / min(step, 1))
        rate = {} if step == 1 else {"lr": step * TASKS["FrozenLake"].lr}
        trials += [
            Trial(
                condition(slip, step),
                arm,
                s,
                arm_settings("FrozenLake", profile, keep, rounds, repair, **rate, **ppo)
                | {"slip": slip},
            )
            for s in range(SEEDS if profile == "full" else 2)
            for arm, (keep, repair, ppo) in arms.items()
            if step == 1 or arm != "random drop"
        ]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """The history of one run, with the bias of what each round kept."""
    return slippery.run(trial, icy(trial.settings["slip"]))


def figure(rows: pd.DataFrame) -> Figure:
    """Mean return over the rounds, final return and early entropy, by slip probability."""
    use_style()
    found = slippery.table(rows, ARMS)
    shown = {
        "area": "mean return over the rounds",
        "final": "return after the last round",
        "entropy": "entropy after a fifth, nats",
    }
    fig, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.4), squeeze=False)
    for ax, (column, label) in zip(axes.flat, shown.items(), strict=True):
        for k, arm in enumerate(ARMS):
            mine = found[found.arm == arm].set_index("task")
            at = [slip for slip in SLIPS if condition(slip) in mine.index]
            mine = mine.loc[[condition(slip) for slip in at]]
            style = {"color": COLOURS[k], "marker": MARKERS[k], "linestyle": LINES[k]}
            ax.plot(at, mine[column], label=arm, **style)
            if f"{column}_low" in mine:
                ends = mine[[f"{column}_low", f"{column}_high"]].to_numpy(float).T
                ax.fill_between(at, *np.atleast_2d(ends), color=COLOURS[k], alpha=0.15, lw=0)
        ax.set(xlabel="probability of slipping", ylabel=label)
    axes[0, 0].legend()
    fig.tight_layout()
    return fig


DIAL = Study(
    "dial",
    "From which amount of chance on does filtering hurt, and does another step size help?",
    grid,
    run,
    partial(slippery.table, arms=ARMS, tasks=()),
    figure,
)
