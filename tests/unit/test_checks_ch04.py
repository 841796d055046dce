"""Chapter 4's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lda_lib import Return, checks, influence

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("04")


def product(x, delta, W, b):
    return ((x @ W.T + b) * delta).sum(1)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x, d, W, b: ((x @ W.T) * d).sum(1), "bias is missing"),
        (lambda x, d, W, b: ((x @ W.T) * d).sum(1) + b.sum(), "without delta"),
        (lambda *a: -product(*a), "sign is turned"),
        (lambda x, d, W, b: (x @ W.T + b).sum(1), "delta is missing"),
        (lambda x, d, W, b: product(x, d, W, b) / len(x), "divided by n"),
        (lambda x, d, W, b: d @ (x @ W.T + b).T, "every delta with every input"),
        (lambda x, d, W, b: d.T @ x, "gradient of the batch"),
        (lambda *a: product(*a).sum(), "shape"),
    ],
)
def test_ghost_products(fn, words):
    assert checks.ex04_1(product)
    hint(1, fn, words)


def one_by_one(losses, theta, v, h):
    basis = torch.eye(len(theta), dtype=theta.dtype)
    return -sum(
        (losses(theta + h * e) - losses(theta - h * e)) / (2 * h) * c for e, c in zip(basis, v)
    )


def in_place(losses, theta, v, h):
    theta += h * v
    up = losses(theta)
    theta -= 2 * h * v
    return -(up - losses(theta)) / (2 * h)


def forward(losses, theta, v, h):
    return (losses(theta + h * v) - losses(theta)) / h


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda f, t, v, h: (f(t + h * v) - f(t - h * v)) / (2 * h), "the sign"),
        (lambda f, t, v, h: -(f(t + h * v) - f(t - h * v)) / h, "2 h apart, not h"),
        (lambda f, t, v, h: -(f(t + h * v) - f(t - h * v)), "nothing is divided"),
        (lambda *a: -forward(*a), "one-sided: "),
        (lambda *a: forward(*a), "one-sided, and"),
        (one_by_one, "two evaluations"),
        (in_place, "theta has changed"),
    ],
)
def test_two_forward_passes(fn, words):
    hint(2, fn, words)


def whole(G, A, Z):
    return Z * (G @ (A @ G / len(A)))


def own(G, A, Z):
    return Z * A * (G * G).sum(1) / len(A)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (whole, "own vote is still in"),
        (own, "for itself alone"),
        (lambda *a: whole(*a) + own(*a), "added instead"),
        (lambda G, A, Z: whole(G, A, Z) - own(G, Z, Z), "Z enters once"),
        (lambda G, A, Z: whole(G, A, Z) - own(G, A, A), "A enters once"),
        (lambda G, A, Z: whole(G, A, Z) - len(A) * own(G, A, Z), "division by n is missing"),
        (
            lambda G, A, Z: (whole(G, A, Z) - own(G, A, Z)) * len(A) / (len(A) - 1),
            "divisor of the mean stays n",
        ),
        (lambda G, A, Z: whole(G, A, A) - own(G, A, A), "has Z, not A"),
    ],
)
def test_own_votes(fn, words):
    hint(3, fn, words)


def stale(agent, rollout, before):
    return influence(agent.policy, rollout, Return(), normalize="none")


def overwritten(agent, rollout, before):
    agent.policy.load_state_dict(before)
    return influence(agent.policy, rollout, Return(), normalize="none")


def anew(agent, rollout, before):
    return influence(agent.policy, agent.collect(), Return(), normalize="none")


def other_advantages(agent, rollout, before):
    policy = copy.deepcopy(agent.policy)
    policy.load_state_dict(before)
    return influence(policy, rollout, Return())


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (stale, "*after* the update"),
        (overwritten, "lost what it learnt"),
        (anew, "no new records"),
        (other_advantages, "raw advantages"),
    ],
)
def test_stale_records(fn, words):
    hint(4, fn, words)


class Tiny(nn.Module):
    """A policy of one linear layer, with parts that may be wrong."""

    def __init__(self, norm: nn.Module, log_softmax: bool = True, flat: bool = True):
        super().__init__()
        self.norm, self.out = norm, nn.Linear(16, 4)
        self.log_softmax, self.flat = log_softmax, flat

    def log_prob(self, obs, action):
        out = self.out(self.norm(obs))
        out = out.log_softmax(-1) if self.log_softmax else out
        chosen = out.gather(-1, action.long().unsqueeze(-1))
        return chosen.squeeze(-1) if self.flat else chosen


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda s, a: "a network", "expected a torch.nn.Module"),
        (lambda s, a: nn.Linear(s, a), "no method"),
        (lambda s, a: Tiny(nn.LayerNorm(s), flat=False), "shape"),
        (lambda s, a: Tiny(nn.LayerNorm(s), log_softmax=False), "add up to"),
        (lambda s, a: Tiny(nn.Identity()), "ghost knows all its layers"),
        (lambda s, a: Tiny(nn.BatchNorm1d(s, track_running_stats=False)), "batch normalisation"),
    ],
)
def test_own_networks(fn, words):
    hint(5, fn, words)


def test_any_module_with_a_log_prob_will_do():
    assert checks.ex04_5(lambda s, a: Tiny(nn.LayerNorm(s)))
