"""Figures of the book: one style, colours that colour-blind readers tell apart, seeds in sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from gymnasium.envs.toy_text.frozen_lake import MAPS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .rollout import Rollout

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
    styles: Sequence[str] = (),
) -> Figure:
    """Return over rounds: every seed a thin line, the mean over seeds a thick one.

    Args:
        runs: tidy rows with columns arm, seed, round and `y`.
        arms: which arms, in this order (colours, line styles and markers follow it).
        y: column to draw.
        ylabel: what it is, with its unit.
        ax: where to draw; a new figure by default.
        styles: whose place in it decides an arm's colour, where panels hold different arms; `arms`
            by default.
    """
    if missing := [arm for arm in arms if arm not in set(runs["arm"])]:
        raise ValueError(f"arms: {missing} are not in the runs, expected {set(runs['arm'])}")
    ax = plt.subplots()[1] if ax is None else ax
    for arm in arms:
        k = list(styles or arms).index(arm)
        table = runs[runs["arm"] == arm].pivot(index="round", columns="seed", values=y)
        colour = COLOURS[k % len(COLOURS)]
        ax.plot(table.index, table.to_numpy(), color=colour, linewidth=0.7, alpha=0.35)
        every = max(1, len(table) // 8)
        ax.plot(
            table.index,
            table.mean(axis=1),
            color=colour,
            linestyle=LINES[(k + k // len(COLOURS)) % len(LINES)],
            marker=MARKERS[k % len(MARKERS)],
            markevery=every,
            markersize=5,
            label=f"{arm} ({table.shape[1]} seed{'s' * (table.shape[1] != 1)})",
        )
    ax.set(xlabel="round (2048 records each)", ylabel=ylabel)
    ax.set_xlim(0.5, float(np.max(runs["round"])) + 0.5)
    ax.legend()
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure


# ---- the frozen lake ----------------------------------------------------------------------------

TILES = {"S": "#EAF3F8", "F": "#EAF3F8", "H": "#6B747C", "G": "#FFF0C2"}
MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])  # left, down, right, up; y points down


def lake_map(ax: Axes, lake: Sequence[str] = MAPS["4x4"], numbers: bool = True) -> Axes:
    """Draw the lake's tiles; each carries its number, the `obs` of a record made there."""
    rows, columns = len(lake), len(lake[0])
    for y, row in enumerate(lake):
        for x, kind in enumerate(row):
            corner = (x - 0.48, y - 0.48)
            hatch = "//" if kind == "H" else None
            ax.add_patch(
                Rectangle(corner, 0.96, 0.96, fc=TILES[kind], ec="#9AA5AD", lw=0.7, hatch=hatch)
            )
            if numbers:
                ink = "white" if kind == "H" else "#4A545C"
                ax.text(x - 0.43, y - 0.43, str(y * columns + x), size=8, color=ink, va="top")
            name = {"S": "start", "H": "hole", "G": "goal"}.get(kind)
            if name:
                ink = "white" if kind == "H" else "#22272c"
                ax.text(x + 0.43, y - 0.43, name, size=8, color=ink, ha="right", va="top")
    ax.set(xlim=(-0.55, columns - 0.45), ylim=(rows - 0.45, -0.55), aspect="equal")
    ax.axis("off")
    return ax


def lake_arrows(
    values: Any, ax: Axes, *, title: str = "", signed: bool = False, full: float | None = None
) -> Axes:
    """Draw one arrow per tile and action on the lake.

    Args:
        values: (S, 4), an array or tensor; rows of holes and of the goal are not drawn.
        ax: where to draw.
        title: above the lake.
        signed: False: probabilities, length in proportion; the likeliest action of a tile, and
            those within 0.01 of it, in dark blue. True: changes or advantages; blue, outwards,
            above 0; orange, inwards, below 0; length as the square root, to show small ones.
        full: the value whose arrow reaches the edge of the tile; by default the largest.
    """
    table = np.asarray(values, float)
    lake = MAPS["4x4"] if len(table) == 16 else MAPS["8x8"]
    lake_map(ax, lake)
    ice = np.array([kind in "SF" for kind in "".join(lake)])
    full = full or float(np.abs(table[ice]).max()) or 1.0
    tile, action = np.nonzero(np.broadcast_to(ice[:, None], table.shape))
    value = table[tile, action]
    centre = np.stack([tile % len(lake[0]), tile // len(lake[0])], 1).astype(float)
    direction = MOVES[action]
    length = 0.4 * np.minimum(np.abs(value) / full, 1.0) ** (0.5 if signed else 1.0)
    start = centre + 0.04 * direction
    if signed:
        inward = value < 0
        start[inward] = (centre + (0.04 + length[:, None]) * direction)[inward]
        direction = np.where(inward[:, None], -direction, direction)
        strong = ~inward
        colours = np.where(inward, COLOURS[1], COLOURS[0])
    else:
        strong = value >= table.max(1)[tile] - 0.01
        colours = np.where(strong, COLOURS[0], "#93A9B8")
    shaft = length[:, None] * direction
    for group in (~strong, strong):  # the strong ones on top
        ax.quiver(
            *start[group].T,
            *shaft[group].T,
            color=list(colours[group]),
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.013,
            headwidth=3.2,
            headlength=3.0,
            headaxislength=3.0,
            minlength=0.3,
        )
    ax.set_title(title, size=11)
    return ax


def lake_records(rollout: Rollout, ax: Axes, *, title: str = "") -> Axes:
    """Draw records as arrows from tile to tile, each with its step t; a bump stays on the tile."""
    tiles = rollout.obs.shape[1]
    lake = MAPS["4x4"] if tiles == 16 else MAPS["8x8"]
    lake_map(ax, lake)
    size = len(lake[0])
    steps: dict[tuple[int, int], list[str]] = {}
    for tile, action, t in zip(
        rollout.obs.argmax(-1).tolist(), rollout.action.tolist(), rollout.t.tolist()
    ):
        steps.setdefault((tile, action), []).append(str(t))
    for (tile, action), when in steps.items():
        centre, move = np.array([tile % size, tile // size]), MOVES[action]
        aside = 0.1 * np.array([move[1], -move[0]])  # keep to one side: the way back has the other
        inside = bool(((centre + move >= 0) & (centre + move < size)).all())
        begin, end = centre + aside, centre + aside + (0.78 if inside else 0.4) * move
        ax.annotate(
            "",
            tuple(end),
            tuple(begin),
            arrowprops={"arrowstyle": "-|>", "color": COLOURS[0], "lw": 1.8, "shrinkA": 0},
        )
        ax.plot(*begin, "o", color=COLOURS[0], markersize=4)
        x, y = begin + 0.34 * move + 1.3 * aside
        ax.text(x, y, ",".join(when), size=9, color=COLOURS[0], ha="center", va="center")
    ax.set_title(title, size=11)
    return ax
