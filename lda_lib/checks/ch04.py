"""Exercises of chapter 4: ghost products, two forward passes, own votes, staleness, own nets."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from ..attribution import influence
from ..ppo import PPO
from ..rollout import Rollout
from ._result import Hint, agree, check, numbers


def _agent(seed: int, n_steps: int = 128, lr: float = 0.005) -> PPO:
    return PPO("FrozenLake", seed=seed, n_steps=n_steps, epochs=2, lr=lr, compile=False)


@check
def ex04_1(fn: Callable) -> str:
    """`fn(x, delta, W, b) -> products`, (n, in), (n, out), (out, in), (out,) -> (n,)."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n, width, outputs = 7, 5, 3
    layer = {"weight": draw(outputs, width), "bias": draw(outputs)}
    x, pull, W, b = draw(n, width), draw(n, outputs), draw(outputs, width), draw(outputs)

    def loss(params: dict[str, Tensor], x: Tensor, pull: Tensor) -> Tensor:
        return (torch.nn.functional.linear(x, params["weight"], params["bias"]).tanh() * pull).sum()

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(layer, x, pull)  # the slow way
    expected = (gradients["weight"] * W).sum((1, 2)) + gradients["bias"] @ b
    out = torch.nn.functional.linear(x, layer["weight"], layer["bias"])
    delta = pull * (1 - out.tanh() ** 2)
    got = fn(x, delta, W, b)
    if isinstance(got, Tensor) and got.shape == (n, n):
        raise Hint(
            "(n, n): every delta with every input. A record's own delta goes with its own input: "
            "multiply element by element and sum over the outputs."
        )
    if isinstance(got, Tensor) and got.shape == (outputs, width):
        raise Hint(f"{tuple(got.shape)}: that is the gradient of the batch. One number per record.")
    mistakes = {
        "the bias is missing: its gradient is delta itself, so it adds delta @ b.": expected
        - delta @ b,
        "the bias enters without delta: the derivative by the bias is delta.": expected
        - delta @ b
        + b.sum(),
        "the sign is turned. This is the product of the gradient with a direction; the minus comes "
        "in when it becomes a score.": -expected,
        "delta is missing: the output along the direction has to be weighed with the loss's "
        "derivative by that output.": torch.nn.functional.linear(x, W, b).sum(1),
        "nothing is divided by n: each number belongs to one record.": expected / n,
    }
    agree(got, expected, "products", mistakes)
    return "each record's product, and no record's gradient was ever built."


@check
def ex04_2(fn: Callable) -> str:
    """`fn(losses, theta, v, h) -> scores`, (n,), from two evaluations of the losses."""
    theta = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)
    v = torch.linspace(0.5, -0.7, 6, dtype=torch.float64).exp()
    mix = torch.linspace(-2.0, 2.0, 24, dtype=torch.float64).sin().reshape(4, 6)
    calls: list[Tensor] = []

    def losses(at: Tensor) -> Tensor:
        calls.append(at)
        return (mix @ at).sin() + (mix @ at**3)

    def at(step: float) -> Tensor:
        return (mix @ (theta + step * v)).sin() + mix @ (theta + step * v) ** 3

    h = 0.05
    before = theta.clone()
    got = fn(losses, theta, v, h)
    if not torch.equal(theta, before):
        raise Hint("theta has changed: write `theta + h * v`, which makes a new tensor.")
    if len(calls) > 4:
        raise Hint(
            f"you evaluate the losses {len(calls)} times. One direction for all records: two "
            "evaluations are enough, whatever n and p are."
        )
    expected = -(at(h) - at(-h)) / (2 * h)
    mistakes = {
        "the sign: learning goes against the gradient of the loss, so the score is minus the "
        "derivative.": -expected,
        "theta + h v and theta - h v lie 2 h apart, not h.": 2 * expected,
        "nothing is divided: the score is a change per unit of step, 2 h apart.": 2 * h * expected,
        "one-sided: its error is of the order of h. Take theta - h v for the second evaluation.": -(
            at(h) - at(0.0)
        )
        / h,
        "one-sided, and the sign is turned.": (at(h) - at(0.0)) / h,
    }
    agree(got, expected, "scores", mistakes, atol=1e-9)
    return "central differences: the scores of all records from two forward passes."


@check
def ex04_3(fn: Callable) -> str:
    """`fn(G, A, Z) -> scores`, (n, p), (n,), (n,) -> (n,), each without the record's own vote."""
    generator = torch.Generator().manual_seed(3)
    G, A = (torch.randn(9, p, generator=generator, dtype=torch.float64) for p in (4, 1))
    A = A.squeeze(1)
    Z = (A - A.mean() - 0.4) / A.std()
    n = len(A)
    votes = A[:, None] * G / n
    v = votes.sum(0)
    whole, own = Z * (G @ v), Z * (G * votes).sum(1)
    expected = torch.stack([Z[i] * G[i] @ (v - votes[i]) for i in range(n)])
    mistakes = {
        "its own vote is still in: take A_i g_i / n out of v before the product.": whole,
        "this is the vote for itself alone: subtract it from the score.": own,
        "added instead of subtracted.": whole + own,
        "v holds the record with A, the advantage of the target. Z enters once, through the "
        "record's loss.": whole - Z**2 * (G * G).sum(1) / n,
        "A enters once, in v; the record's loss has Z.": whole - A**2 * (G * G).sum(1) / n,
        "its share of v is A_i g_i / n: the division by n is missing.": whole - n * own,
        "the divisor of the mean stays n, so that the scores can be compared with the whole "
        "ones.": expected * n / (n - 1),
        "the record's loss has Z, not A.": A * (G @ v) - A**2 * (G * G).sum(1) / n,
    }
    agree(fn(G, A, Z), expected, "scores", mistakes)
    return "what the other records say about each record."


@check
def ex04_4(fn: Callable) -> str:
    """`fn(agent, rollout, before) -> scores`, (n,), of a rollout the agent has learnt from."""
    agent = _agent(seed=4, lr=0.05)
    agent.learn(2, progress=False)
    rollout = agent.collect()
    before = copy.deepcopy(agent.policy.state_dict())
    expected = influence(agent.policy, rollout, normalize="none")
    agent.update(rollout)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stale = influence(agent.policy, rollout, normalize="none")
        after = copy.deepcopy(agent.policy.state_dict())
        collected = agent.collected
        scores = fn(agent, rollout, before)
    if agent.collected != collected:
        raise Hint("no new records: the question is about this rollout.")
    if any(not torch.equal(x, after[name]) for name, x in agent.policy.state_dict().items()):
        raise Hint(
            "the agent has lost what it learnt: load `before` into a copy of the policy, not into "
            "the policy itself."
        )
    scale = 1 / float(expected.abs().max())
    got = numbers(scores, (len(rollout),), "scores")
    standardised = copy.deepcopy(agent.policy)
    standardised.load_state_dict(before)
    mistakes = {
        "stale: these are scores at the policy *after* the update. The records were made by the "
        "one before; there the ratio is 1.": scale * stale,
        "raw advantages are asked for: normalize='none'.": scale * influence(standardised, rollout),
    }
    right = scale * expected
    agree(scale * got, right, "scores (largest set to 1)", mistakes, atol=1e-4)
    return "scored by the policy that made the records, and the agent kept what it learnt."


@check
def ex04_5(fn: Callable) -> str:
    """`fn(n_states, n_actions) -> nn.Module` with `log_prob(obs, action) -> (n,)`."""
    policy: Any = fn(16, 4)
    if not isinstance(policy, nn.Module):
        raise Hint(f"expected a torch.nn.Module, your function returned {type(policy).__name__}.")
    if not callable(getattr(policy, "log_prob", None)):
        raise Hint("the module has no method `log_prob(obs, action)`.")
    policy = policy.double()
    rollout = _agent(seed=5, n_steps=64).collect().to(dtype=torch.float64)
    log_prob = policy.log_prob(rollout.obs, rollout.action)
    if tuple(log_prob.shape) != (len(rollout),):
        raise Hint(f"log_prob returned shape {tuple(log_prob.shape)}, expected one for each record")
    half = policy.log_prob(rollout.obs[::2], rollout.action[::2])
    if not torch.allclose(half, log_prob[::2]):
        raise Hint(
            "log_prob of a record depends on the other records of the batch (batch normalisation) "
            "or on chance (dropout): then no record has a loss of its own."
        )
    _check_distribution(policy, rollout)
    rollout = replace(rollout, logp=log_prob.detach())
    scores = influence(policy, rollout, normalize="none")
    one_by_one = influence(policy, rollout, normalize="none", method="loop")
    if not torch.allclose(scores, one_by_one, rtol=1e-6, atol=1e-12):
        raise Hint("jvp and the loop disagree: is a part of log_prob computed without gradients?")
    try:
        influence(policy, rollout, normalize="none", method="ghost")
    except ValueError:
        parameters = sum(p.numel() for p in policy.parameters())
        return f"a network of {parameters} parameters that ghost refuses and jvp scores exactly."
    raise Hint(
        "it is right, but ghost knows all its layers: add one that it does not know, such as "
        "nn.LayerNorm, nn.Embedding or a parameter of your own."
    )


def _check_distribution(policy: nn.Module, rollout: Rollout) -> None:
    """The probabilities of all actions add up to 1 in every state."""
    total = torch.zeros(len(rollout), dtype=torch.float64)
    for a in range(4):
        action = torch.full_like(rollout.action, a)
        log_prob = policy.log_prob(rollout.obs, action)  # type: ignore[operator]
        total += log_prob.exp().detach()
    if not torch.allclose(total, torch.ones_like(total), atol=1e-6):
        raise Hint(
            f"the probabilities of the four actions add up to {float(total[0]):.3g}, expected 1: "
            "take the log-softmax over the actions."
        )
