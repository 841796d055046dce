"""What the learning curves of a study come to: paired tables, and the figures beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..metrics import area_under_curve, confidence_interval, sample_efficiency, sustained
from ..plots import COLOURS, MARKERS, learning_curves, use_style


def ordered(rows: pd.DataFrame, column: str, order: Iterable[str] = ()) -> list[str]:
    """What stands in a column, first in the given order, then as it comes."""
    present = list(dict.fromkeys(rows[column]))
    first = [x for x in dict.fromkeys(order) if x in present]
    return first + [x for x in present if x not in first]


def curves(rows: pd.DataFrame, task: str, arm: str) -> pd.DataFrame:
    """Returns, one column per seed and one row per round at which all arms were evaluated."""
    needed = ["task", "arm", "seed", "round", "return_mean"]
    mine = at_shared_rounds(rows.loc[rows.task == task, needed])
    return mine[mine.arm == arm].pivot(index="round", columns="seed", values="return_mean")


def every_curve(rows: pd.DataFrame, found: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """`curves` of each (task, arm) of a table, in its order."""
    return {key: curves(rows, *key) for key in zip(found.task, found.arm, strict=True)}


def fallen(curves: pd.DataFrame) -> pd.Series:
    """Whether a seed ends below the middle between its first and its best evaluation, by seed."""
    return curves.iloc[-1] < (curves.iloc[0] + curves.max()) / 2


def at_shared_rounds(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the rounds at which all arms of a task were evaluated, task by task."""
    known = rows[rows.return_mean.notna()]
    arms = known.groupby("task").arm.nunique()
    each = known.groupby(["task", "round"]).arm.transform("nunique")
    return known[each == known.task.map(arms)]


def with_interval(name: str, values: ArrayLike) -> dict[str, float]:
    """Columns `name`, `name_low` and `name_high` of a table: mean over seeds, 95 % interval.

    nan where there are no values.
    """
    x = np.asarray(values, float)
    found = confidence_interval(x) if x.size else (np.nan,) * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def paired_table(
    rows: pd.DataFrame, arms: Sequence[str], baseline: str = "PPO", tasks: Iterable[str] = ()
) -> pd.DataFrame:
    """Per task and arm: return at the end, area under the curve, savings against the baseline.

    Savings (Hu et al. 2025) are in percent, paired by seed. `gain` and `gain_area` are
    differences to the baseline's final return and area, paired too. `_low` and `_high`: 95 %
    confidence intervals over seeds. `sustained` columns use curves that count a level once it holds
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
            values: dict[str, ArrayLike] = {
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
                row |= with_interval(name, x)
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
