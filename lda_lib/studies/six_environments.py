"""IIF against PPO and a random drop of the same size, on the paper's six environments."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..filters import IIF, RandomDrop
from ..metrics import area_under_curve, bootstrap, sample_efficiency
from ..plots import learning_curves, use_style
from ..ppo import PPO
from ..tasks import TASKS
from .study import Study, Trial

ARMS = ("PPO", "IIF", "random drop")

# task: seeds, episodes per evaluation (unused where exact), rounds between evaluations
DECLARED = {
    "FrozenLake": (20, 0, 1),
    "Acrobot": (20, 100, 1),
    "MiniGrid": (5, 0, 1),
    "LunarLander": (5, 100, 1),
    "BipedalWalker": (5, 20, 3),
    "Highway": (3, 20, 2),
}


def grid(profile: str) -> list[Trial]:
    """The paper's p and rounds; seeds from 0."""
    trials = []
    for task, (seeds, episodes, every) in DECLARED.items():
        paper, rounds = TASKS[task], TASKS[task].rounds
        if profile == "quick":
            seeds, rounds = min(seeds, 2), max(3, rounds // 10)
        if profile == "smoke":
            if task not in ("FrozenLake", "Acrobot"):
                continue
            seeds, rounds, episodes = 2, 2, min(episodes, 2)
        settings = {
            "rounds": rounds,
            "drop": paper.drop,
            "episodes": episodes,
            "evaluate_every": every,
            "preset": "paired",
            "compile": rounds >= 10,
        }
        trials += [Trial(task, arm, s, settings) for s in range(seeds) for arm in ARMS]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """The history of one run."""
    s = trial.settings
    keep = {
        "PPO": lambda: None,
        "IIF": lambda: IIF(s["drop"]),
        "random drop": lambda: RandomDrop(like=IIF(s["drop"])),
    }[trial.arm]()
    agent = PPO(trial.task, seed=trial.seed, keep=keep, preset=s["preset"], compile=s["compile"])
    history = agent.learn(
        s["rounds"],
        episodes=s["episodes"],
        evaluate_every=s["evaluate_every"],
        progress=False,
    )
    return history.drop(columns="steps")


def curves(rows: pd.DataFrame, task: str, arm: str) -> pd.DataFrame:
    """Evaluated returns, one row per evaluated round, one column per seed."""
    chosen = rows[(rows.task == task) & (rows.arm == arm) & rows.return_mean.notna()]
    return chosen.pivot(index="round", columns="seed", values="return_mean")


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task and arm: final return, area under the curve, savings against PPO of the same seed.

    Savings are in percent, paired by seed, with 95 % bootstrap intervals over seeds; `censored`
    counts levels that the arm never reached, over all seeds.
    """
    out = []
    for task in [t for t in DECLARED if t in set(rows.task)]:
        standard = curves(rows, task, "PPO")
        for arm in ARMS:
            own = curves(rows, task, arm)
            seeds = [s for s in own.columns if s in standard.columns]
            if not seeds:
                continue
            pairs = [sample_efficiency(standard[s], own[s]) for s in seeds]
            row: dict[str, object] = {"task": task, "arm": arm, "seeds": len(seeds)}
            values = {
                "final": own.iloc[-1],
                "area": [area_under_curve(own[s]) for s in own],
                "se_ave": [100 * p.se_ave for p in pairs],
                "se_peak": [100 * p.se_peak for p in pairs],
            }
            for name, x in values.items():
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), bootstrap(np.asarray(x))))
            row["censored"] = sum(p.censored for p in pairs)
            row["levels"] = sum(p.levels for p in pairs)
            out.append(row)
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame) -> Figure:
    """Learning curves, a panel per task."""
    use_style()
    tasks = [t for t in DECLARED if t in set(rows.task)]
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    fig, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 3.4 * lines), squeeze=False)
    for ax, task in zip(axes.flat, tasks, strict=False):
        mine = rows[(rows.task == task) & rows.return_mean.notna()]
        learning_curves(mine, arms=[a for a in ARMS if a in set(mine.arm)], ax=ax)
        ax.set_title(task)
    for ax in list(axes.flat)[len(tasks) :]:
        ax.set_visible(False)
    fig.tight_layout()
    return fig


SIX_ENVIRONMENTS = Study(
    "six_environments",
    "Does IIF learn in fewer rounds than PPO, and than dropping as many records at random?",
    grid,
    run,
    table,
    figure,
)
