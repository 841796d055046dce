"""Is IIF more than a bigger step? PPO and IIF at many rates, and PPO with IIF's KL per round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from ..metrics import area_under_curve, confidence_interval
from ..plots import COLOURS, LINES, MARKERS, use_style
from ..ppo import PPO
from ..rollout import Rollout
from ..tasks import TASKS
from . import learning
from .learning import Settings, arm_settings, iif, make_filter, paired_trials
from .learning_tables import curves, ordered, paired_table
from .study import Study, Trial

FACTORS = (1, 2, 4, 8, 16)
SEEDS = {"FrozenLake": 20, "Acrobot": 5, "MiniGrid": 5, "LunarLander": 5}  # from 0
ADAM = {"LunarLander": 3e-4}  # the rate at factor 1; tasks where Adam is compared too
STEADY = ("LunarLander",)  # SGD's critic diverges at the larger rates: it keeps the usual one
MATCHED = "PPO, KL of IIF"


def grid(profile: str) -> list[Trial]:
    """SGD on all tasks, Adam where declared; factor 1 of SGD is that of `six_environments`."""

    def arms(task: str) -> dict[str, Settings]:
        found: dict[str, Settings] = {}
        steady: Settings = {"critic_lr": TASKS[task].lr} if task in STEADY else {}
        for k in FACTORS if profile != "smoke" else FACTORS[:2]:
            for arm, keep in {"PPO": None, "IIF": iif(TASKS[task].drop)}.items():
                faster: Settings = {} if k == 1 else {"lr": k * TASKS[task].lr} | steady
                name = arm if k == 1 else f"{arm} x{k}"
                found[name] = arm_settings(task, profile, keep, **faster)
                if task in ADAM:
                    adam: Settings = {"optimizer": "adam", "lr": k * ADAM[task]}
                    found[f"{arm} Adam x{k}"] = arm_settings(task, profile, keep, **adam)
        found[MATCHED] = arm_settings(task, profile, iif(TASKS[task].drop), **steady)
        return found

    return paired_trials(profile, SEEDS, arms)


def run(trial: Trial) -> pd.DataFrame:
    """The history of one run."""
    return run_matched(trial) if trial.arm == MATCHED else learning.run(trial)


def run_matched(trial: Trial) -> pd.DataFrame:
    """PPO beside IIF of the same seed: each round at the rate that moves it as far as IIF moved.

    How far: mean over the round's own records, all of them, of KL(pi_k || pi_k+1), estimated by
    r - 1 - log r. The rate is found by bisection on a logarithmic scale, from the same parameters.
    """
    s = trial.settings
    guide = PPO(trial.task, seed=trial.seed, keep=make_filter(s["keep"]), **s["ppo"])
    agent = PPO(trial.task, seed=trial.seed, **s["ppo"])
    rows: list[dict[str, Any]] = []
    for k in range(1, s["rounds"] + 1):
        theirs = guide.collect()
        assert guide.keep is not None
        guide.update(theirs, guide.keep(guide, theirs))
        wanted = moved(guide, theirs)
        rollout = agent.collect()
        lr, reached = update_to(agent, rollout, wanted)
        due = k % s["evaluate_every"] == 0 or k == s["rounds"]
        mean, se, _ = agent.evaluate(s["episodes"]) if due else (np.nan, np.nan, 0)
        rows.append(
            {
                "round": k,
                "return_mean": mean,
                "return_se": se,
                "optimizer_steps": agent.optimizer_steps,
                "kept": len(rollout),
                "lr": lr,
                "kl_wanted": wanted,
                "kl_reached": reached,
            }
        )
    return pd.DataFrame(rows)


def moved(agent: PPO, rollout: Rollout) -> float:
    """KL(pi_k || pi_k+1) over a rollout made by pi_k, in nats."""
    with torch.no_grad():
        log_ratio = agent.policy.log_prob(rollout.obs, rollout.action) - rollout.logp
    return float((log_ratio.exp() - 1 - log_ratio).double().mean())


def update_to(
    agent: PPO, rollout: Rollout, wanted: float, tries: int = 8, tolerance: float = 0.05
) -> tuple[float, float]:
    """Update with the rate that moves the policy by `wanted` nats; return rate and KL reached."""
    before = {name: p.detach().clone() for name, p in agent.policy.named_parameters()}
    start = agent.opt_state, agent.round, agent.optimizer_steps
    base = agent.config
    low, high = np.log(base.lr / 32), np.log(base.lr * 32)
    x = np.log(base.lr)
    for left in reversed(range(tries)):
        agent.config = replace(base, lr=float(np.exp(x)))
        agent.update(rollout)
        reached = moved(agent, rollout)
        if left == 0 or abs(reached - wanted) <= tolerance * wanted:
            break
        low, high = (x, high) if reached < wanted else (low, x)
        x = (low + high) / 2
        agent.policy.load_state_dict(before)
        agent.opt_state, agent.round, agent.optimizer_steps = start
    agent.config = base
    return float(np.exp(x)), reached


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table, and the rank of each arm's area among those of its method."""
    found = paired_table(rows, ("PPO", "IIF"), tasks=SEEDS)
    found.insert(2, "method", found.arm.map(method_of))
    ranks = found.groupby(["task", "method"]).area.rank(ascending=False)
    found.insert(3, "rank", ranks.astype(int))
    return found


def factor(arm: str) -> int:
    """How many times the usual rate: 4 for "IIF x4" and for "PPO Adam x4"."""
    last = arm.split()[-1]
    return int(last[1:]) if last[0] == "x" else 1


def areas(rows: pd.DataFrame, task: str, method: str) -> pd.DataFrame:
    """Mean return over the rounds of "PPO", "IIF", "PPO Adam" or "IIF Adam": (factor, seed)."""
    mine = rows[rows.task == task]
    arms = [a for a in ordered(mine, "arm") if method_of(a) == method]
    found = {factor(a): curves(rows, task, a).apply(area_under_curve) for a in arms}
    return pd.DataFrame(found).T.sort_index().rename_axis("factor")


def method_of(arm: str) -> str:
    """Of an arm such as "IIF Adam x4": "IIF Adam"."""
    return arm if arm == MATCHED else arm.removesuffix(f" x{factor(arm)}")


def best_against_best(rows: pd.DataFrame, task: str, adam: bool = False) -> pd.DataFrame:
    """IIF at its best rate against PPO at its best, on seeds that had no say in the choice.

    Even seeds choose both rates, by mean return over the rounds, and odd ones are reported; then
    the other way round.

    Returns:
        One row per seed: seed, factor of either and its area, and gain = IIF - PPO.
    """
    end = " Adam" if adam else ""
    both = {m: areas(rows, task, m + end).dropna(axis=1) for m in ("PPO", "IIF")}
    seeds = sorted(set(both["PPO"].columns) & set(both["IIF"].columns))
    if len(seeds) < 2:
        raise ValueError(f"task: {task!r} has seeds {seeds} of both methods, expected two or more")
    out = []
    for chosen in (seeds[::2], seeds[1::2]):
        best: dict[str, Any] = {m: area[chosen].mean(axis=1).idxmax() for m, area in both.items()}
        for seed in set(seeds) - set(chosen):
            row = {m: float(area.loc[best[m], seed]) for m, area in both.items()}
            rates = {f"factor {m}": int(k) for m, k in best.items()}
            out.append({"seed": seed, **rates, **row, "gain": row["IIF"] - row["PPO"]})
    return pd.DataFrame(out).sort_values("seed", ignore_index=True)


def figure(rows: pd.DataFrame) -> Figure:
    """Mean return over the rounds at each rate, and that of PPO with IIF's KL as a band."""
    use_style()
    cases = [(t, end) for t in ordered(rows, "task", SEEDS) for end in ("", " Adam")]
    cases = [c for c in cases if len(areas(rows, c[0], "PPO" + c[1]))]
    size = (3.6 * len(cases) + 1.2, 3.8)
    fig, axes = plt.subplots(1, len(cases), figsize=size, squeeze=False)
    for ax, (task, end) in zip(axes.flat, cases, strict=True):
        for k, method in enumerate(("PPO", "IIF")):
            area = areas(rows, task, method + end)
            if area.empty:
                continue
            ends = np.array([confidence_interval(x.dropna()) for _, x in area.iterrows()]).T
            ax.errorbar(
                area.index * 1.03**k,  # beside each other
                ends[0],
                yerr=np.nan_to_num(np.abs(ends[1:] - ends[0])),
                color=COLOURS[k],
                linestyle=LINES[k],
                marker=MARKERS[k],
                capsize=3,
                label=method,
            )
        matched = curves(rows, task, MATCHED)
        if len(matched) and not end:
            mean, low, high = confidence_interval(matched.apply(area_under_curve))
            ax.axhline(mean, color=COLOURS[2], linestyle=":", label=MATCHED)
            ax.axhspan(low, high, color=COLOURS[2], alpha=0.15)
        ax.set_xscale("log", base=2)
        ax.set_xticks(FACTORS, [f"x{k}" for k in FACTORS])
        ax.set(title=task + end.replace(" ", ", "), xlabel="learning rate, times the usual")
    axes[0, 0].set_ylabel("mean return over the rounds")
    axes[0, -1].legend(fontsize=9)
    fig.tight_layout()
    return fig


STEP_SIZE = Study(
    "step_size",
    "Is the gain of IIF more than that of a bigger step?",
    grid,
    run,
    table,
    figure,
    borrows=("six_environments",),
)
