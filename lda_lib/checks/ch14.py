"""Exercises of chapter 14: Adam's score, a changed order, momentum, a whole step, own scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..config import PPOConfig
from ..fidelity import lds
from ..filters import agent_scores
from ..groundtruth import FrozenRound, outcomes, random_subsets
from ..ppo import PPO
from ..step import OptState, optimizer_step
from ..targets import ExactReturn
from ._result import Hint, agree, check, numbers, own_scores

B1, B2 = 0.9, 0.999


@check
def ex14_1(fn: Callable) -> str:
    """`fn(v, push, second, t, eps) -> scores`: (p,), (n, p), Adam's raw second moment (p,)."""
    rng = np.random.default_rng(14)
    for t in (3, 400):
        v, push = torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.normal(size=(9, 5)))
        second = torch.from_numpy(rng.normal(size=5) ** 4 + 0.01) * (1 - B2**t)
        eps, hat = 0.3, second / (1 - B2**t)
        D = 1 / (hat.sqrt() + eps)
        mistakes = {
            "these are the scores of plain SGD: D is missing.": push @ v,
            "`second` began at zero: divide it by 1 - 0.999^t first, as Adam does.": push
            @ (v / (second.sqrt() + eps)),
            "Adam divides by the *root* of the second moment.": push @ (v / (hat + eps)),
            "eps stands beside the root, not under it.": push @ (v / (hat + eps).sqrt()),
            "you multiply by the root: Adam divides by it, a component that rarely has a gradient "
            "moves further.": push @ (v * (hat.sqrt() + eps)),
            "D stands there twice: the step is scaled, the target's gradient is not. One of the "
            "two factors takes D.": (push * D) @ (v * D),
            "the sign is turned: `push` is minus the gradient of the loss already.": -(push * D)
            @ v,
        }
        args = (v.clone(), push.clone(), second.clone(), t, eps)
        agree(fn(*args), (push * D) @ v, "scores", mistakes, atol=1e-8)
    return "the target's change by the step that Adam makes, one factor D in the middle."


@check
def ex14_2(fn: Callable) -> str:
    """`fn() -> v, push, D`: (2,), (2, 2), (2,); SGD's top record is Adam's bottom record."""
    got = fn()
    if not isinstance(got, tuple | list) or len(got) != 3:
        raise Hint("return three things: v, push and D.")
    shapes = {"v": (2,), "push": (2, 2), "D": (2,)}
    v, push, D = (
        numbers(x, shape, name) for x, (name, shape) in zip(got, shapes.items(), strict=True)
    )
    if not (D > 0).all():
        raise Hint("D = 1 / (sqrt u_hat + eps) is above 0 in each component.")
    sgd, adam = push @ v, (push * D) @ v
    if not sgd[0] > sgd[1] or not sgd[0] > 0:
        raise Hint(
            f"with plain SGD record 0 must be above 0 and above record 1, you have "
            f"{float(sgd[0]):.3g} and {float(sgd[1]):.3g}."
        )
    if D[0] == D[1]:
        raise Hint("both components of D are equal: a common factor changes neither sign nor rank.")
    if (push[0] * v >= 0).all():
        raise Hint(
            "record 0 helps in both components: no D above 0 can make that negative. It must help "
            "in one and harm in the other."
        )
    if not adam[0] < 0:
        raise Hint(
            f"under Adam record 0 still has {float(adam[0]):+.3g}: give the component in which it "
            "harms a larger D."
        )
    if not adam[1] > 0:
        raise Hint(f"under Adam record 1 must be above 0, you have {float(adam[1]):+.3g}.")
    return (
        f"SGD {float(sgd[0]):+.3g} and {float(sgd[1]):+.3g}, Adam {float(adam[0]):+.3g} and "
        f"{float(adam[1]):+.3g}: the order is turned round, and D is no constant."
    )


@check
def ex14_3(fn: Callable) -> str:
    """`fn(k, t) -> share`: of a push met at step t, what Adam has applied k steps later."""

    def applied(k: int, t: int) -> Tensor:
        past = torch.arange(k + 1, dtype=torch.float64)
        return (((1 - B1) * B1**past) / (1 - B1 ** (t + past))).sum()

    for k, t in ((0, 10_000), (9, 10_000), (3, 2), (20, 5)):
        past = torch.arange(k + 1, dtype=torch.float64)
        mistakes: dict[str, Tensor] = {
            "this is what is still to come, not what has been applied.": 1 - applied(k, t),
            "k steps later k + 1 steps have been made: its own is one of them.": applied(k - 1, t),
            "only the last of the steps is here: sum over all from its own on.": applied(k, t)
            - applied(k - 1, t),
            "m is divided by 1 - 0.9^step before it is used. In the first steps this counts.": (
                (1 - B1) * B1**past
            ).sum(),
            "each step has its own correction: 1 - 0.9^(t + j) in the j-th step after.": (
                (1 - B1) * B1**past
            ).sum()
            / (1 - B1**t),
        }
        agree(fn(k, t), applied(k, t), f"the share for k = {k}, t = {t}", mistakes)
    return (
        f"a tenth at once, {float(applied(9, 10_000)):.0%} after ten steps; a record of Adam's "
        f"first step counts {float(applied(200, 1)):.1f} times."
    )


@check
def ex14_4(fn: Callable) -> str:
    """`fn(v, push, g, m, second, t, lr, eps) -> (n,)`: d f / d weight through one Adam step.

    v (p,) target gradient after the step; push (n, p) minus each record's part of the minibatch's
    gradient g (p,); m, second (p,) Adam's raw moments before the step; t the step's number, from 1.
    """
    rng = np.random.default_rng(41)
    lr, eps = 0.01, 1e-3
    for t in (1, 6, 2000):
        v, push = torch.from_numpy(rng.normal(size=4)), torch.from_numpy(rng.normal(size=(7, 4)))
        g, age = -push.sum(0), min(t - 1, 50) / 50
        m = torch.from_numpy(rng.normal(size=4)) * age
        second = torch.from_numpy(rng.normal(size=4) ** 2 + 1.0) * age

        def after(
            w: Tensor, push: Tensor = push, m: Tensor = m, second: Tensor = second, t: int = t
        ) -> Tensor:
            """The parameters' change by the package's own step."""
            state = OptState({"x": m}, {"x": second}, torch.tensor(t - 1.0, dtype=torch.float64))
            start = {"x": torch.zeros(4, dtype=torch.float64)}
            config = PPOConfig(optimizer="adam", adam_eps=eps)
            step = optimizer_step(start, {"x": -(w @ push)}, state, torch.tensor(lr), config)
            return step[0]["x"]

        weight = torch.ones(7, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(v @ after(weight), weight)
        c1, c2 = 1 - B1**t, 1 - B2**t
        new_m, new_second = B1 * m + (1 - B1) * g, B2 * second + (1 - B2) * g * g
        root = (new_second / c2).sqrt()
        D = 1 / (root + eps)
        first = lr * (1 - B1) / c1 * push @ (v * D)
        S = new_m / c1 * D * D / (2 * root)
        rest = lr * 2 * (1 - B2) / c2 * push @ (v * S * g)
        stale = (second / (1 - B2 ** max(t - 1, 1))).sqrt() + eps
        mistakes = {
            "this is the term through m alone. The record is in g, and g is in the second moment, "
            "too: without it, D would be another.": first,
            "the second term has the wrong sign: a record that makes g longer makes D "
            "shorter.": first + rest,
            "the derivative of g * g is 2 g: the second term counts twice as much.": first
            - rest / 2,
            "D is that of the moments *after* the step: they hold this minibatch already.": lr
            * (1 - B1)
            / c1
            * push
            @ (v / stale)
            - lr * 2 * (1 - B2) / c2 * push @ (v * S * g),
            "the sign is turned.": -expected,
            "the bias corrections are missing: m / (1 - 0.9^t), second / (1 - 0.999^t).": lr
            * (1 - B1)
            * push
            @ (v / (new_second.sqrt() + eps))
            - lr
            * 2
            * (1 - B2)
            * push
            @ (v * new_m / (2 * new_second.sqrt() * (new_second.sqrt() + eps) ** 2) * g),
        }
        args = (v.clone(), push.clone(), g.clone(), m.clone(), second.clone(), t, lr, eps)
        agree(fn(*args), expected, f"the derivative at step {t}", mistakes, atol=1e-9)
    return "both ways through Adam's step; at step 1 they cancel, up to eps."


@check
def ex14_5(fn: Callable) -> str:
    """`fn(agent, rollout) -> scores`, (n,): a score for an agent that learns with Adam."""
    agent = PPO("FrozenLake", seed=14, n_steps=512, optimizer="adam", lr=3e-4, compile=False)
    agent.learn(4, progress=False)
    rollout = agent.collect()
    scores = own_scores(fn, agent, rollout)
    keep = random_subsets(len(rollout), 0.8, 40, np.random.default_rng(14))
    outcome = outcomes(FrozenRound.of(agent, rollout), keep, ExactReturn(), critic=False)
    rivals = {
        "yours": scores,
        "the plain score": agent_scores(agent, rollout, normalize="rollout"),
        "the Adam-aware one": agent_scores(agent, rollout, normalize="rollout", adam_aware=True),
    }
    found = {name: lds(x, keep, outcome) for name, x in rivals.items()}
    told = [f"{name} {x.mean:.2f} [{x.low:.2f}, {x.high:.2f}]" for name, x in found.items()]
    return f"LDS at 80 % kept, on 40 subsets of one round: {'; '.join(told)}."
