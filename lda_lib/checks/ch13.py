"""Exercises of chapter 13: operations, Amdahl's law, three factors, break-even, cheaper scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, jvp

from ..attribution import influence
from ..cost import flops
from ..metrics import runtime_saving
from ..ppo import PPO
from ._result import Hint, agree, check, numbers


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers = [x for pair in pairwise(widths) for x in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def _counted(widths: tuple[int, ...]) -> tuple[int, int, int]:
    """Operations of a forward pass, forward and backward, and a jvp of one record: by torch."""
    net, x = _mlp(widths), torch.ones(1, widths[0])
    params = {k: p.detach() for k, p in net.named_parameters()}

    def run(p: dict[str, Tensor]) -> Tensor:
        return functional_call(net, p, (x,)).sum(1)

    def both() -> None:
        torch.autograd.grad(net(x).sum(), list(net.parameters()))

    with torch.no_grad():
        forward, along = flops(lambda: net(x)), flops(lambda: jvp(run, (params,), (params,)))
    return forward, flops(both), along


@check
def ex13_1(fn: Callable) -> str:
    """`fn(widths) -> (forward, forward and backward, jvp)`, operations for one record."""
    for widths in ((3, 5, 2), (16, 64, 64, 4), (8, 64, 64, 1), (4, 7)):
        F, both, along = _counted(widths)
        F1, last = 2 * widths[0] * widths[1], 3 * F - 2 * widths[-2] * widths[-1]
        Fb = F + 2 * sum(widths[1:])  # with biases
        both_b = 3 * Fb - F1 - 2 * widths[1]
        wrong = {
            "a multiplication and an addition are two operations.": (F / 2, both / 2, along / 2),
            "nobody asks for the gradient in the observations: in the first layer the backward "
            "pass makes one product, not two.": (F, 3 * F, along),
            "that would be enough, but torch's jvp does not notice that the observations stand "
            "still: three products in *every* layer.": (F, both, both),
            "turned round: the backward pass is spared one, the jvp is not.": (
                F,
                along,
                both,
            ),
            "the second number is the forward pass *and* the backward pass.": (F, both - F, along),
            "a jvp carries the outputs *and* their change, and the change of W x has two parts: "
            "three products.": (F, both, 2 * F),
            "biases are added, not multiplied: leave them out.": (Fb, both_b, 3 * Fb),
            "the *first* layer is the exception, not the last.": (F, last, along),
            "a backward pass makes two products in every layer but the first.": (F, 2 * F, along),
        }
        expected = torch.tensor([F, both, along], dtype=torch.float64)
        mistakes = {hint: torch.tensor(x, dtype=torch.float64) for hint, x in wrong.items()}
        if F1 == F:  # one layer: several of these are right there
            mistakes = {}
        got = numbers(fn(widths), (3,), f"the three counts of {widths}")
        agree(got, expected, f"the three counts of {widths}", mistakes, atol=0.5)
    return "as torch counts them: back or along, about three forward passes."


@check
def ex13_2(fn: Callable) -> str:
    """`fn(collect, score, step, n, kept, batch, epochs) -> share` of PPO's round that is saved."""
    cases = [
        (4.0, 0.5, 0.02, 2048, 1600, 64, 10),
        (1.0, 0.3, 0.01, 2048, 1030, 64, 10),
        (0.5, 0.4, 0.001, 2048, 2000, 64, 10),  # costs more than it saves
        (70.0, 0.1, 0.006, 2048, 1100, 64, 10),
    ]
    for collect, score, step, n, kept, batch, epochs in cases:
        S0, S = (epochs * (m // batch) for m in (n, kept))
        whole = collect + S0 * step
        right = (S0 * step - S * step - score) / whole
        share = kept / n
        wrong = {
            "that is the share of records dropped; collecting takes as long as before.": 1 - share,
            "that is a saving in the *update*: compare whole rounds.": (
                1 - (S * step + score) / (S0 * step)
            ),
            "scoring takes time as well.": (S0 - S) * step / whole,
            "that is the share of time that is left; the saving is one minus that.": 1 - right,
            "an epoch makes whole minibatches only: round down.": (
                (S0 * step - epochs * kept / batch * step - score) / whole
            ),
            "an epoch makes whole minibatches only; a remainder is left out, not added.": (
                (S0 * step - epochs * math.ceil(kept / batch) * step - score) / whole
            ),
            "as a share of PPO's round, not of the filtered one.": (
                (S0 * step - S * step - score) / (collect + score + S * step)
            ),
            "dropped records had to be collected: that phase does not shrink.": (
                1 - (collect * share + score + S * step) / whole
            ),
            "the minibatches are made once in each epoch.": (
                (n // batch - kept // batch) * step - score
            )
            / (collect + n // batch * step),
        }
        got = fn(collect, score, step, n, kept, batch, epochs)
        agree(
            got,
            torch.tensor(right, dtype=torch.float64),
            "share",
            {hint: torch.tensor(x, dtype=torch.float64) for hint, x in wrong.items()},
            atol=1e-6,
        )
    return (
        "a filter can save no more than the phase it shortens, and sometimes it saves less than 0."
    )


@check
def ex13_3(fn: Callable) -> str:
    """`fn(seconds_ppo, seconds_iif, reached_ppo, reached_iif) -> three factors`."""
    rng = np.random.default_rng(3)
    rounds, k, m = 20, 14, 9
    x, y = rng.uniform(1.0, 3.0, rounds), rng.uniform(1.0, 3.0, rounds)
    spent, to_peak, whole = y[:m].sum(), x[:k].sum(), x.sum()
    expected = np.array([m / k, (spent / m) / (to_peak / k), to_peak / whole])
    standard, filtered = (np.where(np.arange(1, rounds + 1) >= r, 0.9, 0.1) for r in (k, m))
    saving = runtime_saving(standard, filtered, x, y)
    assert np.isclose(1 - expected.prod(), saving.rt_peak)
    assert np.isclose(1 - expected[:2].prod(), saving.like_for_like)
    one, two, three = expected
    wrong = {
        "those are savings; return the factors themselves, 1 for a method that changes nothing.": 1
        - expected,
        "turned round: the filtered run stands above the line, PPO below.": 1 / expected,
        "the seconds of a round are those on the way to the level, not of all rounds.": [
            one,
            y.mean() / x.mean(),
            three,
        ],
        "the last factor is in seconds, not in rounds.": [one, two, k / rounds],
        "the last factor is PPO's alone: its way to the level, in its whole run.": [
            one,
            two,
            spent / whole,
        ],
        "the second factor is about *one* round: divide either time by its rounds.": [
            one,
            spent / to_peak,
            three,
        ],
        "a round is missing: rounds are counted from 1, and the last one counts.": [
            one,
            (y[: m - 1].sum() / m) / (x[: k - 1].sum() / k),
            x[: k - 1].sum() / whole,
        ],
        "in another order: rounds, seconds a round, share of PPO's run.": expected[[1, 0, 2]],
    }
    mistakes = {hint: torch.tensor(np.array(v)) for hint, v in wrong.items()}
    agree(fn(x.copy(), y.copy(), k, m), torch.from_numpy(expected), "the factors", mistakes, 1e-6)
    return (
        f"their product is {expected.prod():.2f}. PPO against itself has 1, 1 and {three:.2f}, and "
        f"so an RT_peak of {1 - three:.0%}."
    )


@check
def ex13_4(fn: Callable) -> str:
    """`fn(score, step, n, batch, epochs) -> count`: fewest records to drop, or None."""
    cases = {
        (0.0, 0.01, 2048, 64, 10): "scores that cost nothing are paid for with nothing",
        (0.05, 0.01, 2048, 64, 10): "one minibatch less is ten steps less, and one record is "
        "enough for that: the remainder is left out",
        (0.15, 0.01, 2048, 64, 10): "two minibatches have to go",
        (0.20, 0.01, 2048, 64, 10): "exactly paid for is paid for",
        (0.15, 0.01, 2100, 64, 10): "2100 records are 32 minibatches and a remainder, which is "
        "dropped in any case",
        (0.008, 0.005, 15, 5, 1): "two of three minibatches of 5 have to go",
        (0.004, 0.005, 15, 15, 1): "the only minibatch cannot go",
        (9.0, 0.01, 2048, 64, 10): "even with one minibatch left the scores are not paid for",
    }
    for (score, step, n, batch, epochs), why in cases.items():
        gone = max(0, math.ceil(round(score / (epochs * step), 9)))  # minibatches that have to go
        left = n // batch - gone
        right = None if left < 1 else 0 if gone == 0 else n - batch * (left + 1) + 1
        got = fn(score, step, n, batch, epochs)
        case = f"score {score:g}, step {step:g}, n {n}, batch {batch}, epochs {epochs}"
        if right is None or got is None:
            if got is not right:
                raise Hint(f"{case}: you say {got!r}, expected {right!r}: {why}.")
            continue
        value = int(numbers(got, (), "count"))
        if value != right:
            raise Hint(f"{case}: you say {value}, expected {right}: {why}.")
    return "the price of scores, in records."


def _into(got: list[object], fn: Callable, *args: object) -> None:
    got.append(fn(*args))


@check
def ex13_5(fn: Callable) -> str:
    """`fn(agent, rollout) -> scores`, (n,): cheaper than `influence`, and how close."""
    told = []
    for task, after in (("FrozenLake", 4), ("Acrobot", 2)):
        agent = PPO(task, seed=13, n_steps=512, epochs=4, lr=0.02, compile=False)
        agent.learn(after, episodes=0, progress=False)
        rollout = agent.collect()
        exact = influence(agent.policy, rollout, normalize="none")
        price = flops(partial(influence, agent.policy, rollout, normalize="none"))
        got: list[object] = []
        mine = flops(partial(_into, got, fn, agent, rollout))
        scores = numbers(got[0], (len(rollout),), "scores")
        if float(scores.std()) == 0:
            raise Hint("all your scores are equal: they rank nothing.")
        both = float(stats.spearmanr(scores, exact).statistic)
        sign = float(((scores < 0) == (exact < 0)).float().mean())
        told.append(
            f"{task}: {mine / price:.0%} of the operations, rank correlation {both:.2f}, same sign "
            f"{sign:.0%}"
        )
    return f"scores at another price. {'; '.join(told)}. What does a filter need to be right about?"
