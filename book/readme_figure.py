"""Draw the README's picture from the runs of chapter 10: python book/readme_figure.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from lda_lib import plots
from lda_lib.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
RUNS = {  # data file: title, unit of the return
    "frozenlake": ("FrozenLake (exact)", "probability of reaching the goal"),
    "acrobot": ("Acrobot", "return (minus the steps needed)"),
}
ARMS = ["PPO", "random drop", "IIF", "PPO x2", "PPO x4"]


def draw() -> plt.Figure:
    """Two panels: return over rounds, every seed and the mean."""
    plots.use_style()
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.0))
    for ax, (name, (title, unit)) in zip(axes, RUNS.items(), strict=True):
        runs = pd.read_csv(ROOT / "data" / "iif_live" / f"{name}.csv")
        runs = runs[runs["round"] <= 20]
        plots.learning_curves(runs, arms=ARMS, ylabel=unit, ax=ax)
        ax.set_title(title)
        ax.get_legend().remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure


if __name__ == "__main__":
    target = ROOT / "book" / "_static" / "readme.png"
    picture = draw()
    write_whole(target, lambda path: picture.savefig(path, format="png", dpi=110))
    print(f"wrote {target.relative_to(ROOT)}")
