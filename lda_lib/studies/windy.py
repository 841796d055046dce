"""With wind and without: does the filter on LunarLander keep the records that had luck?

The wind of an episode is drawn at its reset and cannot be seen: two lives from the same state meet
different winds. Buffers of plain PPO at two rounds; the true advantages of a random sample of
records by Monte Carlo from replayed states, over new winds.

symbol  shape  meaning
error   (m,)   A_hat - A_true of the sampled records
bias    -      mean error of those that a filter would keep, minus the mean over all m
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from ..diagnosis import replayed_advantage, seed_anew
from ..filters import IIF
from ..plots import COLOURS, MARKERS, use_style
from ..ppo import PPO
from .learning_tables import with_interval
from .study import Study, Trial

TASKS = ("LunarLander", "LunarLanderWindy")
SEEDS = range(330, 335)  # none of them had been looked at
ROUNDS = (10, 50)
SAMPLE = 250
LIVES = 16
DROPS = (0.125, 0.5, 1.0)


def grid(profile: str) -> list[Trial]:
    """Plain PPO, the same seeds with wind and without."""
    full = profile == "full"
    settings: dict[str, Any] = {
        "rounds": list(ROUNDS if full else (1,)),
        "sample": SAMPLE if full else 12,
        "lives": LIVES if full else 2,
    }
    seeds = SEEDS if full else SEEDS[:1]
    return [Trial(task, "PPO", s, settings) for s in seeds for task in TASKS]


def new_wind(env: gym.Env, rng: np.random.Generator) -> None:
    """Draw anew all that chance decides in LunarLander: its dispersion, and the wind if it blows.

    As its reset does, which draws where in its course the wind begins.
    """
    seed_anew(env, rng)
    inner: Any = env.unwrapped
    inner.wind_idx, inner.torque_idx = (int(x) for x in rng.integers(-9999, 9999, 2))


def run(trial: Trial) -> pd.DataFrame:
    """One row per round and share dropped."""
    s = trial.settings
    agent, rows = PPO(trial.task, seed=trial.seed, compile=False), []
    for k in range(1, max(s["rounds"]) + 1):
        rollout = agent.collect()
        if k in s["rounds"]:
            sample = torch.from_numpy(
                agent.rng("sample").choice(len(rollout), s["sample"], replace=False)
            )
            truth = replayed_advantage(
                agent.policy,
                rollout,
                sample,
                k=s["lives"],
                gamma=agent.config.gamma,
                seed=agent.seed,
                redraw=new_wind,
            )
            a_hat = rollout.advantage[sample].double()
            error = a_hat - truth.mean
            for drop in DROPS:
                kept = IIF(drop)(agent, rollout)[sample]
                rows.append(
                    {
                        "round": k,
                        "drop": drop,
                        "kept": float(kept.double().mean()),
                        "bias": float(error[kept].mean() - error.mean()),
                        "rms_error": float(error.square().mean().sqrt()),
                        "a_se": float(truth.se.square().mean().sqrt()),
                        "agreement": float(stats.spearmanr(a_hat, truth.mean).statistic),
                        "agreement_kept": float(
                            stats.spearmanr(a_hat[kept], truth.mean[kept]).statistic
                        ),
                    }
                )
        if k < max(s["rounds"]):
            agent.update(rollout)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task, round and share dropped: means over seeds, the bias with its 95 % interval.

    `rms_error` still holds the Monte Carlo noise of the truth, `a_se`.
    """
    out = []
    for key, mine in rows.groupby(["task", "round", "drop"], sort=False):
        row = dict(zip(("task", "round", "drop"), key, strict=True)) | {"seeds": len(mine)}
        for name in ("bias", "agreement", "agreement_kept"):
            row |= with_interval(name, mine[name])
        out.append(row | mine[["kept", "rms_error", "a_se"]].mean().to_dict())
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame) -> Figure:
    """Bias of what is kept against the share of the negative records that is dropped."""
    use_style()
    found = table(rows)
    rounds = list(dict.fromkeys(found["round"]))
    fig, axes = plt.subplots(
        1, len(rounds), figsize=(4.4 * len(rounds), 3.4), squeeze=False, sharey=True
    )
    for ax, k in zip(axes.flat, rounds, strict=True):
        for c, task in enumerate(TASKS):
            mine = found[(found.task == task) & (found["round"] == k)]
            ends = np.abs(mine[["bias_low", "bias_high"]].to_numpy().T - mine.bias.to_numpy())
            ax.errorbar(
                100 * mine["drop"] + c,
                mine.bias,
                yerr=np.nan_to_num(ends),
                color=COLOURS[c],
                marker=MARKERS[c],
                capsize=3,
                label=task,
            )
        ax.axhline(0, color="0.5", lw=0.8)
        ax.set(title=f"round {k}", xlabel="p, % of the negative records")
    axes[0, 0].set_ylabel("bias of the kept advantages")
    axes[0, 0].legend()
    fig.tight_layout()
    return fig


WINDY = Study(
    "windy",
    "Does the filter keep lucky records where an unseen wind blows?",
    grid,
    run,
    table,
    figure,
)
