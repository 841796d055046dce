"""What most studies do: train agents that differ in one thing; `learning_tables` compares them.

An arm is a label with entries of a trial's settings: `keep`, the filter as [name, arguments] or
None; `ppo`, settings of `PPOConfig`; where advantages are repaired `repair`, its arguments. Two
studies that declare the same arm with the same settings name the same trial, and the second takes
it from the first (`Study.borrows`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pandas as pd

from ..filters import IIF, AdvantageHeuristic, LowestAdvantage, RandomDrop, TDError
from ..ppo import PPO, Keep, Mend
from ..repair import Repair
from ..rivals import RandomNegative, TrajectoryValue
from ..tasks import TASKS
from .study import Trial

# episodes per evaluation (unused where returns are exact) and rounds between evaluations
EVALUATION = {"BipedalWalker": (20, 3), "Highway": (20, 2), "LunarLanderWindy": (100, 4)}
# Where evaluating costs ten times what learning does, only the paper's own comparison, which
# `six_environments` runs, is evaluated each round; all other arms every so many.
SPARSE = {"LunarLander": 4}

Filter = list[Any]  # [name, arguments], plain JSON
Settings = dict[str, Any]  # of a trial
FILTERS: dict[str, Callable[..., Keep]] = {
    kind.__name__: kind
    for kind in (
        IIF,
        RandomDrop,
        RandomNegative,
        LowestAdvantage,
        AdvantageHeuristic,
        TDError,
        TrajectoryValue,
    )
}


def iif(drop: float, **arguments: Any) -> Filter:
    """The paper's filter as an entry of settings."""
    return ["IIF", {"drop": drop, **arguments}]


def random_like(like: Filter) -> Filter:
    """Its control: a random drop of as many records."""
    return ["RandomDrop", {"like": like}]


def make_filter(told: Filter | None) -> Keep | None:
    """The filter that an entry of settings names."""
    if told is None:
        return None
    name, arguments = told
    return FILTERS[name](**{k: make_filter(v) if k == "like" else v for k, v in arguments.items()})


def make_repair(settings: Settings) -> Repair | None:
    """The repair that a trial's settings name, or None."""
    return Repair(**settings["repair"]) if "repair" in settings else None


def papers_arms(task: str, **arguments: Any) -> dict[str, Filter | None]:
    """The paper's comparison: PPO, IIF with the paper's p, a random drop of as many records.

    Args:
        task: whose p it is.
        arguments: more of them for IIF.
    """
    filtered = iif(TASKS[task].drop, **arguments)
    return {"PPO": None, "IIF": filtered, "random drop": random_like(filtered)}


def arm_settings(
    task: str,
    profile: str,
    keep: Filter | None = None,
    rounds: int | None = None,
    repair: dict[str, Any] | None = None,
    **ppo: Any,
) -> Settings:
    """Settings of a trial: the task's rounds, a tenth of them (quick) or two short ones (smoke)."""
    episodes, every = EVALUATION.get(task, (100, 1))
    if rounds or repair or ppo or keep not in papers_arms(task).values():
        every = SPARSE.get(task, every)
    rounds = rounds or TASKS[task].rounds
    if profile == "quick":
        rounds = max(3, rounds // 10)
    if profile == "smoke":
        rounds, episodes, every = 2, 2, 1
        ppo = {"n_steps": 512} | ppo
    return {
        "keep": keep,
        "ppo": {"preset": "paired", "compile": rounds >= 10} | ppo,
        "rounds": rounds,
        "episodes": episodes,
        "evaluate_every": every,
    } | ({"repair": repair} if repair else {})


def paired_trials(
    profile: str,
    seeds: Mapping[str, int | range],
    arms: Callable[[str], Mapping[str, Settings]],
    smoke: Collection[str] = (),
) -> list[Trial]:
    """Every arm of a task on each of its seeds.

    Args:
        profile: in "quick" a task has its first two seeds; in "smoke" only few tasks are left.
        seeds: which ones each task has; a number counts them from 0.
        arms: task -> arm -> settings.
        smoke: the few, if they are not the first alone.
    """
    few = smoke or list(seeds)[:1]
    trials = []
    for task, declared in seeds.items():
        if profile == "smoke" and task not in few:
            continue
        every = range(declared) if isinstance(declared, int) else declared
        settings = arms(task)
        for seed in every if profile == "full" else every[:2]:
            trials += [Trial(task, arm, seed, x) for arm, x in settings.items()]
    return trials


def run(trial: Trial, repair: Mend | None = None) -> pd.DataFrame:
    """Train one agent: its history.

    Args:
        trial: its settings.
        repair: in place of the repair that they name.

    An agent whose update runs away to infinity has come to its end: it stays what it was, and the
    rounds that were left, marked `diverged`, hold its return.
    """
    s = trial.settings
    keep, repair = make_filter(s["keep"]), repair or make_repair(s)
    agent = PPO(trial.task, seed=trial.seed, keep=keep, repair=repair, **s["ppo"])
    try:
        history = agent.learn(
            s["rounds"],
            episodes=s["episodes"],
            evaluate_every=s["evaluate_every"],
            progress=False,
        )
    except FloatingPointError:
        last = agent.evaluate(s["episodes"])
        rest = pd.DataFrame({"round": range(agent.round + 1, s["rounds"] + 1)})
        due = (rest["round"] % s["evaluate_every"] == 0) | (rest["round"] == s["rounds"])
        rest = rest.assign(return_mean=last.mean, return_se=last.se, kept=0, diverged=True)
        rest.loc[~due, ["return_mean", "return_se"]] = float("nan")
        history = pd.concat([agent.history, rest], ignore_index=True)
    return history.drop(columns="steps", errors="ignore")
