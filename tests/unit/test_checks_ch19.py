"""Chapter 19's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("19")


def pi(net, obs):
    mean, log_std = net(obs)
    return Normal(mean, log_std.exp())


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda net, s, a: pi(net, s).log_prob(a), "one number per component"),
        (lambda net, s, a: pi(net, s).log_prob(a).mean(-1), "logarithms are summed"),
        (lambda net, s, a: pi(net, s).log_prob(a).sum(-1).exp(), "probability density"),
        (lambda net, s, a: pi(net, s).log_prob(pi(net, s).sample()).sum(-1), "new action"),
        (lambda net, s, a: pi(net, s).log_prob(a).sum(-1).detach(), "no gradient"),
        (lambda net, s, a: Normal(net(s)[0], 1.0).log_prob(a).sum(-1), "taken as 1"),
        (lambda net, s, a: Normal(net(s)[0], net(s)[1].abs()).log_prob(a).sum(-1), "*logarithm*"),
    ],
)
def test_wrapping(fn, words):
    hint(1, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda new, old: (new - old).max(), "signed"),
        (lambda new, old: (new - old).abs().mean(), "average hides"),
        (lambda new, old: (new - old).mean(), "cancel"),
        (lambda new, old: (new - old).exp().max(), "largest ratio"),
        (lambda new, old: ((new - old).exp() - 1).abs().max(), "count alike"),
    ],
)
def test_staleness(fn, words):
    hint(2, fn, words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x: x.reshape(-1, *x.shape[2:]), "time by time"),
        (lambda x: x.swapaxes(0, 1), "axes are exchanged"),
        (lambda x: x.flip(0).swapaxes(0, 1).reshape(-1, *x.shape[2:]), "backwards"),
    ],
)
def test_order(fn, words):
    hint(3, fn, words)


def stratified(keep, env, rng):
    control = torch.ones_like(keep)
    for e in env.unique():
        mine = np.flatnonzero(env.numpy() == int(e))
        count = int((~keep[mine]).sum())
        control[rng.choice(mine, count, replace=False)] = False
    return control


def overall(keep, env, rng):
    return keep[torch.from_numpy(rng.permutation(len(keep)))]


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (overall, "not in each environment"),
        (lambda keep, env, rng: keep, "left to `rng`"),
        (lambda keep, env, rng: ~stratified(keep, env, rng), "True means keep"),
        (lambda keep, env, rng: torch.ones_like(keep), "on average"),
        (lambda keep, env, rng: stratified(keep, env, rng).float() * 2, "expected a mask"),
        (lambda keep, env, rng: keep if rng.random() < 0.5 else stratified(keep, env, rng), "more"),
    ],
)
def test_controls(fn, words):
    hint(4, fn, words)
