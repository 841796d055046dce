"""The paper's numbers beside ours, with a verdict by rule.

`data/paper/values.csv` holds what Hu et al. (2025) report: value and, where given, its +-
(`spread`). The rule looks at two intervals: the paper's value +- spread, and ours, 95 % over seeds.

agrees          they overlap
weaker          ours lies wholly below the paper's
stronger        ours lies wholly above
not comparable  ours has no interval worth the name: fewer than three seeds have run
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..results import DATA
from . import STUDIES
from .store import Store

LEAST_SEEDS = 3  # the interval of two is 13 standard errors wide each way: it excludes nothing


def compare(profile: str = "full") -> pd.DataFrame:
    """One row per number of the paper: paper, spread, ours, low, high, seeds, verdict."""
    told = pd.read_csv(DATA / "paper" / "values.csv", keep_default_na=False, na_values=[""])
    told["variant"] = told.variant.fillna("")
    ours = pd.concat([_ours(name, profile) for name in told.study.unique()], ignore_index=True)
    both = told.merge(ours, on=["study", "variant", "task", "arm", "metric"], how="left")
    both.loc[both.seeds < LEAST_SEEDS, ["low", "high"]] = np.nan
    both["verdict"] = [verdict(*x) for x in both[["value", "spread", "low", "high"]].to_numpy()]
    return both.rename(columns={"value": "paper"})[
        "study where task variant arm metric paper spread ours low high seeds verdict".split()
    ]


def verdict(value: float, spread: float, low: float, high: float) -> str:
    """The rule of this module; a spread that the paper does not give counts as 0."""
    if np.isnan(low) or np.isnan(high):
        return "not comparable"
    spread = 0.0 if np.isnan(spread) else spread
    if high < value - spread:
        return "weaker"
    return "stronger" if low > value + spread else "agrees"


def _ours(name: str, profile: str) -> pd.DataFrame:
    """A study's table, one row per number with its interval."""
    columns = "study variant task arm metric ours low high seeds".split()
    store = Store(name, profile)
    declared = {t.key for t in STUDIES[name].trials(profile)}
    found = declared & set(store.finished()[0])
    if not found:
        return pd.DataFrame(columns=columns).astype({c: float for c in columns[-4:]})
    table = STUDIES[name].table(store.rows(found)).rename(columns={"method": "arm"})
    out = []
    for _, row in table.iterrows():
        about = [name, row.get("variant", ""), row["task"], row["arm"]]
        for metric in (c.removesuffix("_low") for c in table.columns if c.endswith("_low")):
            numbers = [row[metric], row[f"{metric}_low"], row[f"{metric}_high"]]
            out.append([*about, metric, *numbers, row.get("seeds", np.nan)])
    return pd.DataFrame(out, columns=columns)
