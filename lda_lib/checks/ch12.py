"""Exercises of chapter 12: surprise, repeated visits, matched steps, pieces, own rivals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..ppo import PPO
from ..studies.single_round import twin
from ..studies.step_size import moved, update_to
from ._filter import own_filter
from ._result import Hint, agree, check, numbers


@check
def ex12_1(fn: Callable) -> str:
    """`fn(reward, value, next_value, terminated, gamma) -> delta`, all (n,)."""
    rng = np.random.default_rng(1)
    n, gamma = 12, 0.9
    reward, value, following = (torch.from_numpy(rng.normal(size=n)) for _ in range(3))
    over = torch.from_numpy(rng.random(n) < 0.4)
    expected = reward + gamma * following * ~over - value
    wrong = {
        "after a terminal state nothing follows: leave V(s') out there, whatever the critic "
        "says.": reward + gamma * following - value,
        "V(s') counts where the episode goes *on*, not where it ended.": reward
        + gamma * following * over
        - value,
        "the sign is turned: a positive error is a pleasant surprise.": -expected,
        "the discount is missing.": reward + following * ~over - value,
        "V(s) is missing: an error is what came minus what was expected.": reward
        + gamma * following * ~over,
        "only what *follows* is discounted, not what was expected.": reward
        + gamma * (following * ~over - value),
        "this is its size: a rule may want that, the error has a sign.": expected.abs(),
        "the reward of the last step counts too.": (reward + gamma * following) * ~over - value,
    }
    got = fn(reward.clone(), value.clone(), following.clone(), over.clone(), gamma)
    agree(got, expected, "delta", wrong, atol=1e-6)
    return "what came, minus what the critic had expected."


@check
def ex12_2(fn: Callable) -> str:
    """`fn(state, action, ret) -> A_mc`, (n,)."""
    rng = np.random.default_rng(2)
    n = 40
    state = torch.from_numpy(rng.integers(0, 4, n))
    action = torch.from_numpy(rng.integers(0, 3, n))
    action[state == 3] = 1  # a state with one action only
    ret = torch.from_numpy(rng.normal(size=n))

    def mean_of(group: Tensor) -> Tensor:
        total = torch.zeros(int(group.max()) + 1, dtype=ret.dtype).index_add_(0, group, ret)
        return (total / torch.bincount(group).clamp(min=1))[group]

    of_pair, of_state = mean_of(3 * state + action), mean_of(state)
    others = []  # the mean over the other actions of the state
    for i in range(n):
        there = ret[(state == state[i]) & (action != action[i])]
        others.append(there.mean() if len(there) else of_pair[i])
    wrong = {
        "you subtract the mean of *all* records; what is usual depends on the state.": of_pair
        - ret.mean(),
        "this is the mean return after the pair: subtract what is usual in the state.": of_pair,
        "turned round: positive means better than usual.": of_state - of_pair,
        "your first term is the record's own return: take the mean over all visits of its state "
        "and action.": ret - of_state,
        "your first mean is over the action alone, whatever the state.": mean_of(action) - of_state,
        "what is usual is the mean over *all* records of the state, its own action "
        "included.": of_pair - torch.stack(others),
    }
    agree(fn(state.clone(), action.clone(), ret.clone()), of_pair - of_state, "A_mc", wrong, 1e-6)
    return "all visits of a state vote on each of its actions."


@check
def ex12_3(fn: Callable) -> str:
    """`fn(distance, wanted, low, high) -> lr` that moves the policy by `wanted`."""
    cases = [(0.02, 2.0, 5e-4, 0.5), (0.3, 1.3, 1e-4, 1.0), (50.0, 2.0, 5e-4, 0.5)]
    spent = 0
    for wanted, power, low, high in cases:
        calls: list[float] = []

        def distance(lr: float, power: float = power, calls: list[float] = calls) -> float:
            calls.append(float(lr))
            if len(calls) > 60:
                raise Hint(
                    "more than 60 updates and no end: halve the interval each time, and stop "
                    "within 1 %."
                )
            return 40.0 * float(lr) ** power

        got = float(numbers(fn(distance, wanted, low, high), (), "learning rate"))
        reached = 40.0 * got**power
        if 40.0 * high**power < wanted:
            if got != high:
                raise Hint(f"even {high} does not reach it: return that, not {got:.3g}.")
            continue
        if min(calls, default=low) < 0.99 * low or max(calls, default=high) > 1.01 * high:
            raise Hint(f"you tried rates outside [{low}, {high}].")
        if abs(reached / wanted - 1) > 0.0101:
            raise Hint(
                f"at your rate the policy moves {reached / wanted:.2f} times as far as wanted; "
                "expected within 1 %. Where it moves too far, the rate is to *fall*."
            )
        if any(np.isclose(x, (low + high) / 2) for x in calls[:3]):
            raise Hint(
                "you halve on a linear scale: rates matter by factors, so take the geometric mean "
                "of the two ends."
            )
        spent = max(spent, len(calls))
    return f"matched to 1 % in at most {spent} updates."


@check
def ex12_4(fn: Callable) -> str:
    """`fn(G, piece) -> values`, (n,): of each record's piece, without its own vote."""
    rng = np.random.default_rng(4)
    G = torch.from_numpy(rng.normal(size=(30, 6)))
    piece = torch.from_numpy(rng.permutation(np.repeat([0, 1, 2, 3], [4, 7, 9, 10])))
    size = torch.bincount(piece)
    g = torch.zeros(len(size), 6, dtype=G.dtype).index_add_(0, piece, G)
    own = (g * g).sum(1)
    whole = g @ G.sum(0)
    expected = ((whole - own) / (len(G) - size))[piece]
    single = G @ G.sum(0) - (G * G).sum(1)
    wrong = {
        "the piece votes for itself: leave its own records out of the mean (this is plain DTV).": (
            whole / len(G)
        )[piece],
        "the mean is over the records *outside* the piece: there are n - |S| of them.": (
            (whole - own) / len(G)
        )[piece],
        "this is the sum over the others; take the mean.": (whole - own)[piece],
        "g_S is the sum over the piece, not the mean.": ((whole - own) / (len(G) - size) / size)[
            piece
        ],
        "each record is judged by itself: take the sum over its piece.": single / (len(G) - 1),
        "only the record itself is left out, not its whole piece.": torch.zeros(
            4, dtype=G.dtype
        ).index_add_(0, piece, single)[piece]
        / (len(G) - 1),
    }
    agree(fn(G.clone(), piece.clone()), expected, "values", wrong, atol=1e-6)
    eye = torch.eye(6, dtype=torch.float64)
    alone = numbers(fn(eye, torch.tensor([0, 0, 1, 1, 2, 2])), (6,), "values")
    if alone.abs().max() > 1e-9:
        raise Hint("with orthogonal gradients nobody else has an opinion: expected 0.")
    return "a piece is judged by everybody else."


@check
def ex12_5(fn: Callable) -> str:
    """`fn(agent, rollout) -> keep`, bool (n,): any rule of one's own."""
    told = []
    for seed in (12, 13):
        agent = PPO("FrozenLake", seed=seed, n_steps=1024, epochs=4, lr=0.02, compile=False)
        agent.learn(4, progress=False)
        rollout = agent.collect()
        keep = own_filter(fn, agent, rollout).bool()
        whole, part, step = twin(agent), twin(agent), twin(agent)
        whole.update(rollout)
        part.update(rollout, keep)
        far, wanted = moved(whole, rollout), moved(part, rollout)
        _, reached = update_to(step, rollout, wanted)
        J, J_part, J_step = (x.evaluate().mean for x in (whole, part, step))
        told.append(
            f"drops {int((~keep).sum())} of 1024, moves {wanted / far:.1f} times as far, gains "
            f"{J_part - J:+.4f}; a bigger step ({reached / far:.1f} times) {J_step - J:+.4f}"
        )
    return f"a rule. Buffer one: {told[0]}. Buffer two: {told[1]}. Two buffers prove nothing."
