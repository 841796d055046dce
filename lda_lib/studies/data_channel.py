"""Do local scores predict what a removal does rounds later, frozen and collected again?

A run of PPO stands before the update of round k. Random sets of its records are left out, one set
at a time, and every shortened run goes on for h = 0 to 5 further rounds beside the full one, in two
ways (`lda_lib.channel`) and in two futures: the run's own random numbers from the update on, and
others. The effect of a set is the exact J of the full run minus that of the shortened one.

What a local score can know of it is measured by rank correlation within a run and a future, between
the effect of a set and the sum of its records' scores. Two yardsticks stand beside the scores: the
set's true effect in round k itself (what a perfect local method would say), and its effect after
equally many rounds in the other future (how much of the effect is a property of the set at all).
"""

from __future__ import annotations

import copy
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from ..attribution import influence
from ..channel import continuations, exact_returns, same_records
from ..fidelity import floors
from ..filters import agent_scores
from ..groundtruth import random_subsets
from ..metrics import confidence_interval
from ..plots import COLOURS, LINES, MARKERS, use_style
from ..ppo import PPO
from ..rollout import Rollout
from ..step import Trace
from ..targets import ExactReturn, Return
from .study import Study, Trial

MODES = ("frozen", "again")
FUTURES = ("own", "other")
SCORES = ("score of f_return", "score of J", "unrolled J")
FLOORS = ("arrivals", "random", "|A|", "|TD error|", "sign(A)")
LOCAL, CEILING = "effect at h = 0", "the other future"
PREDICTORS = (*SCORES, LOCAL, CEILING, *FLOORS)

# declared before the run: seeds from 400 (chapter 7 looks at their first buffers), sets of each
# size for each seed, and per task the rounds k and the shares of the records left out
SEEDS, SUBSETS, FURTHER = 8, 26, 5
DECLARED: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "FrozenLake": ((4, 8), (0.5, 0.1)),
    "FrozenLakeSlippery": ((40,), (0.5,)),
}


def grid(profile: str) -> list[Trial]:
    """A trial is one round of one run."""
    seeds, subsets, further = {
        "full": (SEEDS, SUBSETS, FURTHER),
        "quick": (2, 12, 3),
        "smoke": (1, 4, 1),
    }[profile]
    trials = []
    for task, (rounds, removed) in DECLARED.items():
        if profile != "full" and task != "FrozenLake":
            continue
        for k in rounds:
            settings: dict[str, Any] = {"round": k, "removed": list(removed)}
            settings |= {"subsets": subsets, "further": further}
            if profile == "smoke":
                settings["agent"] = {"n_steps": 256, "epochs": 2}
            trials += [Trial(task, f"round {k}", 400 + s, settings) for s in range(seeds)]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """One row per set and future; for every h its effects and how far the data have parted.

    Columns: `round`, `removed` (share of the records), `subset`, `future`; the sums over the set of
    each of SCORES and FLOORS; and for each h `J_h` of the full run, `frozen_h`, `again_h` (effects:
    J of the full run minus that of the shortened one) and `same_h` (share of places in the buffer
    with the same state and action in both, when each collects its own).
    """
    s = trial.settings
    agent = PPO(trial.task, seed=trial.seed, compile=False, **s.get("agent", {}))
    agent.learn(s["round"] - 1, episodes=0, evaluate_every=s["round"], progress=False)
    rollout, n = agent.collect(), agent.config.n_steps
    rng = np.random.default_rng((trial.seed, s["round"]))
    known = predictors(agent, rollout, rng)
    keep = [random_subsets(n, 1 - share, s["subsets"], rng) for share in s["removed"]]
    everyone = torch.cat([torch.ones(1, n, dtype=torch.bool), *keep])
    found = {
        future: follow(agent, rollout, everyone, s["further"], dice)
        for future, dice in zip(FUTURES, (trial.seed, 10_000 + trial.seed), strict=True)
    }
    sums = {name: (~everyone).double() @ score for name, score in known.items()}
    rows = []
    for i in range(1, len(everyone)):
        share, subset = divmod(i - 1, s["subsets"])
        about: dict[str, Any] = {"round": s["round"], "removed": s["removed"][share]}
        about |= {"subset": subset} | {k: float(f"{x[i]:.5g}") for k, x in sums.items()}
        for future, columns in found.items():
            rows.append(
                about
                | {"future": future}
                | {name: float(f"{values[i]:.5g}") for name, values in columns.items()}
            )
    return pd.DataFrame(rows)


def predictors(agent: PPO, rollout: Rollout, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """What can be said of each record before its round, (n,) float64 each."""
    trace = copy.deepcopy(agent).update(rollout, trace=True)
    assert isinstance(trace, Trace)
    exact = ExactReturn()
    scores = {
        "score of f_return": agent_scores(agent, rollout, Return()),
        "score of J": agent_scores(agent, rollout, exact, normalize="rollout"),
        "unrolled J": influence(agent.policy, rollout, exact, trace=trace, estimator="unrolled"),
        "arrivals": rollout.reward > 0,
    }
    scores |= floors(rollout, agent.config.gamma, agent.config.lam, rng)
    return {name: scores[name].double() for name in (*SCORES, *FLOORS)}


def follow(
    agent: PPO, rollout: Rollout, keep: torch.Tensor, further: int, dice: int
) -> dict[str, np.ndarray]:
    """Both ways on from one round in one future; row 0 of `keep` is the full run. Each (r,)."""
    out: dict[str, np.ndarray] = {}
    diary: list[Rollout] = []
    for h, rollouts, params in continuations(agent, rollout, keep, further, dice=dice):
        J = exact_returns(agent, rollout, params).numpy()
        out |= {f"J_{h}": np.full(len(J), J[0]), f"again_{h}": J[0] - J}
        out[f"same_{h}"] = np.broadcast_to([same_records(rollouts[0], x) for x in rollouts], len(J))
        if h:
            diary.append(rollouts[0])
    for h, _, params in continuations(agent, rollout, keep, further, diary=diary, dice=dice):
        J = exact_returns(agent, rollout, params).numpy()
        out[f"frozen_{h}"] = J[0] - J
    return out


def long(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per set, future, mode and h: `effect`, beside LOCAL and the columns of the set."""
    names = [str(c) for c in rows]
    further = [int(c.removeprefix("again_")) for c in names if c.startswith("again_")]
    fixed = [c for c in names if not c.startswith(("again_", "frozen_", "J_", "same_"))]
    parts = []
    for h in further:
        for mode in MODES:
            values: dict[str, Any] = {"mode": mode, "h": h, "effect": rows[f"{mode}_{h}"]}
            values |= {LOCAL: rows[f"{mode}_0"], "J": rows[f"J_{h}"], "same": rows[f"same_{h}"]}
            parts.append(rows[fixed].assign(**values))
    return pd.concat(parts, ignore_index=True)


RUN = ["task", "round", "removed", "mode", "h", "seed"]  # what a rank correlation is within


def correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of each predictor with the effect, one row per run: mean of both futures.

    CEILING is the correlation of the two futures' effects with one another. nan where a predictor
    or an effect is the same for all sets of the run.
    """
    out = []
    further = [h for h in range(100) if f"again_{h}" in rows]
    effects = [f"{mode}_{h}" for mode in MODES for h in further]
    known = [*SCORES, *FLOORS]
    width = len(known) + len(effects)
    run = ["task", "round", "removed", "seed"]
    for key, group in rows.groupby(run, sort=False):
        about = dict(zip(run, tuple(key)))
        ordered = group.sort_values(["future", "subset"])
        found = ordered[known + effects].to_numpy(float).reshape(len(FUTURES), -1, width)
        ranks = stats.rankdata(found, axis=1)
        centred = ranks - ranks.mean(1, keepdims=True)
        with np.errstate(invalid="ignore"):
            z = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        told, effect = z[..., : len(known)], z[..., len(known) :]
        mean = np.einsum("fsk,fse->ke", told, effect) / len(FUTURES)
        local = [effects.index(f"{mode}_0") for mode in MODES for _ in further]
        values = dict(zip(known, mean))
        values[LOCAL] = (effect[..., local] * effect).sum(1).mean(0)
        values[CEILING] = (effect[0] * effect[1]).sum(0)
        for name in PREDICTORS:
            for e, value in zip(effects, values[name], strict=True):
                mode, h = e.split("_")
                cell = {"mode": mode, "h": int(h), "predictor": name, "value": float(value)}
                out.append(about | cell)
    return pd.DataFrame(out)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task, round, share, mode, h and predictor: rank correlation with the effect, over runs.

    `value` is the mean over runs, `low` and `high` its 95 % confidence interval over them (`seeds`
    runs, `subsets` sets in all). `effect` is the mean effect, `spread` the standard deviation
    between the sets of a run.
    """
    out: list[dict[str, Any]] = []
    by, each = RUN[:-1], long(rows)
    mean = each.groupby(by).effect.mean()
    spread = each.groupby([*RUN, "future"]).effect.std().groupby(by).mean()
    for key, group in correlations(rows).groupby([*by, "predictor"], sort=False):
        values, cell = group.value.dropna(), tuple(key)[:-1]
        low_high = confidence_interval(values) if len(values) else (np.nan,) * 3
        out.append(
            dict(zip([*by, "predictor"], tuple(key)))
            | dict(zip(("value", "low", "high"), low_high))
            | {"seeds": len(values), "subsets": len(values) * rows.subset.nunique()}
            | {"effect": mean.at[cell], "spread": spread.at[cell]}
        )
    return pd.DataFrame(out)


SHOWN = ("score of f_return", "score of J", LOCAL, "arrivals", CEILING)


def figure(rows: pd.DataFrame, shown: tuple[str, ...] = SHOWN) -> Figure:
    """Rank correlation with the effect h rounds later; a column per round and share."""
    use_style()
    found = table(rows)
    cells = list(found.groupby(["task", "round", "removed"], sort=False))
    fig, axes = plt.subplots(
        2,
        len(cells),
        figsize=(2.6 * len(cells) + 2.2, 5.4),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    titles = {"frozen": "frozen", "again": "collected again"}
    for column, ((task, k, removed), cell) in zip(axes.T, cells, strict=True):
        for ax, mode in zip(column, MODES, strict=True):
            for j, name in enumerate(shown):
                at = cell[(cell["mode"] == mode) & (cell.predictor == name)].set_index("h")
                style = {"color": COLOURS[j], "linestyle": LINES[j], "marker": MARKERS[j]}
                x = at.index + 0.06 * (j - 2)
                ax.plot(x, at.value, ms=4, lw=1.5, label=name, **style)
                ax.vlines(x, at.low, at.high, color=COLOURS[j], lw=1, alpha=0.6)
            ax.axhline(0, color="0.5", lw=0.8)
        column[0].set_title(f"{task}\nround {k}, {removed:.0%} left out", fontsize=9)
        column[1].set(xlabel="further rounds h", xticks=range(int(found.h.max()) + 1))
    for ax, mode in zip(axes[:, 0], MODES, strict=True):
        ax.set_ylabel(f"{titles[mode]}\nrank correlation")
    axes[0, -1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    fig.tight_layout()
    return fig


DATA_CHANNEL = Study(
    "data_channel",
    "How long do local scores predict the effect of a removal, frozen and collected again?",
    grid,
    run,
    table,
    figure,
)
