"""Exercises of chapter 18: within runs, the limit of a prediction, futures needed, own sets."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ..channel import continuations, exact_returns
from ..ppo import PPO
from ._filter import own_filter
from ._result import Hint, agree, check, numbers


def _close(got: object, expected: float, what: str, mistakes: dict[str, float]) -> None:
    wrong = {h: torch.tensor(x) for h, x in mistakes.items() if abs(x - expected) > 1e-6}
    agree(got, torch.tensor(expected, dtype=torch.float64), what, wrong, atol=1e-6)


def _runs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of scores, effects, runs: unrelated within a run, related between runs."""
    rng = np.random.default_rng(18)
    run = np.repeat(np.arange(5), [12, 14, 16, 18, 20])
    level = np.array([0.0, 1.0, 2.0, 4.0, 8.0])[run]  # how fast each run is learning
    total = level + 0.5 * rng.normal(size=len(run))
    return total, level**1.3 + 0.5 * rng.normal(size=len(run)) + 0.1 * total, run


@check
def ex18_1(fn: Callable) -> str:
    """`fn(total, effect, run) -> rho`: Spearman within each run, then the mean over runs."""
    total, effect, run = _runs()
    rho = stats.spearmanr

    def each(measure: Callable) -> list[float]:
        return [float(measure(total[run == k], effect[run == k]).statistic) for k in range(5)]

    within = each(rho)
    sizes = np.bincount(run)
    pooled = float(rho(total, effect).statistic)
    _close(
        fn(total.copy(), effect.copy(), run.copy()),
        float(np.mean(within)),
        "rho",
        {
            "this pools the sets of all runs: runs that learn fast have both large sums and large "
            "effects, and that alone correlates. Correlate within each run.": pooled,
            "the rank correlation is asked for, not Pearson's.": float(
                np.mean(each(stats.pearsonr))
            ),
            "this is the correlation of the runs' means: it says which *run* has large effects, "
            "not which set.": float(
                rho(*([x[run == k].mean() for k in range(5)] for x in (total, effect))).statistic
            ),
            "each run counts once, however many sets it has: take the plain mean.": float(
                np.average(within, weights=sizes)
            ),
            "the sign is turned: an effect is J with the set minus J without it.": -float(
                np.mean(within)
            ),
        },
    )
    return (
        f"{np.mean(within):.2f} within runs. Pooled it is {pooled:.2f}, and all of the difference "
        "is between runs."
    )


def _futures(seed: int = 18) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shared part of 4000 effects, and these effects in two futures."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=4000)
    return shared, *(shared + 1.3 * rng.normal(size=4000) for _ in range(2))  # type: ignore[return-value]


@check
def ex18_2(fn: Callable) -> str:
    """`fn(own, other) -> limit`: the best correlation with one future that a predictor can have."""
    shared, own, other = _futures()
    agreement = float(np.corrcoef(own, other)[0, 1])
    _close(
        fn(own.copy(), other.copy()),
        math.sqrt(agreement),
        "limit",
        {
            "this is the agreement of two futures. Each of them has noise of its own; a predictor "
            "of the shared part has none, so it can do better than another future does.": agreement,
            "squared instead of its root.": agreement**2,
            "this is the limit for the mean of both futures; one future is asked for.": math.sqrt(
                2 * agreement / (1 + agreement)
            ),
        },
    )
    limit = fn(np.array([1.0, 2.0, 3.0, 4.0]), np.array([4.0, 1.0, 3.0, 2.0]))  # -0.4
    if not np.isfinite(float(limit)) or float(limit) != 0:
        raise Hint(
            "two futures that disagree (a negative correlation) share nothing that could be "
            f"predicted: return 0 there, not {limit!r}."
        )
    reached = float(np.corrcoef(shared, own)[0, 1])
    return (
        f"two futures agree at {agreement:.2f}, and whoever knows the shared part reaches "
        f"{reached:.2f} (limit {math.sqrt(agreement):.2f})."
    )


@check
def ex18_3(fn: Callable) -> str:
    """`fn(agreement, wanted) -> F`: futures to average until two such averages agree as wanted."""
    cases = [(0.5, 0.9), (0.2, 0.9), (0.05, 0.8), (0.9, 0.8), (0.8, 0.8), (0.02, 0.95), (0.5, 0.6)]

    def all_cases(rule: Callable[[float, float], float]) -> Tensor:
        return torch.tensor([float(rule(*case)) for case in cases], dtype=torch.float64)

    def futures(c: float, w: float) -> int:
        return max(1, math.ceil(w * (1 - c) / (c * (1 - w)) - 1e-9))

    got = torch.stack([numbers(fn(*case), (), "F") for case in cases])
    mistakes = {
        "whole futures: round up.": all_cases(lambda c, w: w * (1 - c) / (c * (1 - w))),
        "round up: with the smaller number the averages do not agree enough yet.": all_cases(
            lambda c, w: max(1, math.floor(w * (1 - c) / (c * (1 - w))))
        ),
        "agreement does not add up: two averages of F futures agree at "
        "F c / (1 + (F - 1) c).": all_cases(lambda c, w: max(1, math.ceil(w / c - 1e-9))),
        "F runs to an average: you give those of both averages together.": all_cases(
            lambda c, w: 2 * futures(c, w)
        ),
        "where one future is enough the answer is 1.": all_cases(
            lambda c, w: math.ceil(w * (1 - c) / (c * (1 - w)) - 1e-9) if futures(c, w) > 1 else 0
        ),
    }
    agree(got, all_cases(futures), "F", mistakes)
    return "with an agreement of 0.5 nine futures make 0.9; with 0.02 it takes 931 to make 0.95."


@check
def ex18_4(fn: Callable) -> str:
    """`fn(agent, rollout) -> keep`, bool (n,): a set of one's own to leave out."""
    effects: dict[str, Tensor] = {}
    left_out = []
    for seed in (18, 19):
        agent = PPO("FrozenLake", seed=seed, n_steps=512, epochs=4, lr=0.04, compile=False)
        agent.learn(4, progress=False)
        rollout = agent.collect()
        mine = own_filter(fn, agent, rollout).bool()
        if mine.all():
            raise Hint("nothing is left out: False means leave out.")
        left_out.append(int((~mine).sum()))
        rng = np.random.default_rng(seed)
        chance = [mine[torch.from_numpy(rng.permutation(len(mine)))] for _ in range(4)]
        keep = torch.stack([torch.ones_like(mine), mine, *chance])
        J = torch.stack(
            [
                exact_returns(agent, rollout, r.params)
                for r in continuations(agent, rollout, keep, 2)
            ]
        )
        without = J[:, 1:] - J[:, :1]  # (3, 5): what is gained by leaving out
        for name, part in (("yours", without[:, 0]), ("at random", without[:, 1:].mean(1))):
            effects[name] = torch.cat([effects.get(name, torch.zeros(0)), part])
    told = "; ".join(
        f"{name}: {', '.join(f'{x:+.4f}' for x in part[:3])} and "
        f"{', '.join(f'{x:+.4f}' for x in part[3:])}"
        for name, part in effects.items()
    )
    return (
        f"you leave out {left_out[0]} and {left_out[1]} of 512 records. Gain in J after 0, 1 and 2 "
        f"further rounds, two runs: {told}. Two runs in one future prove nothing."
    )
