"""Exercises of chapter 15: bias of a filter, a repaired table, the world's dice, own repairs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..estimates import same_pair, td_error
from ..exact import action_probs, exact_advantage
from ..filters import IIF
from ..ppo import PPO
from ..repair import Repair
from ..rollout import Rollout
from ._result import Hint, agree, check, numbers

ICE = "FrozenLakeSlippery"


@cache
def _buffer(task: str, seed: int) -> tuple[PPO, Rollout, Tensor]:
    """A small agent, its buffer, and the true advantages, (n,) float64."""
    agent = PPO(task, seed=seed, n_steps=1024, epochs=4, lr=0.02, compile=False)
    agent.learn(3, progress=False)
    rollout = agent.collect()
    return agent, rollout, exact_advantage(agent.policy, rollout, agent.config.gamma)


@check
def ex15_1(fn: Callable) -> str:
    """`fn(a_hat, a_true, keep) -> bias`, (n,), (n,), bool (n,) -> a number."""
    agent, rollout, truth = _buffer(ICE, 151)
    estimate = rollout.advantage.double() + 0.01  # as of a critic that is too low everywhere
    keep = IIF(drop=0.5)(agent, rollout)
    error = estimate - truth
    expected = error[keep].mean() - error.mean()
    scale = float(1 / expected.abs())
    mistakes = {
        "the mean error of all is missing: a critic that is too low everywhere then counts as the "
        "filter's doing.": error[keep].mean(),
        "turned round: above 0 if the kept records look better than they are.": -expected,
        "this is kept minus *dropped*; compare with all.": error[keep].mean() - error[~keep].mean(),
        "these are the dropped records: True means keep.": error[~keep].mean() - error.mean(),
        "the truth is missing: kept records may look better because their actions *are* "
        "better.": estimate[keep].mean() - estimate.mean(),
        "sums, not means: the kept records are fewer.": error[keep].sum() - error.sum(),
        "errors have a sign here: an optimistic and a pessimistic one cancel.": (
            error[keep].abs().mean() - error.abs().mean()
        ),
    }
    got = numbers(fn(estimate.clone(), truth.clone(), keep.clone()), (), "bias")
    scaled = {hint: scale * wrong for hint, wrong in mistakes.items()}
    agree(scale * got, scale * expected, "bias (true one set to 1)", scaled, atol=1e-6)
    return f"on this buffer IIF's choice makes the estimates look better by {float(expected):+.4f}."


@check
def ex15_2(fn: Callable) -> str:
    """`fn(a_hat, state, action, pi, strength) -> table`, (S, A)."""
    agent, rollout, _ = _buffer(ICE, 151)
    assert agent.model is not None
    with torch.no_grad():
        pi = action_probs(agent.policy, agent.model)
    pi = (pi**8) / (pi**8).sum(1, keepdim=True)  # far from uniform, and from the buffer's shares
    state, action = rollout.state[:200], rollout.action[:200].long()  # some pairs never occur
    a_hat = 10 * (rollout.advantage[:200].double() - rollout.advantage[:200].double().mean())
    strength = 7.0
    total, count = torch.zeros_like(pi), torch.zeros_like(pi)
    total.index_put_((state, action), a_hat, accumulate=True)
    count.index_put_((state, action), torch.ones_like(a_hat), accumulate=True)

    def centred(mean: Tensor, weight: Tensor) -> Tensor:
        return mean - (weight * mean).sum(1, keepdim=True)

    shrunk, plain = total / (count + strength), total / count.clamp(min=1)
    visits = count / count.sum(1, keepdim=True).clamp(min=1)
    expected = centred(shrunk, pi)
    mistakes = {
        "not centred: subtract what the policy usually gets in the state.": shrunk,
        "centred by the plain mean of the actions; weigh them by the policy's "
        "probabilities.": centred(shrunk, torch.full_like(pi, 0.25)),
        "centred by how often actions occur in the buffer; the policy's probabilities are "
        "exact.": centred(shrunk, visits),
        "centred before the means are shrunk: shrink first, or the table is no longer centred "
        "under the policy.": centred(plain, pi) * count / (count + strength),
        "nothing is shrunk: divide by the number of records plus `strength`.": centred(plain, pi),
        "the sums are divided by `strength` alone.": centred(total / strength, pi),
        "the sums are not divided at all.": centred(total, pi),
        "turned round: above 0 is better than usual.": -expected,
    }
    got = fn(a_hat.clone(), state.clone(), action.clone(), pi.clone(), strength)
    agree(got, expected, "table", mistakes, atol=1e-6)
    return "shrunk means, zero on average under the policy, in all 16 states."


@check
def ex15_3(fn: Callable) -> str:
    """`fn(delta, pair) -> share`, numpy (n,), int (n,) -> a number, or nan."""
    found = {}
    for task in ("FrozenLake", ICE):
        agent, rollout, _ = _buffer(task, 152)
        delta = td_error(rollout, agent.config.gamma, agent.config.lam)[:500]
        pair = same_pair(rollout)[:500]
        pair[:25] = pair.max() + 1 + np.arange(25)  # some that occur only once
        pair = np.unique(pair, return_inverse=True)[1]
        found[task] = _share(fn, delta, pair)
    rare = np.random.default_rng(15).normal(size=20)
    got = fn(rare, np.arange(20))
    if got is None or not math.isnan(float(got)):
        raise Hint(
            f"no pair occurs twice, and your function returned {got!r}: nothing is known then, "
            "which is not 0 (a world without dice) but `nan`."
        )
    return f"{found['FrozenLake']:.0%} on the deterministic lake, {found[ICE]:.0%} on the slippery."


def _share(fn: Callable, delta: np.ndarray, pair: np.ndarray) -> float:
    """Compare one answer with the right one and the usual wrong ones; the right one."""
    count = np.bincount(pair)
    again = count[pair] > 1
    mean = (np.bincount(pair, delta) / count)[pair]
    squares = ((delta - mean) ** 2).sum()  # a pair that occurs once adds nothing
    pairs, total = int((count > 1).sum()), delta[again].var(ddof=1)
    expected = squares / (again.sum() - pairs) / total
    mistakes = {
        "pairs that occur once are counted: they agree with themselves in any world, and make it "
        "look less random.": squares / (len(delta) - len(count)) / delta.var(ddof=1),
        "sums of squares of all records: leave out pairs that occur once, and divide each sum by "
        "its degrees of freedom.": squares / ((delta - delta.mean()) ** 2).sum(),
        "divide the sum of squares by (records - pairs): every mean uses up one record.": squares
        / again.sum()
        / total,
        "that is the share *between* pairs.": 1 - expected,
        "this is not a share: divide by the variance of the records.": expected * total,
    }
    got = numbers(fn(delta.copy(), pair.copy()), (), "share")
    told = {hint: torch.tensor(wrong) for hint, wrong in mistakes.items()}
    agree(got, torch.tensor(expected), "share", told, atol=1e-6)
    return float(expected)


@check
def ex15_4(fn: Callable) -> str:
    """`fn(agent, rollout) -> rollout` with other advantages: any repair of one's own."""
    told = []
    for task, name in (("FrozenLake", "deterministic lake"), (ICE, "slippery lake")):
        agent, rollout, truth = _buffer.__wrapped__(task, 153)  # an attempt may change them
        advantage = _own_repair(fn, agent, rollout)
        theirs = Repair(rounds=1)(agent, rollout).advantage
        r = [_correlation(x, truth) for x in (advantage, theirs, rollout.advantage)]
        told.append(f"{name}: yours {r[0]:.2f}, Repair {r[1]:.2f}, the estimates {r[2]:.2f}")
    return (
        f"a repair. Correlation with the true advantages, {'; '.join(told)}. Two buffers prove "
        "nothing."
    )


def _own_repair(fn: Callable, agent: PPO, rollout: Rollout) -> Tensor:
    """The advantages of `fn(agent, rollout)`, (n,) float64.

    Raises:
        Hint: it is no rollout, changes more than advantages, or does not tell actions apart.
    """
    before = copy.deepcopy(agent.policy.state_dict())
    clock = (agent.round, agent.collected)
    given = {name: x.clone() for name, x in rollout.tensors().items()}
    got = fn(agent, rollout)
    if not isinstance(got, Rollout):
        raise Hint(
            f"expected a rollout, your function returned {type(got).__name__}: end with "
            "`return replace(rollout, advantage=...)`."
        )
    if any(not torch.equal(x, given[name]) for name, x in rollout.tensors().items()):
        raise Hint("you changed the rollout itself: make another one with `replace`.")
    moved = any(not torch.equal(p, before[k]) for k, p in agent.policy.state_dict().items())
    if moved or (agent.round, agent.collected) != clock:
        raise Hint("a repair only looks: it must neither collect nor update.")
    if len(got) != len(rollout):
        raise Hint("a repair keeps every record; leaving some out is a filter's business.")
    for name, x in got.tensors().items():
        if name != "advantage" and not torch.equal(x, given[name]):
            raise Hint(f"only advantages may change; {name} did too.")
    advantage = numbers(got.advantage, (len(rollout),), "advantage")
    if float(advantage.std()) < 1e-12:
        raise Hint("all advantages are equal: there is nothing to learn from them.")
    return advantage


def _correlation(x: Tensor, truth: Tensor) -> float:
    return float(np.corrcoef(x.double().numpy(), truth.numpy())[0, 1])
