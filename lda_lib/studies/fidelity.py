"""Do scores predict what happens without a record? LOO and LDS of every estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..fidelity import floors, lds, rank_correlation
from ..groundtruth import REMOVALS, FrozenRound, leave_one_out, outcomes, random_subsets
from ..plots import COLOURS, MARKERS, use_style
from ..ppo import PPO
from ..rollout import Rollout
from ..step import OptState, Trace, shadow_adam
from ..targets import ExactReturn, Return, Target
from .ladder import ESTIMATORS, ladder
from .learning_tables import with_interval
from .study import Study, Trial

FLOORS = ("random", "|A|", "|TD error|", "sign(A)")
CEILING = "truth, another order of batches"
OTHER_REMOVAL = "truth, weight zero"
ARMS: dict[str, dict[str, Any]] = {
    "SGD": {"optimizer": "sgd", "lr": 5e-3, "clip": 0.2},
    "SGD x4": {"optimizer": "sgd", "lr": 2e-2, "clip": 0.2},
    "Adam": {"optimizer": "adam", "lr": 3e-4, "clip": 0.2},
    # the same records; only the frozen update runs without the clip
    "SGD x4, no clip": {"optimizer": "sgd", "lr": 2e-2, "clip": 1e6},
    "Adam, no clip": {"optimizer": "adam", "lr": 3e-4, "clip": 1e6},
}
FRACTIONS = (0.5, 0.8, 0.95)

# task: arms, seeds, rounds that are frozen, records left out one by one, subsets of each size
DECLARED = {
    "FrozenLake": (tuple(ARMS), 3, (3, 8), 300, 100),
    "FrozenLakeSlippery": (("SGD", "Adam"), 2, (10, 40), 300, 100),
    "Acrobot": (("SGD", "SGD x4", "Adam"), 2, (3,), 300, 100),  # no state comes twice
}


def grid(profile: str) -> list[Trial]:
    """A trial freezes one round of one run; seeds from 300."""
    trials = []
    for task, (arms, seeds, rounds, records, subsets) in DECLARED.items():
        if profile != "full" and task != "FrozenLake":
            continue
        if profile == "quick":
            seeds, records, subsets = 1, 60, 30
        if profile == "smoke":
            arms, seeds, rounds, records, subsets = ("SGD",), 1, (2,), 8, 8
        for k in rounds:
            settings: dict[str, Any] = {"round": k, "records": records, "subsets": subsets}
            settings["fractions"] = list(FRACTIONS)
            if profile == "smoke":
                settings["agent"] = {"n_steps": 256, "epochs": 2}
            trials += [
                Trial(task, arm, 300 + s, settings | ARMS[arm])
                for s in range(seeds)
                for arm in arms
            ]
    return trials


class Before(NamedTuple):
    """An update about to be made, and what it will be judged by."""

    agent: PPO
    rollout: Rollout
    outcome: Target
    shadow: OptState | None  # under SGD, the state that Adam would have


def before_round(trial: Trial) -> Before:
    """Learn up to the trial's round."""
    s = trial.settings
    how = {"optimizer": s["optimizer"], "lr": s["lr"]} | s.get("agent", {})
    agent = PPO(trial.task, seed=trial.seed, compile=False, **how)
    shadow = None
    for _ in range(s["round"] - 1):
        trace = agent.update(agent.collect(), trace=True)
        assert isinstance(trace, Trace)
        if s["optimizer"] == "sgd":
            shadow = shadow_adam(trace, shadow).final[1]
    rollout = agent.collect()
    agent.config = replace(agent.config, clip=s["clip"])
    if agent.model is not None:
        return Before(agent, rollout, ExactReturn(), shadow)
    # records the update never sees
    return Before(agent, rollout, Return(reference=agent.collect()), shadow)


def run(trial: Trial) -> pd.DataFrame:
    """One row per estimator, target, removal and measure: its rank correlation with the truth."""
    s = trial.settings
    agent, rollout, outcome, shadow = before_round(trial)
    n, rng = len(rollout), np.random.default_rng((trial.seed, s["round"]))
    index = torch.from_numpy(rng.permutation(n)[: s["records"]])
    keeps = {f: random_subsets(n, f, s["subsets"], rng) for f in s["fractions"]}
    fast: dict[str, Any] = {"critic": False, "chunk": 128 if agent.model is not None else 32}
    rows: list[dict] = []
    truth: dict[tuple[str, int], dict[str, Tensor]] = {}
    for removal in REMOVALS:
        for order in (0, 1):
            frozen = FrozenRound.of(agent, rollout, order)
            if order == 1 and removal == "re-batching":
                continue
            found = {"LOO": leave_one_out(frozen, index, outcome, removal, **fast)}
            for f, keep in keeps.items():
                found[f"LDS {f:.0%}"] = outcomes(frozen, keep, outcome, removal, **fast)
            truth[removal, order] = found

    def compare(estimator: str, target: str, scores: Tensor, seconds: float) -> None:
        for removal in REMOVALS:
            found = truth[removal, 0]
            values = {"LOO": rank_correlation(scores[index], found["LOO"], 0).mean}
            for f, keep in keeps.items():
                measure = f"LDS {f:.0%}"
                values[measure] = lds(scores, keep, found[measure], 0).mean
            for measure, value in values.items():
                rows.append(
                    {
                        "round": s["round"],
                        "estimator": estimator,
                        "target": target,
                        "removal": removal,
                        "measure": measure,
                        "value": round(value, 4),
                        "seconds": round(seconds, 3),
                    }
                )

    for one in ladder(agent, rollout, outcome, shadow):
        compare(*one)
    for name, scores in floors(rollout, agent.config.gamma, agent.config.lam, rng).items():
        compare(name, "none", scores, 0.0)
    compared = {  # what else the effect could be measured by
        CEILING: (("weight zero", 0), ("weight zero", 1)),
        OTHER_REMOVAL: (("re-batching", 0), ("weight zero", 0)),
    }
    for name, (one_way, other) in compared.items():
        for measure, effects in truth[one_way].items():
            value = rank_correlation(effects, truth[other][measure], 0).mean
            about: dict[str, Any] = {"estimator": name, "target": "none", "removal": one_way[0]}
            about |= {"measure": measure, "value": round(value, 4), "seconds": 0.0}
            rows.append(rows[0] | about)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task, arm, removal, estimator and target: the mean of each measure over frozen rounds.

    `_low` and `_high` bound the 95 % confidence interval over frozen rounds (seeds and rounds of
    one arm); `seconds` is the mean time of scoring.
    """
    out = []
    by = ["task", "arm", "removal", "estimator", "target"]
    for key, group in rows.groupby(by, sort=False):
        row: dict = dict(zip(by, key, strict=True))
        for measure, cell in group.groupby("measure", sort=False):
            values = cell.value.dropna()
            row |= with_interval(str(measure), values)
            row["rounds"] = len(values)
        out.append(row | {"seconds": group.seconds.mean()})
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame, task: str = "FrozenLake", removal: str = "weight zero") -> Figure:
    """LOO and LDS of each estimator, one panel per arm; bars are intervals over frozen rounds."""
    use_style()
    mine = table(rows[(rows.task == task) & (rows.removal == removal)])
    arms = [a for a in ARMS if a in set(mine.arm)]
    named = [f"{e} | {t}" for e in ESTIMATORS for t in ("buffer", "outcome")]
    order = [*FLOORS, *named, CEILING, OTHER_REMOVAL]
    mine["name"] = [e if t == "none" else f"{e} | {t}" for e, t in zip(mine.estimator, mine.target)]
    measures = ["LOO", *(f"LDS {f:.0%}" for f in FRACTIONS)]
    fig, axes = plt.subplots(
        1, len(arms), figsize=(3.2 + 2.6 * len(arms), 6), sharey=True, squeeze=False
    )
    shown = [name for name in order if name in set(mine.name)][::-1]
    for ax, arm in zip(axes.flat, arms, strict=True):
        at = mine[mine.arm == arm].set_index("name").reindex(shown)
        for k, measure in enumerate(m for m in measures if m in at):
            y = np.arange(len(shown)) + 0.16 * (1.5 - k)
            ax.hlines(y, at[f"{measure}_low"], at[f"{measure}_high"], color=COLOURS[k], lw=1)
            ax.plot(at[measure], y, MARKERS[k], color=COLOURS[k], ms=4.5, label=measure)
        ax.set(title=arm, xlim=(-0.45, 1.05), xlabel="rank correlation with the truth")
        ax.axvline(0, color="0.6", lw=0.8)
    axes.flat[0].set_yticks(range(len(shown)), shown)
    axes.flat[0].legend(loc="lower left", fontsize=8)
    fig.tight_layout()
    return fig


FIDELITY = Study(
    "fidelity",
    "Do influence scores predict what an update does without a record, or without many?",
    grid,
    run,
    table,
    figure,
)
