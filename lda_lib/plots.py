"""Figures of the book: one style, colours that colour-blind readers tell apart, seeds in sight."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's palette, darkest first on white; line styles repeat what colours say.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use_style() -> None:
    """Set the book's figure style for this session."""
    plt.rcParams.update(
        {
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "lines.linewidth": 2.0,
            "legend.frameon": False,
        }
    )


def learning_curves(
    runs: pd.DataFrame,
    *,
    arms: Sequence[str],
    y: str = "return_mean",
    ylabel: str = "expected return per episode",
    ax: Axes | None = None,
) -> Figure:
    """Return over rounds: every seed a thin line, the mean over seeds a thick one.

    Args:
        runs: tidy rows with columns arm, seed, round and `y`.
        arms: which arms, in this order (colours, line styles and markers follow it).
        y: column to draw.
        ylabel: what it is, with its unit.
        ax: where to draw; a new figure by default.
    """
    if missing := [arm for arm in arms if arm not in set(runs["arm"])]:
        raise ValueError(f"arms: {missing} are not in the runs, expected {set(runs['arm'])}")
    ax = plt.subplots()[1] if ax is None else ax
    for k, arm in enumerate(arms):
        table = runs[runs["arm"] == arm].pivot(index="round", columns="seed", values=y)
        ax.plot(table.index, table.to_numpy(), color=COLOURS[k], linewidth=0.7, alpha=0.35)
        every = max(1, len(table) // 8)
        ax.plot(
            table.index,
            table.mean(axis=1),
            color=COLOURS[k],
            linestyle=LINES[k],
            marker=MARKERS[k],
            markevery=every,
            markersize=5,
            label=f"{arm} ({table.shape[1]} seeds)",
        )
    ax.set(xlabel="round (2048 records each)", ylabel=ylabel)
    ax.set_xlim(0.5, float(np.max(runs["round"])) + 0.5)
    ax.legend()
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure
