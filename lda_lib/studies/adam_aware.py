"""Does a filter gain by scores that know Adam? IIF with both, at Adam's usual and at tuned rates.

Rates are chosen on seeds of their own, one for each arm; the comparison is reported on other seeds:
all arms at the usual rate and at the larger one that is best for some, and each at its best.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..filters import IIF
from ..loss import Params
from ..ppo import PPO
from ..rollout import Rollout
from . import learning
from .learning import FILTERS, Filter, arm_settings, iif, random_like
from .learning_tables import intervals, paired_table
from .study import Study, Trial


@dataclass
class ShuffledAdam:
    """IIF with Adam's scores, its second moments shuffled among the policy's parameters.

    The control for "any other change of the ranking would do": D has its values, in wrong places.

    Attributes:
        drop: as in `IIF`.
        scores: of the last rollout, (n,).
    """

    drop: float
    scores: Tensor | None = None

    def __call__(self, agent: PPO, rollout: Rollout) -> Tensor:
        """Score and choose, (n,) bool."""
        settings: dict[str, Any] = {}
        if float(agent.opt_state.t) > 0:
            moved = shuffled(agent.opt_state.v, agent.rng("shuffled moments"))
            settings["opt_state"] = agent.opt_state._replace(v=moved)
        inner = IIF(self.drop, settings=settings)
        keep = inner(agent, rollout)
        self.scores = inner.scores
        return keep


def shuffled(moments: Params, rng: np.random.Generator) -> Params:
    """The same numbers in other places; the value network's, which no score reads, stay."""
    names = [k for k in moments if not k.startswith("v.")]
    every = torch.cat([moments[k].flatten() for k in names])
    every = every[torch.from_numpy(rng.permutation(len(every)))]
    parts = every.split([moments[k].numel() for k in names])
    return moments | {k: x.view_as(moments[k]) for k, x in zip(names, parts, strict=True)}


FILTERS["ShuffledAdam"] = ShuffledAdam  # so that settings can name it

TASK, ROUNDS = "FrozenLake", 12
USUAL = 3e-4
RATES = (USUAL, 1e-3, 3e-3)
TUNING_SEEDS, SEEDS = range(100, 110), range(20)
AWARE = "IIF, Adam-aware"
SHUFFLED = "IIF, shuffled D"  # added after the other arms had been seen, to test an explanation
ARMS: dict[str, Filter | None] = {
    "PPO": None,
    "IIF": iif(0.5),
    AWARE: iif(0.5, settings={"adam_aware": True}),
    "random drop": random_like(iif(0.5)),
    SHUFFLED: ["ShuffledAdam", {"drop": 0.5}],
}


def at(arm: str, lr: float) -> str:
    """The name of an arm at a rate."""
    return f"{arm} at {lr:g}"


def _trials(cases: Iterable[tuple[str, float]], seeds: range, profile: str) -> list[Trial]:
    cases = list(dict.fromkeys(cases))
    return [
        Trial(
            TASK,
            at(arm, lr),
            s,
            arm_settings(TASK, profile, ARMS[arm], ROUNDS, optimizer="adam", lr=lr),
        )
        for s in (seeds if profile == "full" else seeds[:2])
        for arm, lr in cases
    ]


def tuning_grid(profile: str) -> list[Trial]:
    """PPO and both filters at every rate."""
    rates = RATES if profile != "smoke" else RATES[:1]
    return _trials([(arm, r) for r in rates for arm in list(ARMS)[:3]], TUNING_SEEDS, profile)


def _table(rows: pd.DataFrame, settings: dict[str, dict[str, float]]) -> pd.DataFrame:
    """The paired table of each setting, arm -> rate, against the PPO of that setting."""
    parts = []
    for name, rates in settings.items():
        arms = {at(arm, lr): arm for arm, lr in rates.items()}
        mine = rows[rows.arm.isin(arms)]
        if len(mine):
            part = paired_table(mine.assign(arm=mine.arm.map(arms)), list(ARMS))
            part.insert(1, "setting", name)
            part.insert(3, "lr", part.arm.map(rates))
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _figure(found: pd.DataFrame) -> Figure:
    label = "mean return over the rounds,\nminus that of PPO"
    return intervals(found[found.arm != "PPO"], "gain_area", label, by="setting", split="arm")


def tuning_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per rate the paired table of PPO and both filters."""
    return _table(rows, {f"{lr:g}": dict.fromkeys(ARMS, lr) for lr in RATES})


def tuning_figure(rows: pd.DataFrame) -> Figure:
    """What each filter gains at each rate."""
    return _figure(tuning_table(rows))


ADAM_AWARE_TUNING = Study(
    "adam_aware_tuning",
    "Which rate of Adam is best for PPO and for both filters? On seeds that are not reported.",
    tuning_grid,
    learning.run,
    tuning_table,
    tuning_figure,
)

# Chosen by the mean area under the curve over the tuning seeds, before any other seed was run.
BEST = {"PPO": 1e-3, "IIF": USUAL, AWARE: 1e-3}
BEST |= {"random drop": BEST["IIF"], SHUFFLED: BEST[AWARE]}  # controls: at the rate of their filter
SETTINGS = {
    "usual rate": dict.fromkeys(ARMS, USUAL),
    "1e-3": dict.fromkeys(ARMS, 1e-3),
    "each at its best": BEST,
}


def grid(profile: str) -> list[Trial]:
    """All arms at both rates that are best for one of them."""
    return _trials([c for rates in SETTINGS.values() for c in rates.items()], SEEDS, profile)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The paired table of each setting."""
    return _table(rows, SETTINGS)


def figure(rows: pd.DataFrame) -> Figure:
    """What each filter gains in each setting."""
    return _figure(table(rows))


ADAM_AWARE = Study(
    "adam_aware",
    "Does a filter whose scores know Adam help an agent that learns with Adam more?",
    grid,
    learning.run,
    table,
    figure,
)
