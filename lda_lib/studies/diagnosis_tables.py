"""The diagnosis study's numbers: measures by seed, their table and figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics import confidence_interval
from ..plots import COLOURS, LINES, MARKERS, use_style

COMPARED = ("flips", "rms_error", "agreement")  # of groups; the study says what they are


def measures(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per task, round, seed and measure: the numbers that table and figure speak of."""
    keys = ["task", "round", "seed"]
    groups = rows[rows.kind == "group"]
    who = groups["rule"] + " " + groups["group"]
    parts = [groups.assign(measure=f"{what}, " + who, x=groups[what]) for what in COMPARED]
    rho = rows[rows.kind == "correlation"]
    parts.append(rho.assign(measure="rho, " + rho["rule"], x=rho["value"]))
    long = pd.concat(parts)[[*keys, "measure", "x"]]
    wide = long.pivot(index=keys, columns="measure", values="x")
    for what in COMPARED:
        bottom = wide[f"{what}, released bottom"]
        for other in ("any all", "released matched", "size bottom", "peers bottom"):
            if f"{what}, {other}" in wide:
                wide[f"{what}, released bottom - {other}"] = bottom - wide[f"{what}, {other}"]
    for rule in ("peers", "estimate", "size", "alignment ~ truth"):
        if f"rho, {rule}" in wide:
            wide[f"rho, released - {rule}"] = wide["rho, released"] - wide[f"rho, {rule}"]
    return wide.reset_index().melt(id_vars=keys, var_name="measure", value_name="x").dropna()


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Each measure by task and round: mean over seeds and 95 % confidence interval."""
    out = []
    for (task, k, measure), x in measures(rows).groupby(["task", "round", "measure"])["x"]:
        mean, low, high = confidence_interval(x)
        row = {"task": task, "round": k, "measure": measure, "seeds": len(x)}
        out.append(row | {"mean": mean, "low": low, "high": high})
    return pd.DataFrame(out)


CURVES = {  # of the figure: label, measure
    "flips": {
        "bottom by influence": "flips, released bottom",
        "same estimate, not bottom": "flips, released matched",
        "top by influence": "flips, released top",
        "bottom by |estimate|": "flips, size bottom",
        "whole buffer": "flips, any all",
    },
    "rho": {
        "influence": "rho, released",
        "outvoted by its like": "rho, peers",
        "estimate": "rho, estimate",
        "−|estimate|": "rho, size",
    },
}


def figure(rows: pd.DataFrame) -> Figure:
    """Wrong signs (above) and rank correlations (below) over rounds, a column per task."""
    use_style()
    seen = measures(rows)
    tasks = list(seen.task.unique())
    fig, axes = plt.subplots(2, len(tasks), figsize=(3.4 * len(tasks), 6.4), squeeze=False)
    for column, task in zip(axes.T, tasks, strict=True):
        for ax, curves in zip(column, CURVES.values(), strict=True):
            for c, (label, measure) in enumerate(curves.items()):
                mine = seen[(seen.task == task) & (seen.measure == measure)]
                if mine.empty:
                    continue
                x = mine.pivot(index="round", columns="seed", values="x")
                at = np.arange(len(x))
                style = {"color": COLOURS[c], "linestyle": LINES[c]}
                ax.plot(at, x.to_numpy(), linewidth=0.6, alpha=0.3, **style)
                ax.plot(at, x.mean(axis=1), marker=MARKERS[c], label=label, **style)
                ax.set_xticks(at, [str(k) for k in x.index])
        column[0].set(title=task, ylim=(-0.02, 1.02))
        column[1].set(xlabel="round", ylim=(-1.02, 1.02))
        column[1].axhline(0, color="0.5", linewidth=0.8)
    axes[0, 0].set_ylabel("share of wrong signs")
    axes[1, 0].set_ylabel("rank correlation with A_hat · A_true")
    for row in axes:
        row[0].legend(fontsize=7)
    fig.tight_layout()
    return fig
