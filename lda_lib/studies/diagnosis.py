"""Are the advantages of bottom records wrong, and is influence needed to find them?

Records of plain PPO at a few rounds, with their scores, A_hat and A_true: exact for every record
where the task has a finite model, Monte Carlo from replayed states for a declared sample elsewhere.
A `rule` gives every record a value; its bottom records are those with the lowest values. Influence
is one rule among others that need no gradient. Five kinds of rows:

kind         one row per
group        rule and group: how often, and by how much, its estimates are wrong
correlation  rule: rank correlation of its values with A_hat * A_true
pattern      pattern: its share among the bottom records of `released` and in the whole buffer
return       buffer: expected return of the policy that made it
record       record of the bottom or top of `released` (LunarLander: every sampled record)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..attribution import influence
from ..diagnosis import (
    matched,
    peers_advantage,
    rank_correlation,
    rate,
    replayed_advantage,
    sign_flips,
)
from ..exact import exact_advantage
from ..filters import agent_scores, lowest
from ..loss import standardise
from ..patterns import patterns_of
from ..ppo import PPO
from ..rollout import Rollout
from ..scores import cross_fitted
from ..targets import Return
from .diagnosis_tables import figure, table
from .study import Study, Trial

SEEDS = range(310, 315)  # none of them had been looked at
# task: rounds looked at, size of a group, continuations per record (0: exact), random sample
DECLARED: dict[str, tuple[list[int], int, int, int]] = {
    "FrozenLake": ([2, 5, 10, 20], 100, 0, 0),
    "FrozenLakeSlippery": ([2, 5, 10], 100, 0, 0),
    "MiniGrid": ([2, 5, 10, 20], 100, 0, 0),
    "LunarLander": ([2, 5, 10], 30, 24, 80),
}
RULES = ("released", "raw", "crossfit", "estimate", "size", "peers")
SHOWN = 20  # bottom and top records kept one by one


def grid(profile: str) -> list[Trial]:
    """Plain PPO, five seeds."""
    trials = []
    for task, (rounds, size, k, sample) in DECLARED.items():
        if profile != "full":
            rounds, k, sample = rounds[:1], min(k, 2), min(sample, 8)
            size = 4 if k else size
        settings = {"rounds": rounds, "group": size, "k": k, "sample": sample, "preset": "paired"}
        seeds = {"full": 5, "quick": 2, "smoke": 1}[profile]
        if profile != "smoke" or task in ("FrozenLake", "LunarLander"):
            trials += [Trial(task, "PPO", s, settings) for s in SEEDS[:seeds]]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """Train, and examine the buffers of the declared rounds before they are learnt from."""
    s = trial.settings
    agent = PPO(trial.task, seed=trial.seed, preset=s["preset"], compile=False)
    found: list[dict[str, Any]] = []
    for k in range(1, max(s["rounds"]) + 1):
        rollout = agent.collect()
        if k in s["rounds"]:
            found += [{"round": k} | row for row in examine(agent, rollout, s)]
        if k < max(s["rounds"]):
            agent.update(rollout)
    rows = pd.DataFrame(found).map(lambda x: float(f"{x:.4g}") if isinstance(x, float) else x)
    whole = ["count", "index", "t", "state", "action"]
    return rows.astype(dict.fromkeys(whole, "Int64"))


def rules(agent: PPO, rollout: Rollout) -> dict[str, Tensor]:
    """Values by rule, (n,) each, float64; low values are suspected.

    released   influence on Return(), normalised as released
    raw        the same with the raw estimate
    crossfit   raw, each half of the episodes judged by the target of the other half
    estimate   A_hat
    size       -|A_hat|
    peers      A_hat times the mean A_hat of the other records with the same observation and action
    """
    a_hat = rollout.advantage
    values = {
        "released": agent_scores(agent, rollout),
        "raw": agent_scores(agent, rollout, normalize="none"),
        "crossfit": cross_fitted(agent.policy, rollout, folds=2, normalize="none"),
        "estimate": a_hat,
        "size": -a_hat.abs(),
        "peers": a_hat * peers_advantage(rollout),
    }
    return {name: x.double() for name, x in values.items()}


def alignment(agent: PPO, rollout: Rollout) -> Tensor:
    """< grad log pi_i, v >, (n,): how much the buffer wants the action, whatever it was worth."""
    ones = replace(rollout, advantage=torch.ones_like(rollout.advantage))
    return influence(agent.policy, ones, Return(reference=rollout), normalize="none").double()


def examine(agent: PPO, rollout: Rollout, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows of one buffer."""
    n, size, k = len(rollout), settings["group"], settings["k"]
    rng = agent.rng("diagnosis")
    values = rules(agent, rollout)
    a_hat = rollout.advantage.double()
    groups: dict[tuple[str, str], Tensor] = {}
    for rule in ("released", "size") if k else RULES:
        groups[rule, "bottom"] = lowest(values[rule], size, rng)
    for rule in ("released",) if k else ("released", "raw", "crossfit"):
        groups[rule, "top"] = lowest(-values[rule], size, rng)
        groups[rule, "matched"] = matched(a_hat, groups[rule, "bottom"])
    everyone = torch.arange(n)
    if k:
        everyone = torch.from_numpy(rng.choice(n, settings["sample"], replace=False))
    groups["any", "all"] = everyone

    truth, se = torch.full((n,), torch.nan).double(), torch.zeros(n).double()
    if k:
        sampled = torch.cat(list(groups.values())).unique()
        truth[sampled], se[sampled] = replayed_advantage(
            agent.policy, rollout, sampled, k=k, gamma=agent.config.gamma, seed=agent.seed
        )
    else:
        truth = exact_advantage(agent.policy, rollout, agent.config.gamma)

    rows: list[dict[str, Any]] = [{"kind": "return", "value": agent.evaluate(20).mean}]
    rows += [
        {"kind": "group", "rule": rule, "group": group, **_errors(rollout, index, truth, se)}
        for (rule, group), index in groups.items()
    ]
    episode = rollout.episode[everyone]
    pairs = {rule: (x, a_hat * truth) for rule, x in values.items() if not (k and rule == "peers")}
    pairs["alignment ~ truth"] = alignment(agent, rollout), truth
    pairs["estimate ~ truth"] = a_hat, truth
    for name, (x, y) in pairs.items():
        rho = rank_correlation(x[everyone], y[everyone], episode, resamples=199)
        row = {"kind": "correlation", "rule": name, "value": rho.mean}
        rows.append(row | {"low": rho.low, "high": rho.high, "count": len(everyone)})
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[groups["released", "bottom"]] = True
    patterns = {name: rate(chosen, f(rollout)) for name, f in patterns_of(rollout.task).items()}
    rows += [
        {"kind": "pattern", "rule": "released", "name": name, **found._asdict()}
        for name, found in patterns.items()
    ]
    rows += _records(rollout, values["released"], truth, se, groups, bool(k))
    return rows


def _errors(rollout: Rollout, index: Tensor, truth: Tensor, se: Tensor) -> dict[str, Any]:
    """How wrong the estimates of some records are.

    flips: share with sign(A_hat) != sign(A_true); push_flips: the same for the standardised
    A_hat, which PPO pushes with. Where A_true is estimated, flips count among `resolved` records
    only, |A_true| above two standard errors. rms_error: of A_hat - A_true, less the noise of
    A_true. agreement: mean of sign(A_hat) * A_true, which noise in A_true leaves unbiased.
    """
    a_hat = rollout.advantage.double()
    pushed, peers = standardise(a_hat)[index], peers_advantage(rollout)[index]
    a_hat, truth, se = a_hat[index], truth[index], se[index]
    resolved = truth.abs() > (2 * se).clamp(min=1e-9)
    measured = bool((se > 0).any())
    who = resolved if measured else torch.ones_like(resolved)

    def share(holds: Tensor) -> float:
        return float(holds[who].double().mean()) if who.any() else float("nan")

    noise = float((se**2).mean())
    return {
        "count": len(index),
        "resolved": float(resolved.double().mean()),
        "flips": share(sign_flips(a_hat, truth)),
        "push_flips": share(sign_flips(pushed, truth)),
        "rms_error": max(float(((a_hat - truth) ** 2).mean()) - noise, 0.0) ** 0.5,
        "rms_truth": max(float((truth**2).mean()) - noise, 0.0) ** 0.5,
        "mean_size": float(a_hat.abs().mean()),
        "agreement": float((a_hat.sign() * truth).mean()),
        "outvoted": float((a_hat * peers < 0).double().mean()),
    }


def _records(
    rollout: Rollout,
    scores: Tensor,
    truth: Tensor,
    se: Tensor,
    groups: dict[tuple[str, str], Tensor],
    sampled: bool,
) -> list[dict[str, Any]]:
    """Single records, bottom and top (and the random sample), named by their index."""
    shown = None if sampled else SHOWN
    kept = {name: groups["released", name][:shown] for name in ("bottom", "top")}
    if sampled:
        kept["all"] = groups["any", "all"]
    return [
        {
            "kind": "record",
            "rule": "released",
            "group": group,
            "index": int(rollout.index[i]),
            "t": int(rollout.t[i]),
            "state": int(rollout.state[i]),
            "action": int(rollout.action[i]),
            "score": float(scores[i]),
            "a_hat": float(rollout.advantage[i]),
            "a_true": float(truth[i]),
            "a_se": float(se[i]),
        }
        for group, index in kept.items()
        for i in index.tolist()
    ]


DIAGNOSIS = Study(
    "diagnosis",
    "Do bottom records have wrong advantages, more often than records of equal estimate?",
    grid,
    run,
    table,
    figure,
)
