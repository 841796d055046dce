"""Exercises of chapter 10: scores, masks, controls, the order of a round, tuning, own filters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..filters import IIF
from ..metrics import area_under_curve
from ..ppo import PPO
from ..rollout import Rollout
from ..targets import Return
from ._filter import own_filter
from ._result import Hint, agree, check, numbers


def _small(seed: int, n_steps: int = 256, **settings: Any) -> PPO:
    return PPO("FrozenLake", seed=seed, n_steps=n_steps, epochs=2, compile=False, **settings)


@check
def ex10_1(fn: Callable) -> str:
    """`fn(grad_log_pi, advantage, v) -> scores`, (n, p), (n,), (p,) -> (n,)."""
    agent = _small(seed=1, n_steps=64)
    rollout = agent.collect().to(dtype=torch.float64)[:30]
    policy, target = agent.policy.double(), Return()
    parameters = list(policy.pi.parameters())

    def gradient(scalar: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(scalar, parameters)])

    v = gradient(target(policy, rollout))
    per_record = [gradient(policy.log_prob(one.obs, one.action).sum()) for one in rollout]
    g, advantage = torch.stack(per_record), rollout.advantage
    start, rate = torch.nn.utils.parameters_to_vector(parameters).detach(), 1e-4
    change = []
    with torch.no_grad():  # what a step on each record alone really does to the target
        for i in range(len(rollout)):
            step = start + rate * advantage[i] * g[i]
            torch.nn.utils.vector_to_parameters(step, parameters)
            after = target(policy, rollout)
            torch.nn.utils.vector_to_parameters(start, parameters)
            change.append((after - target(policy, rollout)) / rate)
    scale = 1 / torch.stack(change).abs().max()
    alignment = g @ v
    mistakes = {
        "the sign is turned: a step goes *against* the gradient of the loss, so a record whose "
        "advantage and alignment agree raises the target.": -advantage * alignment,
        "the advantage is missing: a record with a negative advantage pushes its action "
        "down.": alignment,
        "the size of the advantage is there, its sign is not.": advantage.abs() * alignment,
        "this is a mean over records: the score is about one record, nothing is divided by "
        "n.": advantage * alignment / len(rollout),
        "this is a cosine: a score is a plain inner product, long gradients count for more.": (
            advantage * torch.nn.functional.cosine_similarity(g, v[None])
        ),
    }
    got = numbers(fn(g, advantage, v), (len(rollout),), "scores")
    scaled = {hint: scale * wrong for hint, wrong in mistakes.items()}
    agree(scale * got, scale * torch.stack(change), "scores (largest set to 1)", scaled, atol=2e-3)
    return "each score is what one real step on that record does to the target."


@check
def ex10_2(fn: Callable) -> str:
    """`fn(scores, drop) -> keep`, bool (n,)."""
    rng = np.random.default_rng(2)
    mixed = torch.from_numpy(np.sort(rng.normal(size=41) + 0.3)[rng.permutation(41)]).float()
    cases = [(mixed, 0.5), (mixed, 0.3), (mixed, 0.0), (mixed, 1.0), (mixed.abs(), 0.5)]
    for scores, drop in cases:
        n, negative = len(scores), int((scores < 0).sum())
        rank = scores.argsort().argsort()
        count = int(drop * negative)
        expected = rank >= count
        by_size = scores.abs().argsort(descending=True).argsort()
        mistakes = {
            "turned round: True means keep.": ~expected,
            "p is a share of the *negative* records; you drop that share of all records.": rank
            >= int(drop * n),
            "these are the highest scores: the records to drop are the lowest.": rank < n - count,
            "records are dropped by the size of their score: only low ones count, a high "
            "positive score is welcome.": by_size >= count,
            "every negative record is dropped, whatever `drop` is.": scores >= 0,
            "one record too many: `floor` rounds down.": rank >= int(np.ceil(drop * negative)),
        }
        if negative == 0:
            where = "no score is negative, so nothing is to be dropped: "
            mistakes = {where + hint: wrong for hint, wrong in mistakes.items()}
        agree(fn(scores.clone(), drop), expected, f"keep (drop={drop})", mistakes)
    return "half of the negative records means half of the negative records, lowest first."


@check
def ex10_3(fn: Callable) -> str:
    """`fn(keep, rng) -> control`, bool (n,) that drops as many at random."""
    n, count, draws = 60, 12, 400
    keep = torch.ones(n, dtype=torch.bool)
    keep[torch.from_numpy(np.random.default_rng(3).permutation(n)[:count])] = False
    rng = np.random.default_rng(30)
    dropped = torch.stack(
        [1 - numbers(fn(keep.clone(), rng), (n,), "control") for _ in range(draws)]
    )
    if not ((dropped == 0) | (dropped == 1)).all():
        raise Hint("expected a mask: True (keep) or False (drop) for each record.")
    counts = dropped.sum(1)
    if (counts == n - count).all():
        raise Hint("turned round: True means keep.")
    if (counts == n // 2).all():
        raise Hint("you drop half of all records; the filter dropped only as many as `~keep` has.")
    if not (counts == count).all():
        if abs(float(counts.mean()) - count) < 1:
            raise Hint(
                "you drop as many on average, not each time: do not toss a coin for each record, "
                "shuffle."
            )
        raise Hint(f"you drop {counts.mean():.1f} records on average, the filter {count}.")
    if (dropped == dropped[0]).all():
        same = bool((dropped[0] == (~keep).double()).all())
        raise Hint(
            "this is the filter's own mask: which records are dropped must be left to chance."
            if same
            else "the same records each time: draw with `rng`, and do not seed it again."
        )
    often = dropped.sum(0)
    if (often[~keep] == 0).all():
        raise Hint("records that the filter drops are never dropped: chance must not know them.")
    chance = count / n
    if ((often - draws * chance).abs() > 6 * np.sqrt(draws * chance * (1 - chance))).any():
        raise Hint("some records are dropped far more often than others: all must have one chance.")
    return f"{count} of {n} records each time, every record with equal chance."


@check
def ex10_4(fn: Callable) -> str:
    """`fn(agent, keep_filter)`: one round, in place."""
    rounds = 2
    reference = _small(seed=4, keep=IIF(drop=0.5))
    reference.learn(rounds, progress=False)
    plain = _small(seed=4)
    plain.learn(rounds, progress=False)
    agent, calls, iif = _small(seed=4), [], IIF(drop=0.5)

    def watched(agent: PPO, rollout: Rollout) -> Tensor:
        calls.append(agent.round)
        return iif(agent, rollout)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(rounds):
            fn(agent, watched)
    if any("stale" in str(warning.message) for warning in caught):
        raise Hint(
            "you score after the update: the policy is then no longer the one that made the "
            "records, the ratio is not 1, and the score answers another question. Keep first, "
            "then update."
        )
    if not calls:
        raise Hint("`keep_filter(agent, rollout)` is never called: nothing is scored.")
    if agent.round != rounds:
        raise Hint(f"{agent.round} updates in {rounds} calls: expected one update in each.")
    if agent.collected != rounds or len(calls) != rounds:
        raise Hint("collect and keep once in each round: score the records that you learn from.")

    def same(other: PPO) -> bool:
        pairs = zip(agent.policy.parameters(), other.policy.parameters(), strict=True)
        return all(torch.equal(x, y) for x, y in pairs)

    if same(plain):
        raise Hint("the mask is not used: hand it to `agent.update(rollout, keep)`.")
    if not same(reference):
        raise Hint(
            "the parameters differ from those of IIF: does update get the mask as the filter "
            "returned it?"
        )
    return f"after {rounds} rounds the parameters are those of PPO(..., keep=IIF(drop=0.5))."


@check
def ex10_5(fn: Callable) -> str:
    """`fn(runs, candidates, tune_seeds, report_seeds) -> (name, areas)`."""
    rounds, tune, report = np.arange(1, 6), [0, 1, 2], [5, 3, 4]
    level = {  # mean return of each arm on the seeds 0 to 5
        "slow": (1.0, 1.1, 0.9, 1.0, 1.2, 0.8),
        "lucky": (2.0, 2.1, 2.2, 0.9, 1.1, 1.3),
        "steady": (1.9, 1.8, 2.0, 2.4, 2.5, 2.6),
        "late": (0.2, 0.3, 0.1, 0.2, 0.3, 0.1),
        "outsider": (9.0,) * 6,
    }
    rows = [
        {"arm": arm, "seed": seed, "round": k, "return_mean": x + (k - 3) * (2 if late else 0.1)}
        for arm, values in level.items()
        for late in [arm == "late"]
        for seed, x in enumerate(values)
        for k in rounds
    ]
    runs = pd.DataFrame(rows).sample(frac=1.0, random_state=5, ignore_index=True)
    answer = fn(runs, ["slow", "lucky", "steady", "late"], tune, report)
    if not (isinstance(answer, tuple | list) and len(answer) == 2):
        raise Hint(f"expected two things, a name and areas; your function returned {answer!r}.")
    name, areas = answer
    reasons = {
        "steady": "it is best on the seeds to be reported, or over all seeds: only `tune_seeds` "
        "may choose.",
        "late": "it is best in the last round: the area under the whole curve decides.",
        "outsider": "it is not among the candidates.",
        "slow": "it is the worst but one: take the largest area.",
    }
    if name != "lucky":
        raise Hint(f"you chose {name!r}: " + reasons.get(name, "no such arm."))
    curves = runs[runs["arm"] == "lucky"].pivot(index="round", columns="seed", values="return_mean")

    def area(seeds: list[int]) -> Tensor:
        return torch.tensor([area_under_curve(curves[seed]) for seed in seeds])

    last = torch.tensor([float(curves[seed].iloc[-1]) for seed in report])
    mistakes = {
        "these are the seeds that chose the arm: report the others.": area(tune),
        "these are returns of the last round: report areas under the curve.": last,
        "the areas are those of the seeds in rising order: keep the order of `report_seeds`.": area(
            sorted(report)
        ),
    }
    agree(areas, area(report), "areas", mistakes, atol=1e-6)
    return "chosen on some seeds, reported on others: luck cannot be picked twice."


@check
def ex10_6(fn: Callable) -> str:
    """`fn(agent, rollout) -> keep`, bool (n,): any filter of one's own."""
    agent = _small(seed=6, n_steps=512)
    agent.learn(1, progress=False)
    rollout = agent.collect()
    n = len(rollout)
    keep = own_filter(fn, agent, rollout)
    iif = IIF(drop=0.5)(agent, rollout).double()
    both = int(((1 - keep) * (1 - iif)).sum())
    return (
        f"a filter. Of {n} records it drops {int((1 - keep).sum())}, IIF {int((1 - iif).sum())}; "
        f"{both} of them are the same. Whether it is a good one, only runs can tell."
    )
