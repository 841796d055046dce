"""Exercises of chapter 8: kinds of records, roughness, chance, a measure of one's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..ppo import PPO
from ..similarity import Graph, contiguity, embeddings, roughness, similarity_graph
from ._result import Hint, agree, check, numbers


def _lake() -> tuple[Graph, np.ndarray, np.ndarray]:
    """A graph of lake records, their embeddings and smooth scores with one large outlier."""
    agent = PPO("FrozenLake", seed=8, n_steps=256, compile=False)
    rollout = agent.collect()[:60]
    points = embeddings(agent.policy, rollout)
    rng = np.random.default_rng(8)
    scores = points @ rng.normal(size=points.shape[1]) + 0.2 * rng.normal(size=60)
    scores[7] = 3 * np.abs(scores).max()
    return similarity_graph(points, 8), points, scores


@check
def ex08_1(fn: Callable) -> str:
    """`fn(action, advantage, wanted) -> kind`, (n,): +1 up, -1 down, 0 neither."""
    rng = np.random.default_rng(1)
    action = torch.from_numpy(rng.integers(0, 4, 60))
    advantage = torch.from_numpy(rng.normal(size=60))
    advantage[:6] = 0.0
    same, sign = action == 2, advantage.sign()
    up, down = same & (advantage > 0), ~same & (advantage < 0)
    expected = up.double() - down.double()
    mistakes: dict[str, Tensor] = {
        "you leave out the records of *other* actions: an action that turned out badly makes room "
        "for the wanted one.": up.double(),
        "turned round: +1 for the wanted action that went well, -1 for another that went "
        "badly.": -expected,
        "this is the sign of the advantage for the wanted action and its opposite for others: four "
        "kinds of records, of which two pull the other way and are 0 here.": torch.where(
            same, sign, -sign
        ),
        "this is the sign of the advantage, whatever was done.": sign,
        "a record of the wanted action with a *negative* advantage pushes the action "
        "down.": same.double() - down.double(),
        "an advantage of exactly 0 pushes nothing.": (same & (advantage >= 0)).double()
        - (~same & (advantage <= 0)).double(),
    }
    agree(fn(action.clone(), advantage.clone(), 2), expected, "kind", mistakes)
    return f"{int(up.sum())} records push the action up, {int(down.sum())} push others down."


@check
def ex08_2(fn: Callable) -> str:
    """`fn(scores, i, j, weight) -> roughness` over the edges (i, j)."""
    graph, _, scores = _lake()
    i, j = np.nonzero(np.triu(graph.weight.toarray()))
    w = graph.weight.toarray()[i, j]
    x = scores / np.abs(scores).max()

    def value(number: float) -> Tensor:
        return torch.tensor(number, dtype=torch.float64)

    expected = value(roughness(scores, graph))

    mistakes = {
        "the scores are not scaled: divide them by the largest absolute one.": value(
            (w * (scores[i] - scores[j]) ** 2).sum() / w.sum()
        ),
        "scaled by the largest score, not by the largest *absolute* one.": value(
            (w * (scores[i] - scores[j]) ** 2).sum() / w.sum() / scores.max() ** 2
        ),
        "the weights are missing: near neighbours count for more.": value(
            ((x[i] - x[j]) ** 2).mean()
        ),
        "divide by the sum of the weights, not by the number of edges.": value(
            (w * (x[i] - x[j]) ** 2).mean()
        ),
        "the weighted sum is there; divide it by the sum of the weights.": value(
            (w * (x[i] - x[j]) ** 2).sum()
        ),
        "absolute differences: square them.": value((w * np.abs(x[i] - x[j])).sum() / w.sum()),
    }
    scale = 1 / float(expected)
    got = numbers(fn(scores.copy(), i.copy(), j.copy(), w.copy()), (), "roughness")
    scaled = {hint: scale * wrong for hint, wrong in mistakes.items()}
    agree(scale * got, scale * expected, "roughness (right value set to 1)", scaled)
    return f"{float(expected):.4f}: small. Is it small for these records, or for this scale?"


@check
def ex08_3(fn: Callable) -> str:
    """`fn(scores, graph) -> ratio`: roughness over its mean when the scores are shuffled."""
    graph, _, scores = _lake()
    told: dict[str, float] = {}
    even = np.random.default_rng(3).random(60)  # no order, no outlier
    for name, x in {"smooth but one": scores, "no order": even}.items():
        expected = contiguity(x, graph)
        scaled = x / np.abs(x).max()
        rough = roughness(x, graph)
        mistakes = {
            "this is the roughness itself: divide by what shuffled scores have.": rough,
            "turned round: below 1 should mean smoother than chance.": 1 / expected,
            "half of chance: shuffled scores differ by *twice* their variance on average.": 2
            * expected,
            "chance is computed from unscaled scores, roughness from scaled ones.": rough
            / (2 * x.var(ddof=1)),
        }
        got = numbers(fn(x.copy(), graph), (), "ratio")
        for hint, wrong in mistakes.items():
            if abs(float(got) - wrong) < 0.02 * wrong and abs(wrong - expected) > 0.1 * expected:
                raise Hint(hint)
        if not abs(float(got) - expected) < 0.06 * expected:  # leaves room for shuffling
            raise Hint(
                f"{name}: your ratio is {float(got):.3f}, expected about {expected:.3f}. Shuffle "
                "the scores and not the points, at least 300 times, and divide by the mean; or use "
                "twice the variance (n - 1) of the scaled scores."
            )
        told[name] = float(got)
        assert np.isclose(rough, expected * 2 * scaled.var(ddof=1))
    return "; ".join(f"{name}: {x:.2f} of chance" for name, x in told.items())


@check
def ex08_4(fn: Callable) -> str:
    """`fn(scores, points) -> float`: any measure of how much high scores gather."""
    _, points, _ = _lake()
    rng = np.random.default_rng(4)
    distance = np.linalg.norm(points - points[0], axis=1)
    gathered = np.exp(-((distance / np.median(distance)) ** 2)) + 0.01 * rng.random(60)

    def ask(scores: np.ndarray, where: np.ndarray) -> float:
        return float(numbers(fn(scores.copy(), where.copy()), (), "measure"))

    first = ask(gathered, points)
    if not np.isclose(first, ask(gathered, points)):
        raise Hint("asked again, it answers differently: give your random numbers a seed.")
    if not np.isclose(first, ask(1e-3 * gathered, points), rtol=1e-3):
        raise Hint(
            "scores in other units give another answer: between rounds the size of scores changes "
            "by orders of magnitude, and gathering should not depend on it."
        )
    turned = rng.permutation(60)
    if not np.isclose(first, ask(gathered[turned], points[turned]), rtol=0.05, atol=1e-6):
        raise Hint("the same records in another order give another answer.")
    chance = np.array([ask(rng.permutation(gathered), points) for _ in range(40)])
    if not (first > chance).mean() >= 0.95:
        raise Hint(
            f"scores that gather around one state get {first:.3f}, the same scores shuffled "
            f"{chance.mean():.3f} on average: the first should be higher than nearly all of the "
            "others."
        )
    return (
        f"gathered scores get {first:.3f}; shuffled, between {chance.min():.3f} and "
        f"{chance.max():.3f}. That comparison belongs to every number of this kind."
    )
