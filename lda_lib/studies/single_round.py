"""One round, one intervention: the same update with and without the records scored negative.

An unfiltered PPO run visits the rounds. At each round that is looked at, copies of the agent update
from one theta_k, on one rollout, with one order of the records, and are evaluated; then the
run goes on as if nothing had happened. (Hu et al. 2025, "Single-round intervention".)

treatment                    what the copy learns from
before                       nothing: the policy that made the rollout
all                          every record
no negatives                 the records with a score of 0 or more
random drop                  as many records, chosen at random
no negatives, equal steps    as "no negatives", cycled to as many minibatches as "all" makes
random drop, equal steps     its control
all, as far                  every record, at the rate that moves the policy nearest to as far (KL
                             over the rollout) as "no negatives" moved it; 32 times the usual rate
                             at most, so that it often falls short (column `kl`)
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from ..filters import IIF, RandomDrop
from ..plots import learning_curves, use_style
from ..ppo import PPO
from ..rollout import Rollout
from .learning_tables import ordered, with_interval
from .step_size import moved, update_to
from .study import Study, Trial

BASE = ("before", "all", "no negatives", "random drop", "no negatives, equal steps")
FURTHER = ("random drop, equal steps", "all, as far")  # where an evaluation costs nothing

# declared before the run: seeds from 0, rounds, every so many of them, episodes, treatments
DECLARED: dict[str, tuple[int, int, int, int, tuple[str, ...]]] = {
    "FrozenLake": (10, 15, 1, 0, BASE + FURTHER),
    "Acrobot": (3, 12, 1, 50, BASE),
    "MiniGrid": (3, 36, 4, 0, BASE + FURTHER),
    "LunarLander": (3, 60, 10, 50, BASE),
}
# declared later, when the tasks with exact returns had shown how much the length of the step
# matters, and before a return of this treatment was known here: the same seeds and rounds again.
# The critic rests in it (on these tasks it shares no weights with the policy): at rates that move
# the policy far enough, a critic of returns in the hundreds diverges
AS_FAR = ("before", "all", "no negatives", "all, as far")
ADDED: dict[str, dict[str, Any]] = {
    task: {"treatments": list(AS_FAR), "as_far": {"vf_coef": 0.0}}
    for task in ("Acrobot", "LunarLander")
}


def grid(profile: str) -> list[Trial]:
    """One trial for each task and seed (two with `ADDED`): all treatments of all its rounds."""
    trials = []
    for task, (seeds, rounds, every, episodes, treatments) in DECLARED.items():
        if profile == "smoke" and task != "FrozenLake":
            continue
        if profile != "full":
            seeds, rounds, episodes = 2, 2 * every, min(episodes, 2)
        settings = {
            "rounds": rounds,
            "every": every,
            "episodes": episodes,
            "treatments": list(treatments),
            "ppo": {"preset": "paired", "compile": profile == "full"},
        }
        trials += [Trial(task, "PPO", s, settings) for s in range(seeds)]
        if task in ADDED:
            added = settings | ADDED[task]
            trials += [Trial(task, "PPO, as far", s, added) for s in range(seeds)]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """All treatments of the rounds of one run; the rounds counted from 1."""
    s = trial.settings
    agent = PPO(trial.task, seed=trial.seed, **s["ppo"])
    rows = []
    for k in range(1, s["rounds"] + 1):
        rollout = agent.collect()
        if k % s["every"] == 0:
            treated = treat(agent, rollout, s["treatments"], s["episodes"], s.get("as_far"))
            rows += [{"round": k} | row for row in treated]
        agent.update(rollout)
    return pd.DataFrame(rows)


def treat(
    agent: PPO,
    rollout: Rollout,
    treatments: list[str],
    episodes: int,
    as_far: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """What one update from here leads to, under each treatment; the agent stays as it is.

    Args:
        agent: who made the rollout.
        rollout: the records.
        treatments: which, by name.
        episodes: of each evaluation, where returns are not exact.
        as_far: settings of `PPOConfig` for "all, as far" only.

    Returns:
        A row each: treatment, return after the update, its standard error, records kept, optimiser
        steps, KL from the policy before (nats, mean over the whole rollout), learning rate.
    """
    filtered = IIF(drop=1.0)
    masks: dict[str, Tensor | None] = {
        "all": None,
        "no negatives": filtered(agent, rollout),
        "random drop": RandomDrop(like=filtered)(agent, rollout),
    }
    rows: list[dict[str, Any]] = []
    for name in treatments:
        rule, _, how = name.partition(", ")
        special = {"as far": as_far or {}, "equal steps": {"equal_steps": True}}.get(how, {})
        other = twin(agent, **special)
        lr = agent.config.lr
        if how == "as far":
            wanted = next(row["kl"] for row in rows if row["treatment"] == "no negatives")
            lr, _ = update_to(other, rollout, wanted)
        elif rule != "before":
            other.update(rollout, masks[rule])
        keep = masks.get(rule)
        result = other.evaluate(episodes)
        rows.append(
            {
                "treatment": name,
                "return_mean": round(result.mean, 6),
                "return_se": round(result.se, 4),
                "kept": len(rollout) if keep is None else int(keep.sum()),
                "optimizer_steps": other.optimizer_steps - agent.optimizer_steps,
                "kl": float(f"{moved(other, rollout):.4g}"),
                "lr": float(f"{lr:.4g}"),
            }
        )
    return rows


def twin(agent: PPO, **settings: Any) -> PPO:
    """An agent with its own copy of the networks that can update and be evaluated.

    The environments stay the first agent's: some cannot be copied, and neither needs them.
    """
    other = copy.copy(agent)
    other.policy = copy.deepcopy(agent.policy)
    other.config = replace(agent.config, **settings)
    return other


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Each treatment of each round against "all" of the same round.

    Adds `change`, the return minus that before the update; `gain`, minus that of "all"; `whole`,
    the change by "all"; `kl_ratio`, the KL divided by that of "all".
    """
    at = ["task", "seed", "round"]
    rows = rows.drop_duplicates([*at, "treatment"])  # those that two trials share are the same
    wide = rows.pivot(index=at, columns="treatment", values=["return_mean", "kl"])
    base = pd.DataFrame(
        {
            "return_before": wide["return_mean", "before"],
            "return_all": wide["return_mean", "all"],
            "kl_all": wide["kl", "all"],
        }
    )
    out = rows.merge(base, left_on=at, right_index=True)
    out["change"] = out.return_mean - out.return_before
    out["gain"] = out.return_mean - out.return_all
    out["whole"] = out.return_all - out.return_before
    out["kl_ratio"] = out.kl / out.kl_all
    return out[~out.treatment.isin(("before", "all"))]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task and treatment: gain over "all", in all rounds, where "all" rose, where it fell.

    Means over the rounds of a seed, then over seeds, with 95 % confidence intervals over seeds.
    `better`: share of rounds with a gain above 0. `kl_ratio`: median. Where returns are sampled, a
    round whose "all" was unlucky counts as a fall and flatters its other treatments: there
    `gain_fell` is biased upwards, `gain_rose` downwards.
    """
    out = []
    found = differences(rows)
    for task in ordered(found, "task", DECLARED):
        for name in ordered(found[found.task == task], "treatment", BASE + FURTHER):
            mine = found[(found.task == task) & (found.treatment == name)]
            row: dict[str, Any] = {
                "task": task,
                "treatment": name,
                "seeds": mine.seed.nunique(),
                "rounds": len(mine),
            }
            parts = {
                "gain": mine,
                "gain_rose": mine[mine.whole > 0],
                "gain_fell": mine[mine.whole < 0],
            }
            for column, part in parts.items():
                means = part.groupby("seed").gain.mean()
                row |= with_interval(column, means)
            row |= {
                "fell": len(parts["gain_fell"]),
                "better": (mine.gain > 0).mean(),
                "kl_ratio": mine.kl_ratio.median(),
                "optimizer_steps": mine.optimizer_steps.mean(),
            }
            out.append(row)
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame) -> Figure:
    """Gain over the update with all records, round by round, a panel per task."""
    use_style()
    found = differences(rows).assign(arm=lambda x: x.treatment)
    tasks = ordered(found, "task", DECLARED)
    fig, axes = plt.subplots(1, len(tasks), figsize=(4.4 * len(tasks), 3.6), squeeze=False)
    for ax, task in zip(axes.flat, tasks, strict=True):
        mine = found[found.task == task]
        arms = [a for a in ("no negatives", "random drop", "all, as far") if a in set(mine.arm)]
        learning_curves(
            mine, arms=arms, y="gain", ylabel="return, minus that with all records", ax=ax
        )
        ax.axhline(0, color="0.4", linewidth=0.8)
        ax.set_title(task)
    fig.tight_layout()
    return fig


SINGLE_ROUND = Study(
    "single_round",
    "Is one update better without the records scored negative than with all, or a random share?",
    grid,
    run,
    table,
    figure,
)
