"""What a round costs, phase by phase, and what IIF saves in time."""

from __future__ import annotations

import time
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics import runtime_saving
from ..plots import COLOURS, use_style
from ..ppo import PPO
from ..tasks import TASKS
from .learning import iif, make_filter, random_like
from .learning_tables import curves, ordered, with_interval
from .six_environments import SIX_ENVIRONMENTS
from .store import Store
from .study import Study, Trial

METHODS = ("PPO", "IIF", "random drop")
PHASES = ("collect", "score", "update")
SEEDS = {task: 3 for task in ("FrozenLake", "Acrobot", "MiniGrid", "LunarLander", "BipedalWalker")}
SEEDS["Highway"] = 1


def grid(profile: str) -> list[Trial]:
    """One trial per task and seed: all methods take turns in it, so that they share every load."""
    trials = []
    for task, seeds in SEEDS.items():
        if profile == "smoke" and task != "FrozenLake":
            continue
        slow = task == "Highway" or profile == "smoke"
        settings = {"warm": 1 if slow else 3, "rounds": 2 if slow else 10, "compile": not slow}
        trials += [
            Trial(task, "in turn", s, settings) for s in range(seeds if profile == "full" else 1)
        ]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """Seconds of each phase of each round of each method; the first, warming rounds left out."""
    s = trial.settings
    keep = iif(TASKS[trial.task].drop)
    told = dict(zip(METHODS, (None, keep, random_like(keep)), strict=True))
    agents = {
        name: PPO(trial.task, seed=trial.seed, keep=make_filter(rule), compile=s["compile"])
        for name, rule in told.items()
    }
    rows: list[dict[str, Any]] = []
    for k in range(s["warm"] + s["rounds"]):
        for name, agent in agents.items():
            clock = [time.perf_counter()]
            rollout = agent.collect()
            clock.append(time.perf_counter())
            kept = None if agent.keep is None else agent.keep(agent, rollout)
            clock.append(time.perf_counter())
            agent.update(rollout, kept)
            clock.append(time.perf_counter())
            if k >= s["warm"]:
                spent = dict(zip(PHASES, np.diff(clock).tolist(), strict=True))
                steps = agent.optimizer_steps // agent.round
                rows.append({"round": k + 1, "method": name, **spent, "optimizer_steps": steps})
    return pd.DataFrame(rows)


def per_round(rows: pd.DataFrame) -> pd.DataFrame:
    """Median seconds of each phase over rounds and seeds, and of the whole round."""
    whole = rows.assign(whole=rows[list(PHASES)].sum(axis=1))
    return whole.groupby(["task", "method"])[[*PHASES, "whole"]].median()


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task and method: seconds a round, and the time saved to the standard run's best.

    Savings take the rounds from `six_environments` and the seconds from here; see
    `metrics.runtime_saving`. They are in percent, with 95 % confidence intervals over seeds. On
    `censored` of the `seeds` the level was never reached: there the saving is an upper bound. The
    random drop pays for the scores that tell it how many to drop.
    """
    spent: dict[Any, dict[str, float]] = per_round(rows).to_dict("index")  # type: ignore[assignment]
    learned = Store("six_environments")
    found = {t.key for t in SIX_ENVIRONMENTS.trials()} & set(learned.finished()[0])
    runs = learned.rows(found) if found else pd.DataFrame(columns=["task", "arm", "return_mean"])
    out = []
    for task in ordered(rows, "task", SEEDS):
        for name in METHODS:
            row: dict[str, Any] = {"task": task, "method": name, **spent[task, name]}
            row["against PPO"] = row["whole"] / spent[task, "PPO"]["whole"]
            if ((runs.task == task) & (runs.arm == name)).any():
                standard, own = curves(runs, task, "PPO"), curves(runs, task, name)
                time_of = {
                    arm: spent[task, arm]["whole"] * np.diff(own.index, prepend=0)
                    for arm in ("PPO", name)
                }
                saved = [
                    runtime_saving(standard[s], own[s], time_of["PPO"], time_of[name])
                    for s in own.columns
                    if s in standard.columns
                ]
                for key in ("rt_peak", "like_for_like"):
                    row |= with_interval(key, [100 * getattr(one, key) for one in saved])
                row |= {"censored": sum(one.censored for one in saved), "seeds": len(saved)}
            out.append(row)
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame) -> Figure:
    """Milliseconds of each phase, stacked, per task and method."""
    use_style()
    seconds = per_round(rows)
    tasks = ordered(rows, "task", SEEDS)
    fig, axes = plt.subplots(1, len(tasks), figsize=(2.4 * len(tasks), 3.2), squeeze=False)
    for ax, task in zip(axes.flat, tasks, strict=True):
        bottom = np.zeros(len(METHODS))
        for k, phase in enumerate(PHASES):
            high = 1000 * seconds.loc[task].loc[list(METHODS), phase].to_numpy()
            hatch = ("", "//", "..")[k]
            ax.bar(METHODS, high, bottom=bottom, color=COLOURS[k], hatch=hatch, label=phase)
            bottom += high
        ax.set_title(task)
        ax.set_xticks(range(len(METHODS)), METHODS, rotation=40, ha="right")
    axes[0, 0].set_ylabel("milliseconds a round")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fig.tight_layout()
    return fig


RUNTIME = Study(
    "runtime", "What does scoring cost, and what does it save?", grid, run, table, figure
)
