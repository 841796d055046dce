"""What most studies do: train agents that differ in one thing, and compare their learning curves.

An arm is a label with entries of a trial's settings: `keep`, the filter as [name, arguments] or
None; `ppo`, settings of `PPOConfig`; where advantages are repaired `repair`, its arguments. Two
studies that declare the same arm with the same settings name the same trial, and the second takes
it from the first (`Study.borrows`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..filters import IIF, AdvantageHeuristic, LowestAdvantage, RandomDrop, TDError
from ..metrics import area_under_curve, bootstrap, sample_efficiency, sustained
from ..plots import COLOURS, MARKERS, learning_curves, use_style
from ..ppo import PPO, Keep
from ..repair import Repair
from ..rivals import RandomNegative, TrajectoryValue
from ..tasks import TASKS
from .study import Trial

# episodes per evaluation (unused where returns are exact) and rounds between evaluations
EVALUATION = {"BipedalWalker": (20, 3), "Highway": (20, 2), "LunarLanderWindy": (100, 4)}
# Where evaluating costs ten times what learning does, only the paper's own comparison, which
# `six_environments` runs, is evaluated each round; all other arms every so many.
SPARSE = {"LunarLander": 4}

Filter = list[Any]  # [name, arguments], plain JSON
Settings = dict[str, Any]  # of a trial
FILTERS: dict[str, Callable[..., Keep]] = {
    kind.__name__: kind
    for kind in (
        IIF,
        RandomDrop,
        RandomNegative,
        LowestAdvantage,
        AdvantageHeuristic,
        TDError,
        TrajectoryValue,
    )
}


def iif(drop: float, **arguments: Any) -> Filter:
    """The paper's filter as an entry of settings."""
    return ["IIF", {"drop": drop, **arguments}]


def random_like(like: Filter) -> Filter:
    """Its control: a random drop of as many records."""
    return ["RandomDrop", {"like": like}]


def make_filter(told: Filter | None) -> Keep | None:
    """The filter that an entry of settings names."""
    if told is None:
        return None
    name, arguments = told
    return FILTERS[name](**{k: make_filter(v) if k == "like" else v for k, v in arguments.items()})


def make_repair(settings: Settings) -> Repair | None:
    """The repair that a trial's settings name, or None."""
    return Repair(**settings["repair"]) if "repair" in settings else None


def papers_arms(task: str, **arguments: Any) -> dict[str, Filter | None]:
    """The paper's comparison: PPO, IIF with the paper's p, a random drop of as many records.

    Args:
        task: whose p it is.
        arguments: more of them for IIF.
    """
    filtered = iif(TASKS[task].drop, **arguments)
    return {"PPO": None, "IIF": filtered, "random drop": random_like(filtered)}


def arm_settings(
    task: str,
    profile: str,
    keep: Filter | None = None,
    rounds: int | None = None,
    repair: dict[str, Any] | None = None,
    **ppo: Any,
) -> Settings:
    """Settings of a trial: the task's rounds, or a tenth of them (quick), or two (smoke)."""
    episodes, every = EVALUATION.get(task, (100, 1))
    if rounds or repair or ppo or keep not in papers_arms(task).values():
        every = SPARSE.get(task, every)
    rounds = rounds or TASKS[task].rounds
    if profile == "quick":
        rounds = max(3, rounds // 10)
    if profile == "smoke":
        rounds, episodes, every = 2, 2, 1
    return {
        "keep": keep,
        "ppo": {"preset": "paired", "compile": rounds >= 10} | ppo,
        "rounds": rounds,
        "episodes": episodes,
        "evaluate_every": every,
    } | ({"repair": repair} if repair else {})


def paired_trials(
    profile: str,
    seeds: Mapping[str, int | range],
    arms: Callable[[str], Mapping[str, Settings]],
    smoke: Collection[str] = (),
) -> list[Trial]:
    """Every arm of a task on each of its seeds.

    Args:
        profile: in "quick" a task has its first two seeds; in "smoke" only few tasks are left.
        seeds: which ones each task has; a number counts them from 0.
        arms: task -> arm -> settings.
        smoke: the few, if they are not the first alone.
    """
    few = smoke or list(seeds)[:1]
    trials = []
    for task, declared in seeds.items():
        if profile == "smoke" and task not in few:
            continue
        every = range(declared) if isinstance(declared, int) else declared
        settings = arms(task)
        for seed in every if profile == "full" else every[:2]:
            trials += [Trial(task, arm, seed, x) for arm, x in settings.items()]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """Train one agent: its history.

    An agent whose update runs away to infinity has come to its end: it stays what it was, and the
    rounds that were left, marked `diverged`, hold its return.
    """
    s = trial.settings
    keep, repair = make_filter(s["keep"]), make_repair(s)
    agent = PPO(trial.task, seed=trial.seed, keep=keep, repair=repair, **s["ppo"])
    try:
        history = agent.learn(
            s["rounds"],
            episodes=s["episodes"],
            evaluate_every=s["evaluate_every"],
            progress=False,
        )
    except FloatingPointError:
        last = agent.evaluate(s["episodes"])
        rest = pd.DataFrame({"round": range(agent.round + 1, s["rounds"] + 1)})
        due = (rest["round"] % s["evaluate_every"] == 0) | (rest["round"] == s["rounds"])
        rest = rest.assign(return_mean=last.mean, return_se=last.se, kept=0, diverged=True)
        rest.loc[~due, ["return_mean", "return_se"]] = float("nan")
        history = pd.concat([agent.history, rest], ignore_index=True)
    return history.drop(columns="steps", errors="ignore")


def ordered(rows: pd.DataFrame, column: str, order: Iterable[str] = ()) -> list[str]:
    """What stands in a column, first in the given order, then as it comes."""
    present = list(dict.fromkeys(rows[column]))
    first = [x for x in dict.fromkeys(order) if x in present]
    return first + [x for x in present if x not in first]


def curves(rows: pd.DataFrame, task: str, arm: str) -> pd.DataFrame:
    """Returns, one column per seed and one row per round at which all arms were evaluated."""
    mine = at_shared_rounds(rows[rows.task == task])
    return mine[mine.arm == arm].pivot(index="round", columns="seed", values="return_mean")


def at_shared_rounds(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the rounds at which all arms of a task were evaluated, task by task."""
    known = rows[rows.return_mean.notna()]
    arms = known.groupby("task").arm.nunique()
    each = known.groupby(["task", "round"]).arm.transform("nunique")
    return known[each == known.task.map(arms)]


def paired_table(
    rows: pd.DataFrame, arms: Sequence[str], baseline: str = "PPO", tasks: Iterable[str] = ()
) -> pd.DataFrame:
    """Per task and arm: return at the end, area under the curve, savings against the baseline.

    Savings (Hu et al. 2025) are in percent, paired by seed. `gain` and `gain_area` are
    differences to the baseline's final return and area, paired too. `_low` and `_high`: 95 %
    bootstrap intervals over seeds. `sustained` columns use curves that count a level once it holds
    for three evaluations, `of_mean` ones the mean curves. `censored`: levels the arm never
    reached, of `levels`, over all seeds.
    """
    out = []
    for task in ordered(rows, "task", tasks):
        standard = curves(rows, task, baseline)
        for arm in ordered(rows[rows.task == task], "arm", arms):
            own = curves(rows, task, arm)
            seeds = [s for s in own.columns if s in standard.columns]
            if not seeds:
                continue
            pairs = [sample_efficiency(standard[s], own[s]) for s in seeds]
            area = {s: area_under_curve(own[s]) for s in seeds}
            values = {
                "final": own[seeds].iloc[-1],
                "gain": (own - standard)[seeds].iloc[-1],
                "area": list(area.values()),
                "gain_area": [area[s] - area_under_curve(standard[s]) for s in seeds],
                "se_ave": [100 * p.se_ave for p in pairs],
                "se_peak": [100 * p.se_peak for p in pairs],
            }
            if len(own) > 2:
                held = [sample_efficiency(sustained(standard[s]), sustained(own[s])) for s in seeds]
                values["se_ave_sustained"] = [100 * p.se_ave for p in held]
            row: dict[str, object] = {"task": task, "arm": arm, "seeds": len(seeds)}
            for name, x in values.items():
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), bootstrap(np.asarray(x))))
            means = sample_efficiency(standard[seeds].mean(axis=1), own[seeds].mean(axis=1))
            row["se_ave_of_mean"], row["se_peak_of_mean"] = 100 * means.se_ave, 100 * means.se_peak
            row["censored"] = sum(p.censored for p in pairs)
            row["levels"] = sum(p.levels for p in pairs)
            out.append(row)
    return pd.DataFrame(out)


def panels(rows: pd.DataFrame, arms: Sequence[str], tasks: Iterable[str] = ()) -> Figure:
    """Learning curves, a panel per task and one legend below."""
    use_style()
    shared: dict[str, Any] = {}
    present, every = ordered(rows, "task", tasks), ordered(rows, "arm", arms)
    columns = min(3, len(present))
    lines = -(-len(present) // columns)
    fig, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 3.4 * lines), squeeze=False)
    for ax, task in zip(axes.flat, present, strict=False):
        mine = rows[(rows.task == task) & rows.return_mean.notna()]
        here = ordered(mine, "arm", every)
        learning_curves(mine, arms=here, ax=ax, styles=every)
        shared |= dict(zip(here, ax.get_legend_handles_labels()[0], strict=True))
        ax.get_legend().remove()
        seeds = mine.seed.nunique()
        ax.set_title(f"{task}, {seeds} seed{'s' * (seeds > 1)}")
    for ax in list(axes.flat)[len(present) :]:
        ax.set_visible(False)
    fig.tight_layout()
    shown = {arm: shared[arm] for arm in every if arm in shared}
    fig.legend(
        shown.values(), shown, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False
    )
    return fig


def intervals(
    table: pd.DataFrame,
    column: str,
    label: str,
    *,
    by: str = "arm",
    split: str | None = None,
    tasks: Iterable[str] = (),
) -> Figure:
    """A column of a paired table with its intervals: a panel per task, a line per arm.

    Args:
        table: with `_low` and `_high` beside the column; a single seed has no interval.
        column: what to draw, a difference or saving, so that 0 is "as the baseline".
        label: of the axis.
        by: what the lines are.
        split: a column whose values share a line, told apart by colour and marker.
        tasks: their order.
    """
    use_style()
    present = ordered(table, "task", tasks)
    names = ordered(table, by)
    groups = ordered(table, split) if split else [None]
    columns = 2 if len(present) == 4 else min(3, len(present))
    lines = -(-len(present) // columns)
    height = 0.36 * len(names) * max(1, 0.7 * len(groups)) + 1.2
    size = (3.6 * columns + 1.4, lines * height)
    fig, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    for ax, task in zip(axes.flat, present, strict=False):
        for k, group in enumerate(groups):
            mine = table[table.task == task]
            mine = mine if group is None else mine[mine[split] == group]
            at = [names.index(x) + 0.24 * (k - (len(groups) - 1) / 2) for x in mine[by]]
            value = mine[column].to_numpy()
            ends = mine[[f"{column}_low", f"{column}_high"]].to_numpy().T
            ax.errorbar(
                value,
                at,
                xerr=np.nan_to_num(np.abs(ends - value)),
                fmt=MARKERS[k],
                color=COLOURS[k],
                capsize=3,
                linewidth=1.6,
                label=group,
            )
        ax.axvline(0, color="0.4", linewidth=0.9)
        ax.set(title=task, xlabel=label, yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
        ax.set_yticklabels(names)
    for ax in list(axes.flat)[len(present) :]:
        ax.set_visible(False)
    if split:
        axes[0, -1].legend(fontsize=9)
    fig.tight_layout()
    return fig
