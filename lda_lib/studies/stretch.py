"""Is repair more than a longer step? Direction and length of the first step, taken apart.

An update standardises its advantages, and repaired ones vary less. So each of them counts for more,
and the first step of an update is longer. Its direction changes less: what the regression leaves
out, features and centring aside, the policy's last layer could not have learnt (compatible
features, Sutton et al. 2000). Two by two: advantages estimated or repaired, the first step as
long as the one makes it or as the other does, by a factor on the policy's learning rate. The
critic's rate stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from ..ppo import PPO
from ..repair import Repair, first_step
from ..rollout import Rollout
from ..tasks import TASKS
from . import learning
from .learning import Settings, arm_settings, iif, paired_trials
from .learning_tables import every_curve, intervals, paired_table, with_interval
from .pace import GENTLE, areas, savings
from .repair import LUCKY, same_names
from .study import Study, Trial

SEEDS = {  # from 0, as in `pace`
    "FrozenLake": 20,
    "FrozenLakeSlippery": 20,
    "CartPole": 10,
    "MiniGrid": 5,
    "Acrobot": 20,
    "LunarLander": 5,
    "FrozenLakeSlippery8x8": 5,
}
LONG, SHORT = "PPO, repair's length", "repair, PPO's length"
ARMS = ("PPO", LONG, SHORT, "repair", "IIF")


@dataclass
class FirstStep:
    """A repair hook: learn from one kind of advantages with the other's length of first step.

    Attributes:
        repair: makes the repaired advantages.
        learning: "estimated" or "repaired": which are learned from.
        notes: by round: `stretch`, length of repair's first step over that of the estimates';
            `cosine` between the two.
    """

    repair: Repair
    learning: str
    notes: list[dict[str, float]] = field(default_factory=list)

    def __call__(self, agent: PPO, rollout: Rollout) -> Rollout:
        """Set the coming update's rate; return what it learns from."""
        repaired = self.repair(agent, rollout)
        plain, other = (first_step(agent.policy, x) for x in (rollout, repaired))
        stretch = float(other.norm() / plain.norm())
        cosine = float(torch.cosine_similarity(plain, other, dim=0))
        self.notes.append({"stretch": stretch, "cosine": cosine})
        rate = agent.config.critic_lr or agent.config.lr  # the task's: the critic keeps it
        estimated = self.learning == "estimated"
        lr = rate * (stretch if estimated else 1 / stretch)
        agent.config = replace(agent.config, lr=lr, critic_lr=rate)
        return rollout if estimated else repaired


def grid(profile: str) -> list[Trial]:
    """PPO, repair and IIF as in `pace`, and the first two with each other's length of step."""

    def arms(task: str) -> dict[str, Settings]:
        settings = partial(arm_settings, task, profile)
        crossed: dict[str, Any] = {"critic_lr": TASKS[task].lr, "repair": GENTLE}
        return {
            "PPO": settings(),
            LONG: settings(**crossed) | {"learning": "estimated"},
            SHORT: settings(**crossed) | {"learning": "repaired"},
            "repair": settings(repair=GENTLE),
            "IIF 50 %" if task in LUCKY else "IIF": settings(iif(TASKS[task].drop)),
        }

    return paired_trials(profile, SEEDS, arms)


def run(trial: Trial) -> pd.DataFrame:
    """The history of one run; with crossed lengths also `stretch` and `cosine` by round."""
    if "learning" not in trial.settings:
        return learning.run(trial)
    hook = FirstStep(Repair(**trial.settings["repair"]), trial.settings["learning"])
    return learning.run(trial, hook).join(pd.DataFrame(hook.notes))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table against PPO, and what length and direction are worth.

    `over_length`: mean return over the rounds, less that of the arm with the same length of first
    step and the estimates' direction (IIF: less PPO's), paired by seed; `over_iif`: the saving
    SE_ave less IIF's, in percent; `stretch` and `cosine`: medians over rounds.
    """
    rows = same_names(rows)
    found = paired_table(rows, ARMS, tasks=SEEDS)
    base = {LONG: LONG, "repair": LONG}
    own = every_curve(rows, found)
    saved, area = savings(own), areas(own)
    more = [
        with_interval("over_length", (area[task, arm] - area[task, base.get(arm, "PPO")]).dropna())
        | with_interval("over_iif", (saved[task, arm] - saved[task, "IIF"]).dropna())
        for task, arm in own
    ]
    medians = rows.groupby(["task", "arm"])[["stretch", "cosine"]].median().reset_index()
    return found.join(pd.DataFrame(more)).merge(medians, on=["task", "arm"])


def figure(rows: pd.DataFrame) -> Figure:
    """Mean return over the rounds, less that of PPO with the same seed."""
    found = table(rows)
    found = found[~found.arm.isin(("PPO", "IIF"))]
    return intervals(found, "gain_area", "mean return less PPO's", tasks=SEEDS)


STRETCH = Study(
    "stretch",
    "Is repair more than a longer step?",
    grid,
    run,
    table,
    figure,
    borrows=("pace", "six_environments", "slippery", "repair"),
)
