"""Exercises of chapter 17: weights in a loss, DQN's target, a group without a member, own units."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..algorithms import DQN, a2c
from ..algorithms.bellman import bellman_targets, chosen
from ..attribution import influence
from ..fidelity import rank_correlation
from ..groundtruth import FrozenRound, outcomes
from ..targets import ExactReturn
from ._result import Hint, agree, check, numbers


@check
def ex17_1(fn: Callable) -> str:
    """`fn(log_prob, advantage, weight) -> loss`: A2C's loss, summed, with a weight per record."""
    generator = torch.Generator().manual_seed(17)
    log_prob, advantage, weight = torch.randn(3, 9, generator=generator).double()
    log_prob, weight = -log_prob.abs(), 1 + weight.abs()
    right = -(weight * advantage * log_prob).sum()
    agree(
        fn(log_prob.clone(), advantage.clone(), weight.clone()),
        right,
        "loss",
        {
            "the sign is turned: training makes the loss small, and should make good actions "
            "likelier.": -right,
            "the weights are missing: without them there is nothing to differentiate by.": (
                -(advantage * log_prob).sum()
            ),
            "summed, not averaged: the score is per record, not per record of n.": right / 9,
            "divide by nothing: dividing by the weights' sum makes every weight act on all "
            "records.": right / weight.sum(),
            "the weight belongs on the record's whole loss, not inside its probability.": (
                -(advantage * (weight * log_prob.exp()).log()).sum()
            ),
        },
    )
    return "at weights of 1 it is the loss, and its derivative in a weight is that record's part."


@check
def ex17_2(fn: Callable) -> str:
    """`fn(q, data, gamma) -> f`: minus the mean squared Bellman error, y held fixed."""
    agent = DQN("FrozenLake", seed=17, n_steps=128, updates=20, lr=0.3, explore=2)
    agent.learn(3)
    q, gamma = agent.policy, 0.9
    data = agent.replay
    assert data is not None and bool(data.terminated.any())
    with torch.no_grad():
        list(q.parameters())[-1].add_(0.3)  # so that what stands behind a terminal state counts
        error = chosen(q, data) - bellman_targets(q, data, gamma)
        endless = data.reward + gamma * q(data.next_obs).max(-1).values
        own = data.reward + gamma * ~data.terminated * chosen_next(q, data)
    mistakes = {
        "a target is raised by what helps: without the minus, records that *spoil* the fit would "
        "score above 0.": error.square().mean(),
        "the mean is asked for, not the sum.": -error.square().sum(),
        "squared, not absolute.": -error.abs().mean(),
        "a terminal state is followed by nothing: there y is the reward alone.": -(
            chosen(q, data).detach() - endless
        )
        .square()
        .mean(),
        "the best action of the next state counts, not the one that was taken before.": -(
            chosen(q, data).detach() - own
        )
        .square()
        .mean(),
    }
    f = fn(q, data, gamma)
    agree(f, -error.square().mean(), "f", mistakes)
    if not isinstance(f, Tensor) or not f.requires_grad:
        raise Hint("f must be a tensor that can be differentiated in q's parameters.")
    slope = torch.autograd.grad(f, list(q.parameters()), allow_unused=True)
    fixed = -(chosen(q, data) - bellman_targets(q, data, gamma)).square().mean()
    expected = torch.autograd.grad(fixed, list(q.parameters()))
    if any(a is None or not torch.allclose(a, b, atol=1e-5) for a, b in zip(slope, expected)):
        raise Hint(
            "the number is right, its gradient is not: y must be held fixed (torch.no_grad), or "
            "the target can be raised by moving y to Q instead of Q to y."
        )
    return "positive helps, y stands still, and an episode's end is an end."


def chosen_next(q: nn.Module, data: object) -> Tensor:
    """Q(s', a) with the action of s: a usual mistake."""
    following = q(data.next_obs)  # type: ignore[attr-defined]
    return following.gather(-1, data.action.unsqueeze(-1)).squeeze(-1)  # type: ignore[attr-defined]


@check
def ex17_3(fn: Callable) -> str:
    """`fn(reward, i) -> advantages` of the other members of a group, without member i."""
    reward = torch.tensor([1.0, 0.0, 0.0, 0.5, 0.25, 0.0]).double()
    equal = torch.tensor([0.5, 0.5, 1.0, 0.5]).double()

    def among(r: Tensor, unbiased: bool = True) -> Tensor:
        return (r - r.mean()) / (r.std(correction=int(unbiased)) + 1e-4)

    for i in (0, 3):
        rest = torch.arange(6) != i
        left = reward[rest]
        agree(
            fn(reward.clone(), i),
            among(left),
            "advantages",
            {
                "these are the old advantages with one left out: mean and spread still hold the "
                "member that is gone.": among(reward)[rest],
                "the mean is new, the spread is still that of the whole group.": (
                    left - left.mean()
                )
                / (reward.std() + 1e-4),
                "the standard deviation divides by one less than the number of members.": among(
                    left, False
                ),
                "centred; now divide by the spread.": left - left.mean(),
            },
            atol=2e-4,
        )
    agree(
        fn(equal.clone(), 2),
        torch.zeros(3),
        "advantages of three equal members",
        {"the odd one is gone: the others have nothing to be better than.": among(equal)[:2]},
    )
    return (
        "whoever leaves a group takes its part of the mean along: everyone else's lesson changes."
    )


@check
def ex17_4(fn: Callable) -> str:
    """`fn(rollout) -> unit`, whole numbers (n,): which records stand or fall together."""
    agent = a2c("FrozenLake", seed=17, n_steps=384, lr=0.4, compile=False)
    agent.learn(40, progress=False)
    rollout = agent.collect()
    unit = numbers(fn(rollout), (384,), "unit")
    if not torch.equal(unit, unit.round()):
        raise Hint("expected a whole number for each record: the number of its unit.")
    names, place = torch.unique(unit, return_inverse=True)
    if len(names) < 3:
        raise Hint(f"{len(names)} units: a rank correlation needs at least three.")
    score = influence(agent.policy, rollout, ExactReturn(), normalize="rollout").double()
    total = torch.zeros(len(names), dtype=torch.float64).index_add_(0, place, score)
    keep = place != torch.arange(len(names)).unsqueeze(1)
    everyone = torch.ones(1, 384, dtype=torch.bool)
    after = outcomes(
        FrozenRound.of(agent, rollout), torch.cat([everyone, keep]), ExactReturn(), critic=False
    )
    effect = after[0] - after[1:]
    rho = rank_correlation(total, effect, resamples=0).mean
    size = float(torch.bincount(place).double().mean())
    return (
        f"{len(names)} units of {size:.1f} records on average; the sum of a unit's scores orders "
        f"the effects of leaving it out at {rho:.3f}. The largest effect of one unit: "
        f"{100 * float(effect.abs().max()):.3f} points of 100."
    )
