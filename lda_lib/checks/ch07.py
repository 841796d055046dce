"""Exercises of chapter 7: base rates, signs and noise, controls, replayed advantages, own rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..attribution import influence
from ..diagnosis import rank_correlation, replayed_advantage
from ..exact import exact_advantage
from ..filters import lowest
from ..ppo import PPO
from ..rollout import Rollout
from ._result import Hint, agree, check, numbers


@cache
def _buffer(task: str, rounds: int) -> tuple[PPO, Rollout]:
    agent = PPO(task, seed=7, n_steps=1024, lr=0.03, compile=False)  # a few rounds go far
    for _ in range(rounds):
        agent.update(agent.collect())
    return agent, agent.collect()


@check
def ex07_1(fn: Callable) -> str:
    """`fn(chosen, holds) -> (share, base, times)`, chosen and holds bool (n,)."""
    chosen = torch.zeros(40, dtype=torch.bool)
    chosen[[1, 5, 8, 20, 30]] = True
    holds = torch.arange(40) % 5 == 0
    holds[1] = True
    share, base = holds[chosen].double().mean(), holds.double().mean()
    others, reverse = holds[~chosen].double().mean(), chosen[holds].double().mean()

    def answer(a: Tensor, b: Tensor, times: Tensor | None = None) -> Tensor:
        return torch.stack([a, b, a / b if times is None else times])

    mistakes = {
        "the share is turned round: you count how many of the records that show the pattern are "
        "chosen; the question is how many of the chosen show it.": answer(reverse, base),
        "both are turned round: count among the chosen (share) and among all (base).": answer(
            reverse, chosen.double().mean()
        ),
        "the base rate is that of the whole buffer, the chosen included.": answer(share, others),
        "these are counts: divide by the number of records looked at.": answer(
            holds[chosen].double().sum(), holds.double().sum()
        ),
        "the last number is upside down: how many times as often as in the buffer?": answer(
            share, base, base / share
        ),
        "the last number is a difference: divide the share by the base rate.": answer(
            share, base, share - base
        ),
        "the share counts over the whole buffer: among the chosen only.": answer(
            (holds & chosen).double().mean(), base
        ),
    }
    got = fn(chosen, holds)
    if not isinstance(got, tuple | list) or len(got) != 3:
        raise Hint(f"expected three numbers, share, base and times; your function returned {got!r}")
    got = torch.stack([torch.as_tensor(x).double().reshape(()) for x in got])
    agree(got, answer(share, base), "(share, base, times)", mistakes)
    return "a share, and what it is worth."


@check
def ex07_2(fn: Callable) -> str:
    """`fn(a_hat, a_mc, se) -> (wrong, right, open)`, three bool (n,)."""
    a_hat = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 2.0, -0.1, 1.0])
    a_mc = torch.tensor([3.0, 3.0, -3.0, -3.0, 1.0, 1.0, -1.0, -1.0, 0.0])
    se = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.4, 0.0])
    clear = a_mc.abs() > 2 * se
    differ, same = a_hat * a_mc < 0, a_hat * a_mc > 0

    def stacked(wrong: Tensor, right: Tensor, rest: Tensor) -> Tensor:
        return torch.stack([wrong, right, rest]).double()

    one = a_mc.abs() > se
    large = (a_hat - a_mc).abs() > 2 * se
    mistakes = {
        "the noise is ignored: an estimate within two standard errors of 0 has no sign yet, it "
        "belongs to `open`.": stacked(differ, same, ~differ & ~same),
        "wrong and right are exchanged: wrong is where the signs differ.": stacked(
            same & clear, differ & clear, ~clear
        ),
        "two standard errors, not one.": stacked(differ & one, same & one, ~one),
        "this asks whether A_hat and A_mc differ at all. A sign is wrong only if A_mc itself is "
        "told apart from 0.": stacked(differ & large, same & large, ~large),
        "wrong and right are as they should be; `open` is all the rest.": stacked(
            differ & clear, same & clear, torch.zeros_like(clear)
        ),
    }
    got = fn(a_hat, a_mc, se)
    if not isinstance(got, tuple | list) or len(got) != 3:
        raise Hint(f"expected three masks, wrong, right and open; your function returned {got!r}")
    got = torch.stack([numbers(x, (9,), "each mask") for x in got])
    agree(got, stacked(differ & clear, same & clear, ~clear), "(wrong, right, open)", mistakes)
    return "what cannot be told from noise stays open."


@check
def ex07_3(fn: Callable) -> str:
    """`fn(a_hat, chosen, rng) -> control`, indices (m,) of others with the same estimates."""
    agent, rollout = _buffer("FrozenLake", 4)
    a_hat = rollout.advantage
    scores = influence(agent.policy, rollout, normalize="none")
    chosen = lowest(scores, 40, np.random.default_rng(0))
    rng = np.random.default_rng(3)
    control = numbers(fn(a_hat.clone(), chosen.clone(), rng), (40,), "control")
    if not ((control >= 0) & (control < len(a_hat)) & (control == control.round())).all():
        raise Hint("expected indices of records, whole numbers from 0.")
    control = control.long()
    if set(control.tolist()) & set(chosen.tolist()):
        raise Hint("a chosen record cannot be its own control: look among the others only.")
    if len(set(control.tolist())) < 40:
        raise Hint("a record stands in for two: take it out once it has been used.")
    gap = float((a_hat[control] - a_hat[chosen]).abs().mean())
    left = torch.ones(len(a_hat), dtype=torch.bool)
    left[chosen] = False
    spread = float((a_hat[left][None] - a_hat[chosen][:, None]).abs().mean())
    if gap > 0.2 * spread:
        raise Hint(
            f"their estimates are {gap:.2g} apart on average, those of random records "
            f"{spread:.2g}: take the nearest."
        )
    if (a_hat[control].sign() != a_hat[chosen].sign()).any():
        raise Hint("the sizes agree, the signs do not: match A_hat itself, not |A_hat|.")
    return f"40 other records; their estimates differ by {gap:.2g} on average."


@check
def ex07_4(fn: Callable) -> str:
    """`fn(agent, rollout, i, k, rng) -> (mean, se)`: A_true of record i from replayed states."""
    agent, rollout = _buffer("FrozenLakeSlippery", 0)
    k, before = 150, {n: p.clone() for n, p in agent.policy.state_dict().items()}
    near = (rollout.state == 14).nonzero().squeeze(1)
    chosen = [int(near[rollout.action[near] == a][0]) for a in (0, 1)]
    truth = exact_advantage(agent.policy, rollout, agent.config.gamma)
    for i in chosen:
        got = fn(agent, rollout, i, k, np.random.default_rng(i))
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise Hint(f"expected two numbers, mean and se; your function returned {got!r}")
        mean, se = (float(numbers(x, (), "mean or se")) for x in got)
        if any(not torch.equal(p, before[n]) for n, p in agent.policy.state_dict().items()):
            raise Hint("the policy's parameters changed: living on is not learning.")
        few = replayed_advantage(agent.policy, rollout, [i], k=40, seed=1)
        expected = float(few.se[0]) * (40 / k) ** 0.5
        if se == 0:
            raise Hint(
                "all k differences are the same: does each life have random numbers of its own, "
                "and does only one of the two lives begin with the record's action?"
            )
        if not expected / 3 < se < 3 * expected:
            many = f"the standard error is {se:.2g}, expected about {expected:.2g}"
            if se > 3 * expected:
                raise Hint(f"{many}: the standard deviation of the mean falls as 1 / sqrt(k).")
            raise Hint(f"{many}: is the next step drawn anew in each life (np_random)?")
        if abs(mean - float(truth[i])) > 5 * max(se, expected):
            raise Hint(
                f"record {i}: you find {mean:.3f} ± {se:.3f}, exact is {float(truth[i]):.3f}. Take "
                "the difference of two returns from the same state, one life after the record's "
                "action, one after an action of the policy's choice."
            )
    return "true advantages without a model of the world, with an honest error."


@check
def ex07_5(fn: Callable) -> str:
    """`fn(rollout) -> values`, (n,): low where the estimate has the wrong sign."""
    agent, rollout = _buffer("FrozenLake", 4)
    values = numbers(fn(rollout), (len(rollout),), "values")
    if values.unique().numel() < 3:
        raise Hint("nearly all values are equal: a rule has to tell records apart.")
    truth = exact_advantage(agent.policy, rollout, agent.config.gamma)
    product = truth * rollout.advantage
    own, score = (
        rank_correlation(x, product, rollout.episode, resamples=9).mean
        for x in (values, influence(agent.policy, rollout, normalize="none"))
    )
    if own < -0.1:
        raise Hint(
            f"turned round? Its rank correlation with A_hat * A_true is {own:+.2f}: low values are "
            "to stand for wrong signs."
        )
    return (
        f"a rule. On a hidden buffer its rank correlation with A_hat * A_true is {own:+.2f}, that "
        f"of influence {score:+.2f}. One buffer proves nothing."
    )
