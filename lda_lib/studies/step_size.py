"""Is IIF more than a bigger step? PPO and IIF at many rates, and PPO with IIF's KL per round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from ..metrics import area_under_curve
from ..ppo import PPO
from ..rollout import Rollout
from ..tasks import TASKS
from . import learning
from .learning import arm_settings, curves, iif, make_filter, paired_table, panels
from .study import Study, Trial

FACTORS = (1, 2, 4, 8, 16)
SEEDS = {"FrozenLake": 20, "Acrobot": 5, "MiniGrid": 5, "LunarLander": 5}  # from 0
ADAM = {"LunarLander": 3e-4}  # the rate at factor 1; tasks where Adam is compared too
MATCHED = "PPO, KL of IIF"


def grid(profile: str) -> list[Trial]:
    """SGD on all tasks, Adam where declared; factor 1 of SGD is that of `six_environments`."""
    trials = []
    for task, seeds in SEEDS.items():
        if profile == "smoke" and task != "FrozenLake":
            continue
        keep = {"PPO": None, "IIF": iif(TASKS[task].drop)}
        arms: dict[str, tuple[Any, dict[str, Any]]] = {}
        for k in FACTORS if profile != "smoke" else FACTORS[:2]:
            for arm, rule in keep.items():
                faster = {} if k == 1 else {"lr": k * TASKS[task].lr}
                arms[arm if k == 1 else f"{arm} x{k}"] = rule, faster
                if task in ADAM:
                    adam = {"optimizer": "adam", "lr": k * ADAM[task]}
                    arms[f"{arm} Adam x{k}"] = rule, adam
        arms[MATCHED] = keep["IIF"], {}
        trials += [
            Trial(task, arm, s, arm_settings(task, profile, rule, **ppo))
            for s in range(seeds if profile == "full" else 2)
            for arm, (rule, ppo) in arms.items()
        ]
    return trials


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
    agent.compiled = guide.compiled
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
    adam = found.arm.str.contains("Adam").map({True: " Adam", False: ""})
    found.insert(2, "method", found.arm.str[:3].where(found.arm != MATCHED, MATCHED) + adam)
    ranks = found.groupby(["task", "method"]).area.rank(ascending=False)
    found.insert(3, "rank", ranks.astype(int))
    return found


def figure(rows: pd.DataFrame) -> Figure:
    """Best against best, by area under the curve, and PPO with IIF's KL."""
    chosen = []
    for task in learning.ordered(rows, "task", SEEDS):
        arms = learning.ordered(rows[rows.task == task], "arm")
        area = {a: curves(rows, task, a).apply(area_under_curve).mean() for a in arms}
        for method in ("PPO", "IIF"):
            mine = {a: x for a, x in area.items() if a.startswith(method) and a != MATCHED}
            best = max(mine, key=lambda a: mine[a])
            mask = (rows.task == task) & (rows.arm == best)
            chosen.append(rows[mask].assign(arm=f"best {method} ({best[3:].strip() or 'x1'})"))
        chosen.append(rows[(rows.task == task) & (rows.arm == MATCHED)])
    return panels(pd.concat(chosen), (), tasks=SEEDS)


STEP_SIZE = Study(
    "step_size",
    "Is the gain of IIF more than that of a bigger step?",
    grid,
    run,
    table,
    figure,
    borrows=("six_environments",),
)
