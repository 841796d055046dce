"""Some advantages are falsified: who finds them? AUROC of every estimator and of naive rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..estimates import monte_carlo_advantage
from ..fidelity import auroc, floors
from ..plots import COLOURS, MARKERS, use_style
from ..rollout import Rollout
from .fidelity import ARMS, before_round
from .ladder import ladder
from .learning_tables import with_interval
from .study import Study, Trial

SHARES = (0.05, 0.1, 0.2)  # of the records
KINDS = {"flip": -1.0, "scale": 5.0}  # factor on the advantage

# task: updates, seeds, rounds
DECLARED = {
    "FrozenLake": (("SGD", "Adam"), 3, (6,)),
    "FrozenLakeSlippery": (("SGD",), 3, (10,)),
    "Acrobot": (("SGD",), 3, (6,)),
}


def grid(profile: str) -> list[Trial]:
    """A trial plants one kind of harm in one round, in each share; seeds from 320."""
    trials = []
    for task, (updates, seeds, rounds) in DECLARED.items():
        if profile != "full":
            if task != "FrozenLake":
                continue
            updates, seeds, rounds = ("SGD",), 1 if profile == "smoke" else 2, (2,)
        for k in rounds:
            for update in updates:
                settings: dict[str, Any] = {"round": k, "shares": list(SHARES)}
                settings |= ARMS[update]
                if profile == "smoke":
                    settings["agent"] = {"n_steps": 256, "epochs": 2}
                trials += [
                    Trial(task, f"{update}, {kind}", 320 + s, settings | {"factor": factor})
                    for s in range(seeds)
                    for kind, factor in KINDS.items()
                ]
    return trials


def plant(
    rollout: Rollout, share: float, factor: float, rng: np.random.Generator
) -> tuple[Rollout, Tensor]:
    """Multiply the advantages of a random share of the records by `factor`.

    Returns:
        The rollout with false advantages, and which they are, bool (n,).
    """
    n = len(rollout)
    planted = torch.zeros(n, dtype=torch.bool)
    planted[torch.from_numpy(rng.permutation(n)[: round(share * n)])] = True
    advantage = torch.where(planted, factor * rollout.advantage, rollout.advantage)
    return replace(rollout, advantage=advantage), planted


def naive(clean: Rollout, false: Rollout, gamma: float, lam: float, rng) -> dict[str, Tensor]:
    """Rules without an influence score: how suspicious each record is, (n,).

    What a rule takes from rewards and values it takes from the clean rollout: only the advantages
    that training reads were falsified.
    """
    rules = floors(clean, gamma, lam, rng)
    a_mc = monte_carlo_advantage(clean, gamma, lam)
    return {
        "random": rules["random"],
        "|TD error|": rules["|TD error|"],
        "|A|": false.advantage.abs(),
        "-A": -false.advantage,
        "-sign(A)": -false.advantage.sign(),
        "-A_mc x A": -a_mc * false.advantage,
        "|A - A_mc|": (false.advantage - a_mc).abs(),
    }


def run(trial: Trial) -> pd.DataFrame:
    """One row per share and rule: AUROC over all records, and over the half with larger |A|."""
    s = trial.settings
    agent, rollout, outcome, _ = before_round(trial)
    config = agent.config
    rows = []
    for share in s["shares"]:
        rng = np.random.default_rng((trial.seed, s["round"], int(100 * share)))
        false, planted = plant(rollout, share, s["factor"], rng)
        big = false.advantage.abs() >= false.advantage.abs().median()

        def judged(
            rule: str, target: str, suspicion: Tensor, share=share, planted=planted, big=big
        ):
            rows.append(
                {
                    "round": s["round"],
                    "share": share,
                    "rule": rule,
                    "target": target,
                    "auroc": round(auroc(suspicion, planted, 0).mean, 4),
                    "auroc_large": round(auroc(suspicion[big], planted[big], 0).mean, 4),
                }
            )

        for rule, suspicion in naive(rollout, false, config.gamma, config.lam, rng).items():
            judged(rule, "none", suspicion)
        for one in ladder(agent, false, outcome):
            judged(one.estimator, one.target, -one.scores)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task, arm, share and rule: mean AUROC over seeds and rounds with its 95 % interval."""
    out = []
    by = ["task", "arm", "share", "rule", "target"]
    for key, group in rows.groupby(by, sort=False):
        row: dict = dict(zip(by, key, strict=True)) | {"rounds": len(group)}
        for name in ("auroc", "auroc_large"):
            row |= with_interval(name, group[name])
        out.append(row)
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame, task: str = "FrozenLake", share: float = 0.1) -> Figure:
    """AUROC of each rule, one panel per update; bars are intervals over seeds and rounds."""
    use_style()
    mine = table(rows[(rows.task == task) & (rows.share == share)])
    mine["name"] = [r if t == "none" else f"{r} | {t}" for r, t in zip(mine.rule, mine.target)]
    arms = list(dict.fromkeys(mine.arm))
    names = list(dict.fromkeys(mine.name))[::-1]
    fig, axes = plt.subplots(
        1, len(arms), figsize=(3.2 + 2.3 * len(arms), 5.5), sharey=True, squeeze=False
    )
    for ax, arm in zip(axes.flat, arms, strict=True):
        at = mine[mine.arm == arm].set_index("name").reindex(names)
        for k, (name, label) in enumerate((("auroc", "all"), ("auroc_large", "larger |A|"))):
            y = np.arange(len(names)) + 0.15 * (0.5 - k)
            ax.hlines(y, at[f"{name}_low"], at[f"{name}_high"], color=COLOURS[k], lw=1)
            ax.plot(at[name], y, MARKERS[k], color=COLOURS[k], ms=4.5, label=label)
        ax.set(title=arm, xlim=(0.2, 1.02), xlabel="AUROC")
        ax.axvline(0.5, color="0.6", lw=0.8)
    axes.flat[0].set_yticks(range(len(names)), names)
    axes.flat[0].legend(loc="lower left", fontsize=8)
    fig.tight_layout()
    return fig


PLANTED_HARM = Study(
    "planted_harm",
    "Which scores find records whose advantages were falsified?",
    grid,
    run,
    table,
    figure,
)
