"""What a study is: trials declared before any of them runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

PROFILES = ("smoke", "quick", "full")


@dataclass(frozen=True)
class Trial:
    """One run of a study, independent of all others.

    Attributes:
        task: a task of the course.
        arm: what is compared, such as "PPO" or "IIF".
        seed: governs everything random in the trial; arms of one seed are a pair.
        settings: everything else the trial depends on, as plain JSON values.
    """

    task: str
    arm: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """File name of the trial: readable, and different for different settings."""
        text = json.dumps(self.settings, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        arm = "".join(c if c.isalnum() else "-" for c in self.arm)
        return f"{self.task}_{arm}_{self.seed}_{digest}"


@dataclass(frozen=True)
class Study:
    """An experiment.

    Attributes:
        name: what commands and files call it.
        question: what it asks, in one line.
        grid: all trials, by profile ("smoke", "quick" or "full").
        run: one trial to its tidy rows; task, arm and seed are added to them.
        table: the rows of all trials to the study's table.
        figure: the rows of all trials to the study's figure.
        borrows: studies that run the same function; their finished trials count here too, where
            task, arm, seed and settings are the same.
        folders: parts of lda_lib beside its own modules that decide what a trial computes.
        needs: distributions beside the usual ones whose versions belong to the provenance.
    """

    name: str
    question: str
    grid: Callable[[str], list[Trial]]
    run: Callable[[Trial], pd.DataFrame]
    table: Callable[[pd.DataFrame], pd.DataFrame]
    figure: Callable[[pd.DataFrame], Figure]
    borrows: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def trials(
        self,
        profile: str = "full",
        seeds: list[int] | None = None,
        tasks: list[str] | None = None,
    ) -> list[Trial]:
        """The declared trials, in the order of their seeds; only those of `seeds` and `tasks`.

        Raises:
            ValueError: the profile, a task, or a seed of these tasks is not declared.
        """
        if profile not in PROFILES:
            raise ValueError(f"profile: {profile!r}, expected one of {PROFILES}")
        chosen = self.grid(profile)
        if tasks is not None:
            _expect_some("tasks", tasks, {t.task for t in chosen})
            chosen = [t for t in chosen if t.task in tasks]
        if seeds is not None:
            _expect_some("seeds", seeds, {t.seed for t in chosen})
            chosen = [t for t in chosen if t.seed in seeds]
        return sorted(chosen, key=lambda t: t.seed)  # stable: complete pairs arrive early


def _expect_some(name: str, asked: Collection[Any], known: Collection[Any]) -> None:
    if not asked or set(asked) - set(known):
        raise ValueError(
            f"{name}: {sorted(set(asked) - set(known))}, expected some of {sorted(known)}"
        )
