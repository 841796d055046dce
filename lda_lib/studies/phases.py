"""How a behaviour forms: the top records for one action in one state, round after round.

A behaviour is a state s and the action a that the final policy thinks best there. Which behaviours
are followed is a rule fixed before the run: the final policy lives one greedy episode (the first
evaluation seed), and the states at 0, 1/4, 1/2, 3/4 and all of its way are taken.

Every round's records are scored for f_action = log pi(a | s) at the policy that made them,
advantages standardised over the rollout, as the update uses them on average. Kinds of records, all
by that standardised advantage:

up      the same action, with an advantage above 0
down    another action, with one below 0
near    a state among the tenth of the round's records closest to s, in the embedding of the final
        policy; more than a tenth where many records share a state
top     the 50 records with the highest scores, those above 0 only

A share among the top records means something beside the share in the whole round (`base_`).
Roughness is that of the scores above 0 (as in Hu et al. 2025), with its mean and interval under
permutation of the scores; `contiguity` is roughness divided by that mean (1: as by chance), and
`contiguity_advantage` is the same for the bare advantages of the same records: what would be there
without any attribution, because neighbours in time and place have like advantages anyway.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..attribution import influence
from ..evaluation import EVALUATION_SEED
from ..loss import standardise
from ..plots import COLOURS, LINES, use_style
from ..policy import ActorCritic, make_actor
from ..ppo import PPO
from ..rollout import Rollout
from ..similarity import (
    contiguity,
    embeddings,
    permutation_baseline,
    roughness,
    similarity_graph,
)
from ..targets import Action
from ..tasks import Task
from .learning_tables import ordered, with_interval
from .study import Study, Trial

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
TOP = 50
NEAR = 0.1
RESAMPLES = 99
STAGES = {"before": (0.0, 0.5), "forming": (0.5, 0.9), "formed": (0.9, 1.0)}  # by pi(a | s)

# declared before the run: seeds from 0, rounds
DECLARED = {"FrozenLake": (5, 20), "Acrobot": (3, 20), "MiniGrid": (3, 40)}


def grid(profile: str) -> list[Trial]:
    """One unfiltered PPO run per trial."""
    trials = []
    for task, (seeds, rounds) in DECLARED.items():
        if profile == "smoke" and task != "FrozenLake":
            continue
        if profile != "full":
            seeds, rounds = 2, 2
        settings = {
            "rounds": rounds,
            "fractions": list(FRACTIONS),
            "top": TOP,
            "near": NEAR,
            "resamples": RESAMPLES,
            "ppo": {"preset": "paired", "compile": profile == "full"},
        }
        trials += [Trial(task, "PPO", s, settings) for s in range(seeds)]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """Train, then look back with the eyes of the final policy: a row per behaviour and round."""
    s = trial.settings
    agent = PPO(trial.task, seed=trial.seed, **s["ppo"])
    past = []
    for _ in range(s["rounds"]):
        rollout = agent.collect()
        past.append((copy.deepcopy(agent.policy), rollout))
        agent.update(rollout)
    final = agent.policy
    chosen = behaviours(final, agent.task, s["fractions"])
    rows = []
    for k, (policy, rollout) in enumerate(past, 1):
        points = embeddings(final, rollout)
        for number, (obs, action) in enumerate(chosen):
            here = embeddings(final, replace(rollout[0], obs=obs[None]))
            distance = np.linalg.norm(points - here, axis=1)
            target = Action(obs, action)
            scores = influence(policy, rollout, target, normalize="rollout")
            with torch.no_grad():
                p = float(target(policy, rollout).exp())
            row = {"behaviour": number, "action": action, "round": k, "p_action": p}
            row |= kinds(rollout, scores, action, distance, s["top"], s["near"])
            row |= smoothness(rollout, scores, points, s["resamples"])
            rows.append(row)
    table = pd.DataFrame(rows)
    decimals = dict.fromkeys(table.select_dtypes("float").columns.drop("max_abs"), 5)
    return table.round(decimals)


def behaviours(policy: ActorCritic, task: Task, fractions: list[float]) -> list[tuple[Tensor, int]]:
    """States at these fractions of the policy's own greedy episode, with its action there."""
    env, act = task.make(), make_actor(policy)
    no_noise = np.zeros((1, policy.arch.action_dim))
    raw, _ = env.reset(seed=EVALUATION_SEED)
    lived, over = [], False
    while not over:
        obs = task.encode(raw)
        action = int(act(obs[None], no_noise)[0])
        lived.append((torch.from_numpy(np.array(obs)), action))
        raw, _, terminated, truncated, _ = env.step(task.decode(action))
        over = terminated or truncated
    return [lived[round(f * (len(lived) - 1))] for f in fractions]


def kinds(
    rollout: Rollout, scores: Tensor, action: int, distance: np.ndarray, top: int, near: float
) -> dict[str, Any]:
    """Shares of the kinds of records among the top ones and among all, and the largest score."""
    advantage = standardise(rollout.advantage)
    same = rollout.action == action
    close = torch.from_numpy(distance <= np.quantile(distance, near))
    kind = {"up": same & (advantage > 0), "down": ~same & (advantage < 0), "near": close}
    best = scores.argsort(descending=True, stable=True)[:top]
    best = best[scores[best] > 0]
    largest = float(f"{scores.abs().max():.4g}")
    row: dict[str, Any] = {"positive": int((scores > 0).sum()), "max_abs": largest}
    for name, mask in kind.items():
        row[f"top_{name}"] = float(mask[best].float().mean()) if len(best) else np.nan
        row[f"base_{name}"] = float(mask.float().mean())
    return row


def smoothness(
    rollout: Rollout, scores: Tensor, points: np.ndarray, resamples: int
) -> dict[str, float]:
    """Roughness of the scores above 0 and what chance gives, on these records' own graph."""
    mask = (scores > 0).numpy()
    if mask.sum() < 3:
        nothing = ("roughness", "chance", "chance_low", "chance_high", "p_value", "contiguity")
        return dict.fromkeys((*nothing, "contiguity_advantage"), np.nan)
    graph, x = similarity_graph(points[mask]), scores.numpy()[mask].astype(float)
    advantage = standardise(rollout.advantage).numpy()[mask].astype(float)
    chance = permutation_baseline(x, graph, resamples=resamples)
    return {
        "roughness": roughness(x, graph),
        "chance": chance.mean,
        "chance_low": chance.low,
        "chance_high": chance.high,
        "p_value": chance.p_value,
        "contiguity": contiguity(x, graph),
        "contiguity_advantage": contiguity(advantage, graph),
    }


def stage(p_action: pd.Series) -> pd.Series:
    """How far a behaviour has formed, by pi(a | s): below 0.5, below 0.9, from 0.9 on."""
    edges = [low for low, _ in STAGES.values()] + [1.1]
    return pd.cut(p_action, edges, right=False, labels=list(STAGES)).astype(str)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task and stage: means over behaviours and rounds of a seed, then over seeds.

    `_low` and `_high`: 95 % confidence intervals over seeds. `like`: up or down. `smooth`: share of
    rounds in which chance is as smooth as the scores in at most 5 of 100 draws.
    """
    data = rows.assign(
        stage=stage(rows.p_action),
        top_like=rows.top_up + rows.top_down,
        base_like=rows.base_up + rows.base_down,
        smooth=(rows.p_value <= 0.05).where(rows.p_value.notna()),
    )
    columns = "top_like base_like top_near base_near roughness chance contiguity".split()
    columns += ["contiguity_advantage", "smooth", "max_abs"]
    out = []
    for task in ordered(data, "task", DECLARED):
        for name in STAGES:
            mine = data[(data.task == task) & (data.stage == name)]
            if not len(mine):
                continue
            row: dict[str, Any] = {"task": task, "stage": name, "seeds": mine.seed.nunique()}
            row["cases"] = len(mine)
            for column in columns:
                means = mine.groupby("seed")[column].mean().dropna().astype(float)
                row |= with_interval(column, means)
            out.append(row)
    return pd.DataFrame(out)


PANELS = (
    (("p_action",), "pi(a | s)"),
    (("top_near", "base_near"), "share of records near s"),
    (("roughness", "chance"), "roughness"),
    (("contiguity", "contiguity_advantage"), "roughness / chance"),
    (("max_abs",), "largest |score|"),
)
NAMES = {
    "top_near": "top records",
    "base_near": "all records",
    "chance": "scores shuffled",
    "roughness": "scores",
    "contiguity": "scores",
    "contiguity_advantage": "bare advantages",
}


def figure(rows: pd.DataFrame) -> Figure:
    """What the three phases are told by, over rounds: thin lines are seeds, thick their mean."""
    use_style()
    tasks = ordered(rows, "task", DECLARED)
    shape = (len(tasks), len(PANELS))
    fig, grid_ = plt.subplots(*shape, figsize=(3.1 * shape[1], 2.6 * shape[0]), squeeze=False)
    for line, task in zip(grid_, tasks, strict=True):
        for ax, (columns, label) in zip(line, PANELS, strict=True):
            draw(rows[rows.task == task], columns, ax)
            ax.set(xlabel="round", ylabel=label, title=task)
            if columns == ("max_abs",):
                ax.set_yscale("log")
            if len(columns) > 1:
                ax.legend(fontsize=8)
    fig.tight_layout()
    return fig


def draw(rows: pd.DataFrame, columns: tuple[str, ...], ax: plt.Axes) -> None:
    """Columns over rounds, averaged over behaviours."""
    for k, column in enumerate(columns):
        seeds = rows.pivot_table(index="round", columns="seed", values=column)
        style: dict[str, Any] = {"color": COLOURS[k], "linestyle": LINES[k]}
        ax.plot(seeds.index, seeds.to_numpy(), color=COLOURS[k], linewidth=0.6, alpha=0.4)
        ax.plot(seeds.index, seeds.mean(axis=1), label=NAMES.get(column), **style)


PHASES = Study(
    "phases",
    "Do the top records for an action gather in like states, beyond chance, while it forms?",
    grid,
    run,
    table,
    figure,
)
