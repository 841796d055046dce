"""The Pong study's numbers: shares by seed, their table and figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics import Interval, confidence_interval
from ..plots import COLOURS, LINES, MARKERS, use_style
from .learning_tables import with_interval

SITUATIONS = ("no ball", "behind us", "behind them", "decided", "coming", "leaving")
GROUPS = {  # of the table: (rule, group)
    "bottom": ("released", "bottom"),
    "few": ("released", "few"),
    "top": ("released", "top"),
    "matched": ("released", "matched"),
    "size": ("size", "bottom"),
    "all": ("any", "all"),
}


def shares(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """A share by task, round and seed (rows) and group (columns, see `GROUPS`).

    Args:
        rows: of the study.
        what: a column of its group rows, such as "no ball" or "no ball, credited".
    """
    groups = rows[rows.kind == "group"]
    wide = groups.pivot(index=["task", "round", "seed"], columns=["rule", "group"], values=what)
    return pd.DataFrame({name: wide[key] for name, key in GROUPS.items()})


def times_as_frequent(bottom: pd.Series, base: pd.Series) -> Interval:
    """Mean share among the chosen over mean base rate, with its 95 % interval over seeds.

    A ratio of means, not a mean of ratios: a seed with few such records counts little.
    """
    x, y = bottom.to_numpy(), base.to_numpy()

    def ratio(seeds: np.ndarray) -> float:
        chosen = seeds.astype(int)
        return x[chosen].mean() / y[chosen].mean()

    return confidence_interval(np.arange(len(x)), ratio)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Each situation by task and round: shares in per cent, and the bottom against its controls.

    `times` is the ratio of the share among bottom records to the base rate; `over_all`,
    `over_matched` and `over_top` are differences of shares in percentage points, paired by seed.
    All with 95 % confidence intervals over seeds.
    """
    out = []
    for situation in SITUATIONS:
        for what in (situation, f"{situation}, credited"):
            for (task, k), mine in shares(rows, what).groupby(["task", "round"]):
                row = {"task": task, "round": k, "situation": what, "seeds": len(mine)}
                row |= {name: 100 * mine[name].mean() for name in GROUPS}
                if (mine["all"] > 0).all():  # else, with a seed left out, it may divide by 0
                    found = times_as_frequent(mine["bottom"], mine["all"])
                    row |= {"times": found.mean, "times_low": found.low, "times_high": found.high}
                for other in ("all", "matched", "top"):
                    gap = 100 * (mine["bottom"] - mine[other])
                    row |= with_interval(f"over_{other}", gap)
                out.append(row)
    return pd.DataFrame(out)


CURVES = {"bottom": "bottom records", "matched": "same estimate, not bottom", "all": "whole buffer"}


def figure(rows: pd.DataFrame) -> Figure:
    """Shares over rounds: no ball (left), ball behind us (right), a row per task."""
    use_style()
    tasks = list(dict.fromkeys(rows.task))
    fig, axes = plt.subplots(
        len(tasks), 2, figsize=(8, 3 * len(tasks)), squeeze=False, layout="constrained"
    )
    for line, task in zip(axes, tasks, strict=True):
        for ax, situation in zip(line, ("no ball", "behind us"), strict=True):
            seen = 100 * shares(rows[rows.task == task], situation).droplevel("task")
            for c, (group, label) in enumerate(CURVES.items()):
                x = seen[group].unstack("seed")
                at = np.arange(len(x))
                style = {"color": COLOURS[c], "linestyle": LINES[c]}
                ax.plot(at, x.to_numpy(), linewidth=0.6, alpha=0.35, **style)
                ax.plot(at, x.mean(axis=1), marker=MARKERS[c], label=label, **style)
                ax.set_xticks(at, [str(k) for k in x.index])
            ax.set_title(f"{task}: {situation}", fontsize=10)
        line[0].set_ylabel("records, %")
    for ax in axes[-1]:
        ax.set_xlabel("round")
    axes[0, 0].legend(fontsize=8)
    return fig
