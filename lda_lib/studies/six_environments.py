"""IIF against PPO and a random drop of the same size, on the paper's six environments."""

from __future__ import annotations

from functools import partial

from .learning import Settings, arm_settings, paired_trials, papers_arms, run
from .learning_tables import paired_table, panels
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

    def arms(task: str) -> dict[str, Settings]:
        return {arm: arm_settings(task, profile, x) for arm, x in papers_arms(task).items()}

    return paired_trials(profile, SEEDS, arms, smoke=("FrozenLake", "Acrobot"))


SIX_ENVIRONMENTS = Study(
    "six_environments",
    "Does IIF learn in fewer rounds than PPO, and than dropping as many records at random?",
    grid,
    run,
    partial(paired_table, arms=ARMS, tasks=SEEDS),
    partial(panels, arms=ARMS, tasks=SEEDS),
)
