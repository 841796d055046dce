"""Exercises of chapter 20: standardising in groups, verdicts, time saved, telling apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import PPOConfig
from ..filters import IIF
from ..loss import standardise
from ..metrics import area_under_curve, runtime_saving
from ..ppo import PPO
from ..studies.paper import verdict
from ._result import Hint, agree, check


@check
def ex20_1(fn: Callable) -> str:
    """`fn(advantage, order, size) -> Z`, (n,): standardised in groups of a permutation."""
    for n, size in ((40, 8), (43, 8), (17, 4), (9, 8)):
        rng = np.random.default_rng(n)
        advantage = torch.from_numpy(rng.normal(1.0, 2.0, n))
        order = torch.from_numpy(rng.permutation(n))
        groups = list(order.split(size))

        def filled(
            rule: Callable[[Tensor], Tensor],
            groups: list[Tensor] = groups,
            advantage: Tensor = advantage,
        ) -> Tensor:
            out = torch.zeros_like(advantage)
            for g in groups:
                out[g] = rule(advantage[g])
            return out

        def population(a: Tensor) -> Tensor:
            return (a - a.mean()) / (a.std(correction=0) + 1e-8)

        expected = filled(standardise)
        in_order = torch.cat([standardise(a) for a in advantage.split(size)])
        whole = groups[:-1] if len(groups[-1]) < size else groups
        wrong = {
            "all records together are one company here; groups of `size` are asked "
            "for.": standardise(advantage),
            "the groups are consecutive records of the *rollout*; take them from the "
            "permutation.": in_order,
            "each value stands where the permutation has it: put it back to its record.": expected[
                order
            ],
            "n in the standard deviation: the released code takes n - 1.": filled(population),
            "the mean is not taken off.": filled(
                lambda a: a / (a.std() + 1e-8) if len(a) > 1 else a
            ),
            "the spread is not divided out.": filled(lambda a: a - a.mean()),
            "the smaller group at the end is left at 0: it is a group of its own.": filled(
                standardise, groups=whole
            ),
        }
        if n % size:
            rest = torch.cat(groups[-2:])
            merged = [*groups[:-2], rest]
            wrong["the smaller group at the end is a group of its own, not part of the last."] = (
                filled(standardise, groups=merged)
            )
        got = fn(advantage.clone(), order.clone(), size)
        if torch.is_tensor(got) and got.shape == (n,) and n % size == 1 and got.isnan().any():
            raise Hint("a group of one has no spread: it is only centred, which gives 0.")
        agree(got, expected, f"Z (n={n}, groups of {size})", wrong, atol=1e-6)
    return "the company of a record is 63 others, by lot."


@check
def ex20_2(fn: Callable) -> str:
    """`fn(value, spread, low, high) -> verdict`."""
    nan = float("nan")
    cases = {
        (30.0, 2.0, 10.0, 27.0): "wholly below the paper's interval",
        (30.0, 2.0, 33.0, 40.0): "wholly above the paper's interval",
        (30.0, 2.0, 25.0, 29.0): "the paper's spread counts too: the two intervals overlap",
        (30.0, 2.0, 31.0, 40.0): "the paper's spread counts too: the two intervals overlap",
        (30.0, 2.0, 20.0, 40.0): "the paper's interval lies inside ours",
        (30.0, nan, 20.0, 29.0): "no spread is given: it counts as 0",
        (30.0, nan, 31.0, 40.0): "no spread is given: it counts as 0",
        (30.0, nan, 29.0, 31.0): "no spread is given: it counts as 0, and the value lies inside",
        (30.0, 2.0, nan, nan): "we have no interval",
        (30.0, nan, nan, nan): "we have no interval",
        (-30.0, 2.0, -50.0, -40.0): "values may be negative: weaker means smaller",
        (30.0, 2.0, 32.0, 40.0): "the intervals touch: that is an overlap",
    }
    for case, why in cases.items():
        got, expected = fn(*case), verdict(*case)
        if got != expected:
            told = ", ".join(
                f"{n} {x:g}" for n, x in zip(("value", "spread", "low", "high"), case, strict=True)
            )
            raise Hint(f"for {told} you say {got!r}, expected {expected!r}: {why}.")
    return "a rule that does not know whose side you are on."


@check
def ex20_3(fn: Callable) -> str:
    """`fn(seconds_ppo, seconds_iif, reached_ppo, reached_iif)` -> both savings."""
    rng = np.random.default_rng(3)
    rounds, level = 20, 0.9
    ppo_seconds, iif_seconds = rng.uniform(1.0, 3.0, rounds), rng.uniform(1.0, 3.0, rounds)
    k_ppo, k_iif = 14, 9

    def curve(reached: int) -> np.ndarray:
        return np.where(np.arange(1, rounds + 1) >= reached, level, 0.1)

    real = runtime_saving(curve(k_ppo), curve(k_iif), ppo_seconds, iif_seconds)
    expected = torch.tensor([real.rt_peak, real.like_for_like], dtype=torch.float64)
    spent, all_ppo, to_peak = (
        iif_seconds[:k_iif].sum(),
        ppo_seconds.sum(),
        ppo_seconds[:k_ppo].sum(),
    )
    pair = {
        "turned round: the first is against all rounds of PPO, the second like for like.": (
            1 - spent / to_peak,
            1 - spent / all_ppo,
        ),
        "those are shares of time *spent*; the saving is one minus that.": (
            spent / all_ppo,
            spent / to_peak,
        ),
        "you count rounds; rounds differ in seconds.": (1 - k_iif / rounds, 1 - k_iif / k_ppo),
        "the filtered run stops counting when it reaches the level, too.": (
            1 - iif_seconds.sum() / all_ppo,
            1 - iif_seconds.sum() / to_peak,
        ),
        "a round is missing: rounds are counted from 1, and the last one counts.": (
            1 - iif_seconds[: k_iif - 1].sum() / all_ppo,
            1 - iif_seconds[: k_iif - 1].sum() / ppo_seconds[: k_ppo - 1].sum(),
        ),
        "as fractions, not per cent.": (100 * real.rt_peak, 100 * real.like_for_like),
    }
    wrong = {hint: torch.tensor(x, dtype=torch.float64) for hint, x in pair.items()}
    got = fn(ppo_seconds.copy(), iif_seconds.copy(), k_ppo, k_iif)
    agree(got, expected, "(as in the paper, like for like)", wrong, atol=1e-6)
    same = 1 - ppo_seconds[:k_ppo].sum() / all_ppo
    return f"a method exactly as fast as PPO here would save {same:.0%} as the paper has it."


def _by_64(x: Tensor, rest: Callable[[Tensor], Tensor]) -> Tensor:
    full = len(x) // 64 * 64
    parts = [standardise(part) for part in x[:full].split(64)] if full else []
    return torch.cat([*parts, *([rest(x[full:])] if full < len(x) else [])])


_PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "the smaller group at the end: standardised, or left as it is": (
        lambda x: _by_64(x, standardise),
        lambda x: _by_64(x, lambda rest: rest),
    ),
    "a single record: centred, or left as it is": (
        standardise,
        lambda x: x if len(x) == 1 else standardise(x),
    ),
    "equal values: 0, or nan": (
        standardise,
        lambda x: standardise(x) / float(len(x) == 1 or bool(x.std() > 0)),
    ),
    "large values: as they are, or clipped at 1000": (
        lambda x: x - x.mean(),
        lambda x: x.clamp(-1000, 1000) - x.clamp(-1000, 1000).mean(),
    ),
    "an order that is not sorted: kept, or sorted": (
        lambda x: x - x.mean(),
        lambda x: x.sort(descending=True).values - x.mean(),
    ),
}


@check
def ex20_4(fn: Callable) -> str:
    """`fn(one, other) -> x` on which two functions differ, or None."""
    for what, (one, other) in _PAIRS.items():
        x = fn(one, other)
        if x is None:
            raise Hint(f"you found nothing, and they differ. Think of: {what.split(':')[0]}.")
        if not torch.is_tensor(x) or x.ndim != 1 or len(x) < 1:
            raise Hint(f"expected a tensor (n,) or None, your function returned {x!r}.")
        a, b = one(x.clone().double()), other(x.clone().double())
        if a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=True):
            raise Hint(
                f"on the input that you return, of {len(x)} records, they agree; return the one on "
                "which they differ."
            )
    x = fn(standardise, lambda x: standardise(x.flip(0)).flip(0))
    if x is not None:
        a, b = standardise(x.double()), standardise(x.double().flip(0)).flip(0)
        gap = float((a - b).abs().max())
        raise Hint(
            "these two are the same but for rounding, "
            f"which is {gap:.1g} on your input: compare with a tolerance, and let nan equal nan."
        )
    return f"{len(_PAIRS)} differences found, and none where there is none."


@check
def ex20_5(fn: Callable) -> str:
    """`fn() -> settings` of `PPOConfig` that might carry the result."""
    settings = fn()
    if not isinstance(settings, dict) or not settings:
        raise Hint(f"expected a dict of settings, such as {{'gamma': 0.9}}; got {settings!r}.")
    known = {f.name for f in fields(PPOConfig)}
    if unknown := sorted(set(settings) - known):
        raise Hint(f"{unknown} are no settings of PPOConfig; it knows {', '.join(sorted(known))}.")
    default = asdict(PPOConfig.preset("paired"))
    if all(default[k] == v for k, v in settings.items()):
        raise Hint("these are the default's values: nothing would change.")
    rounds, told = 4, []
    for suspect in ({}, settings):
        gains = []
        for seed in (20, 21):
            base: dict[str, Any] = {"n_steps": 1024, "epochs": 4, "lr": 0.02, "compile": False}
            area = [
                area_under_curve(
                    PPO("FrozenLake", seed=seed, keep=keep, **(base | suspect)).learn(
                        rounds, progress=False
                    )["return_mean"]
                )
                for keep in (None, IIF(drop=0.5))
            ]
            gains.append(f"{area[1] - area[0]:+.4f}")
        told.append(", ".join(gains))
    return (
        f"a suspect. Gain of IIF over PPO on two seeds, {rounds} rounds: {told[0]} without it, "
        f"{told[1]} with it. Two seeds prove nothing."
    )
