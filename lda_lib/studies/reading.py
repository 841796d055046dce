"""Reading a study: what is there, what is not yet, and its numbers as text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from . import STUDIES
from .store import Store, together


def rows_of(name: str, profile: str = "full") -> pd.DataFrame:
    """Rows of a study's finished trials, of those seeds of a task on which every arm is finished.

    Nothing is run. Arms are thus compared on the same seeds while a study is still under way.

    Returns:
        The rows; none, with the columns task, arm and seed, where no seed is complete.
    """
    trials, finished = STUDIES[name].trials(profile), Store(name, profile).finished()[0]
    missing = {(t.task, t.seed) for t in trials if t.key not in finished}
    whole = sorted(t.key for t in trials if (t.task, t.seed) not in missing)
    if not whole:
        return pd.DataFrame(columns=["task", "arm", "seed"])
    return together([finished[key] for key in whole])


def coverage(name: str, profile: str = "full") -> pd.DataFrame:
    """What of a study is finished: a row per declared task, in declared order.

    Returns:
        arms and seeds declared, trials declared and finished, core-hours of the finished ones.
    """
    finished = Store(name, profile).finished()[0]
    trials = STUDIES[name].trials(profile)
    out = []
    for task in dict.fromkeys(t.task for t in trials):
        mine = [t for t in trials if t.task == task]
        done = [finished[t.key] for t in mine if t.key in finished]
        out.append(
            {
                "task": task,
                "arms": len({t.arm for t in mine}),
                "seeds": len({t.seed for t in mine}),
                "trials": len(mine),
                "finished": len(done),
                "core_hours": sum(f.provenance["seconds"] for f in done) / 3600,
            }
        )
    return pd.DataFrame(out).set_index("task")


def told(name: str, profile: str = "full") -> str:
    """`coverage` as a sentence or two."""
    table = coverage(name, profile)
    whole = table.index[table.finished == table.trials].tolist()
    part = table.index[(table.finished > 0) & (table.finished < table.trials)].tolist()
    none = table.index[table.finished == 0].tolist()
    size = {t: f"{n} seed{'s' * (n != 1)}" for t, n in table.seeds.items()}
    arms = {t: f", {n} arms" if n > 1 else "" for t, n in table.arms.items()}
    said = [f"{task} ({size[task]}{arms[task]})" for task in whole]
    said += [f"{task} ({table.finished[task]} of {table.trials[task]} runs)" for task in part]
    text = f"Study {name}: {', '.join(said) or 'nothing finished yet'}."
    return text + (f" Declared and not run yet: {', '.join(none)}." if none else "")


def interval(mean: float, low: float, high: float, form: str = "+.1f") -> str:
    """An estimate with its interval, "+1.2 [+0.8, +1.6]"; without one, where there is none."""
    if np.isnan(low) or np.isnan(high):
        return f"{mean:{form}}"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def as_text(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Columns of a study's table with their intervals, as text.

    Args:
        table: with `_low` and `_high` beside some columns.
        columns: column -> format, such as {"se_ave": "+.0f"}; one without an interval stands alone.
    """
    out = {}
    for name, form in columns.items():
        nothing = pd.Series(np.nan, index=table.index)
        low, high = (table.get(f"{name}_{end}", nothing) for end in ("low", "high"))
        rows = zip(table[name], low, high, strict=True)
        out[name] = [interval(mean, a, b, form) for mean, a, b in rows]
    return pd.DataFrame(out, index=table.index)
