"""Exercises of chapter 11: forecasts over p, interactions, selection, equal steps, own dials."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch

from ..filters import IIF, drop_lowest
from ..ppo import PPO
from ..step import minibatches
from ..studies.single_round import twin
from ._result import Hint, agree, check, numbers


@check
def ex11_1(fn: Callable) -> str:
    """`fn(scores, drop, lr, batch_size, epochs) -> forecast` of the change of f."""
    rng = np.random.default_rng(1)
    skewed = torch.from_numpy(rng.standard_t(3, 300) + 0.1)
    cases = [(skewed, 0.5, 0.01, 16, 4), (skewed, 0.125, 0.01, 64, 10), (skewed, 1.0, 0.02, 32, 3)]
    cases += [(skewed[:40], 0.5, 0.01, 64, 5), (skewed, 0.0, 0.01, 16, 4)]
    for scores, drop, lr, size, epochs in cases:
        n, negative = len(scores), int((scores < 0).sum())
        ranked = scores.sort().values

        def of(
            kept: torch.Tensor,
            steps: float | None = None,
            lr: float = lr,
            size: int = size,
            epochs: int = epochs,
        ) -> torch.Tensor:
            steps = epochs * max(1, len(kept) // size) if steps is None else steps
            return lr * steps * kept.mean()

        kept = ranked[int(drop * negative) :]
        wrong = {
            "p is a share of the *negative* records; you drop that share of all.": of(
                ranked[int(drop * n) :] if drop < 1 else ranked[-1:]
            ),
            "the highest are gone; the lowest are to go.": of(ranked[: n - int(drop * negative)]),
            "the steps are those of the full rollout: dropping makes fewer.": of(
                kept, epochs * max(1, n // size)
            ),
            "the mean is that of all scores: only the kept ones are learnt from.": lr
            * epochs
            * max(1, len(kept) // size)
            * scores.mean(),
            "the smaller minibatch at the end of each epoch is left out: round down in each "
            "epoch.": of(kept, epochs * math.ceil(len(kept) / size)),
            "round down to whole minibatches.": of(kept, epochs * len(kept) / size),
            "that is one epoch.": of(kept, max(1, len(kept) // size)),
            "fewer records than a minibatch still make one step in each epoch.": of(
                kept, epochs * (len(kept) // size)
            ),
            "the learning rate is missing.": of(kept) / lr,
            "this is the sum over steps *and* records: a step takes the mean of its minibatch.": of(
                kept
            )
            * len(kept),
        }
        got = fn(scores.clone(), drop, lr, size, epochs)
        agree(got, of(kept), f"forecast (drop={drop}, n={n})", wrong, atol=1e-6)
    return "fewer steps, a clearer direction: to first order the product only rises with p."


@check
def ex11_2(fn: Callable) -> str:
    """`fn(gain, a, b) -> interaction` of two groups that may overlap."""
    rng = np.random.default_rng(2)
    n = 12
    weight, pair = torch.from_numpy(rng.normal(size=n)), torch.from_numpy(rng.normal(size=(n, n)))
    masks = torch.from_numpy(rng.random((6, n)) < 0.5)
    masks[1] = ~masks[0]  # one pair without overlap

    def linear(mask: torch.Tensor) -> float:
        return float(weight[mask].sum())

    def curved(mask: torch.Tensor) -> float:
        return linear(mask) + float(pair[mask][:, mask].sum())

    for effect in (linear, curved):
        for a, b in (masks[:2], masks[2:4], masks[4:]):
            alone = effect(a), effect(b)
            both, shared = effect(a | b), effect(a & b)
            expected = both - (alone[0] + alone[1] - shared)
            wrong = {
                "records in both groups count twice in the sum: take their effect off once.": both
                - sum(alone),
                "turned round: positive means more than the sum.": -expected,
                "this is the effect of both: subtract what each does alone.": both,
                "this is the effect of the records they share; removing both removes all of "
                "either.": shared - sum(alone),
                "a ratio: subtract, since effects may be 0.": both / (sum(alone) - shared),
            }
            tensors = {hint: torch.tensor(x).double() for hint, x in wrong.items()}
            where = "interaction" + (" (effects add up)" if effect is linear else "")
            got = fn(lambda m, effect=effect: effect(torch.as_tensor(m)), a.clone(), b.clone())
            agree(got, torch.tensor(expected), where, tensors, atol=1e-5)
    return "0 where effects add up, and only there."


@check
def ex11_3(fn: Callable) -> str:
    """`fn(gains, k) -> optimism` of choosing among settings on k seeds."""
    rng = np.random.default_rng(3)
    gains = rng.normal(0.0, 1.0, (8, 10)) + rng.normal(0.0, 1.0, 10)  # no setting is better
    k = 4

    def over(part: Callable) -> torch.Tensor:
        return torch.tensor(
            np.mean([part(list(c)) for c in combinations(range(gains.shape[1]), k)])
        )

    def winner(tune: list[int]) -> int:
        return int(gains[:, tune].mean(1).argmax())

    def reported(tune: list[int]) -> float:
        return gains[winner(tune), tune].mean()

    def honest(tune: list[int]) -> float:
        return np.delete(gains[winner(tune)], tune).mean()

    best = int(gains.mean(1).argmax())
    expected = over(lambda t: reported(t) - honest(t))
    wrong = {
        "the winner is chosen on all seeds: only the k may choose.": over(
            lambda t: gains[best, t].mean() - np.delete(gains[best], t).mean()
        ),
        "this is what would be reported; subtract what the same setting gains on the others.": over(
            reported
        ),
        "turned round: reported minus honest.": -expected,
        "the others are to be reported, not all seeds: the k that chose are still in your "
        "mean.": over(lambda t: reported(t) - gains[winner(t)].mean()),
        "on the other seeds you take *their* winner: the setting stays the one that the k "
        "chose.": over(lambda t: reported(t) - np.delete(gains, t, 1).mean(1).max()),
        "the first k seeds are one split of many: take all of them.": torch.tensor(
            reported(list(range(k))) - honest(list(range(k)))
        ),
        "you choose on the others and report the k: swap them.": over(
            lambda t: (
                gains[int(np.delete(gains, t, 1).mean(1).argmax()), t].mean()
                - np.delete(gains[int(np.delete(gains, t, 1).mean(1).argmax())], t).mean()
            )
        ),
    }
    agree(fn(gains.copy(), k), expected, "optimism", wrong, atol=1e-6)
    return (
        f"in a world where no setting is better than another, the winner of {k} seeds reports "
        f"{float(over(reported)):+.2f} and keeps {float(over(honest)):+.2f} on the others."
    )


@check
def ex11_4(fn: Callable) -> str:
    """`fn(keep, batch_size, epochs) -> epochs` that make as many steps as the full rollout."""
    kept = (1024, 1500, 1700, 700)
    cases = [*((2048, m, 64, 10) for m in kept), (300, 40, 64, 5)]

    def mask(n: int, kept: int) -> torch.Tensor:
        keep = torch.ones(n, dtype=torch.bool)
        keep[: n - kept] = False
        return keep

    def all_cases(rule: Callable[[int, int, int, int], float]) -> torch.Tensor:
        return torch.tensor([float(rule(*case)) for case in cases])

    def real(n: int, kept: int, size: int, epochs: int) -> int:
        def steps(m: int, e: int) -> int:
            c = PPO("FrozenLake", batch_size=size, epochs=e, compile=False).config
            return sum(1 for _ in minibatches(np.ones(m, bool), c, np.random.default_rng(0)))

        full = steps(n, epochs)
        return min(range(1, 80), key=lambda e: abs(steps(kept, e) - full))

    wrong = {
        "the ratio of records, rounded: it is the ratio of *minibatches* that counts, and both are "
        "rounded down.": all_cases(lambda n, m, b, e: max(1, round(e * n / m))),
        "turned round: fewer records need more epochs.": all_cases(
            lambda n, m, b, e: max(1, round(e * max(1, m // b) / max(1, n // b)))
        ),
        "rounded up: take the nearest whole number.": all_cases(
            lambda n, m, b, e: math.ceil(e * max(1, n // b) / max(1, m // b))
        ),
        "rounded down: take the nearest whole number.": all_cases(
            lambda n, m, b, e: e * max(1, n // b) // max(1, m // b)
        ),
        "the number of epochs is unchanged.": all_cases(lambda n, m, b, e: e),
    }
    got = torch.stack([numbers(fn(mask(n, m), b, e), (), "epochs") for n, m, b, e in cases])
    if (got != got.round()).any():
        raise Hint("expected a whole number of epochs.")
    agree(got, all_cases(real), "epochs", wrong)
    return "as many steps as the full rollout, to within half an epoch."


@check
def ex11_5(fn: Callable) -> str:
    """`fn(agent, rollout, scores) -> p`, 0 to 1: any rule of one's own."""
    gains: dict[str, list[float]] = {"yours": [], "p = 12.5": [], "p = 50": [], "p = 100": []}
    chosen = []
    agent = PPO("FrozenLake", seed=11, n_steps=1024, epochs=4, lr=0.02, compile=False)
    for _ in range(3):
        agent.learn(2, progress=False)
        rollout, filtered = agent.collect(), IIF(drop=1.0)
        filtered(agent, rollout)
        scores = filtered.scores
        assert scores is not None
        clock = agent.round, agent.collected
        p = float(numbers(fn(agent, rollout, scores.clone()), (), "p"))
        if (agent.round, agent.collected) != clock:
            raise Hint("a rule only looks: it must neither collect nor update.")
        if not 0 <= p <= 1:
            raise Hint(f"p is {p:.3g}: expected a share from 0 to 1, not per cent.")
        if p != float(numbers(fn(agent, rollout, scores.clone()), (), "p")):
            raise Hint(
                "called again, it answers differently: draw random numbers from "
                '`agent.rng("a purpose")`, so that runs repeat.'
            )
        chosen.append(p)
        whole = twin(agent)
        whole.update(rollout)
        for values, share in zip(gains.values(), (p, 0.125, 0.5, 1.0), strict=True):
            count = math.floor(share * int((scores < 0).sum()))
            part = twin(agent)
            part.update(rollout, drop_lowest(scores, count, agent.rng("ties")))
            values.append(part.evaluate().mean - whole.evaluate().mean)
    told = "; ".join(f"{name}: {', '.join(f'{x:+.4f}' for x in v)}" for name, v in gains.items())
    return (
        f"a rule; it drops {', '.join(f'{100 * p:.0f} %' for p in chosen)} of the negative records "
        f"of three rollouts. Gain in J over all records: {told}. Three rollouts prove nothing."
    )
