"""Scores of scores: cross-fitted, by trajectory, as tables, and of a whole run's records."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor, nn

from .attribution import influence
from .rollout import Rollout
from .step import Trace
from .targets import Return, Target


def score_table(rollout: Rollout, scores: Tensor, order: str = "score") -> pd.DataFrame:
    """Records with their scores: index, score, episode, t, observation, action, advantage, ...

    Args:
        rollout: n records.
        scores: (n,).
        order: "score": from the highest to the lowest. "extremes": by absolute value, so that the
            highest and the lowest come first. "index": as collected.
    """
    scores = torch.as_tensor(scores)
    if scores.shape != (len(rollout),):
        raise ValueError(f"scores: shape {tuple(scores.shape)}, expected ({len(rollout)},)")
    table = rollout.table(score=scores).reset_index()
    if order == "index":
        return table
    if order == "score":
        return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    if order == "extremes":
        by = table["score"].abs()
        return table.loc[by.sort_values(ascending=False, kind="stable").index].reset_index(
            drop=True
        )
    raise ValueError(f"order: {order!r}, expected 'score', 'extremes' or 'index'")


def influence_history(
    policy: nn.Module, rounds: Iterable[tuple[Rollout, Trace]], target: Target, **settings
) -> pd.DataFrame:
    """Which records of all rounds taught the final behaviour? TracIn summed over a whole run.

    Every record is scored for the same target at the parameters of its own round's steps; the
    parameters change along the run, the question does not. Later data that the record's learning
    changed is not followed (paper section 3: the local view). `table.groupby(...).score.sum()`
    then answers for states, actions or rounds, and `table.score.sum()` for the whole run: with
    unclipped SGD at one rate it is, times lr / batch size, the first-order change of the target.
    Where the rate follows `desired_kl`, sum `table.score * table.lr`.

    Args:
        policy: the network (its architecture; parameters come from the traces).
        rounds: per round, the rollout and the trace that `agent.update(..., trace=True)` returned.
        target: such as `Action(obs, action)`, or `Return(reference=some_rollout)`; a target that
            looks at the rollout being scored asks another question each round.
        settings: further arguments of `influence`.

    Returns:
        One row per record: round (from 1), index, score, the record's own columns, and lr, the
        learning rate of its round.
    """
    tables = []
    for number, (rollout, trace) in enumerate(rounds, 1):
        scores = influence(policy, rollout, target, trace=trace, **settings)
        table = score_table(rollout, scores, order="index")
        table.insert(0, "round", number)
        tables.append(table.assign(lr=trace.config.lr))
    if not tables:
        raise ValueError("rounds: empty, expected at least one (rollout, trace)")
    return pd.concat(tables, ignore_index=True)


def cross_fitted(policy: nn.Module, rollout: Rollout, folds: int = 8, **settings) -> Tensor:
    """Scores on f_return in which no record has a say in its own verdict, (n,).

    Episodes are dealt to `folds` folds; a record's target is made of the episodes of the other
    folds. With the whole rollout as target a record votes for itself: its score holds
    A_i^2 / n times the squared length of grad log pi_i.

    Args:
        policy: as in `influence`.
        rollout: n records.
        folds: how many.
        settings: further arguments of `influence`; `rng` would be shared by the folds.

    Raises:
        ValueError: fewer episodes than folds.
    """
    number = torch.unique(rollout.episode, return_inverse=True)[1]
    if not 2 <= folds <= int(number.max()) + 1:
        raise ValueError(f"folds: {folds}, expected 2 to {int(number.max()) + 1}, the episodes")
    scores = torch.empty_like(rollout.advantage)
    for fold in range(folds):
        mine = number % folds == fold
        target = Return(reference=rollout[~mine])
        scores[mine] = influence(policy, rollout, target, **settings)[mine]
    return scores


def by_episode(rollout: Rollout, scores: Tensor) -> Tensor:
    """Each record's score replaced by the mean over its episode, (n,): trajectories as units."""
    number = torch.unique(rollout.episode, return_inverse=True)[1]
    total = torch.zeros(int(number.max()) + 1).to(scores).index_add_(0, number, scores)
    return (total / torch.bincount(number))[number]
