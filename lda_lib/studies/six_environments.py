"""IIF against PPO and a random drop of the same size, on the paper's six environments."""

from __future__ import annotations

from functools import partial

from ..tasks import TASKS
from .learning import arm_settings, iif, paired_table, panels, random_like, run
from .study import Study, Trial

ARMS = ("PPO", "IIF", "random drop")

SEEDS = {  # declared before the run, from 0
    "FrozenLake": 20,
    "Acrobot": 20,
    "MiniGrid": 5,
    "LunarLander": 5,
    "BipedalWalker": 5,
    "Highway": 3,
}


def grid(profile: str) -> list[Trial]:
    """The paper's p and rounds."""
    trials = []
    for task, seeds in SEEDS.items():
        if profile == "smoke" and task not in ("FrozenLake", "Acrobot"):
            continue
        filtered = iif(TASKS[task].drop)
        keep = dict(zip(ARMS, (None, filtered, random_like(filtered)), strict=True))
        trials += [
            Trial(task, arm, s, arm_settings(task, profile, keep[arm]))
            for s in range(seeds if profile == "full" else 2)
            for arm in ARMS
        ]
    return trials


SIX_ENVIRONMENTS = Study(
    "six_environments",
    "Does IIF learn in fewer rounds than PPO, and than dropping as many records at random?",
    grid,
    run,
    partial(paired_table, arms=ARMS, tasks=SEEDS),
    partial(panels, arms=ARMS, tasks=SEEDS),
)
