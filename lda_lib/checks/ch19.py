"""Exercises of chapter 19: a policy to wrap, stale records, a buffer's order, a fair control."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

from ._result import Hint, agree, check, numbers


class GaussianNet(nn.Module):
    """Somebody's policy: two continuous actions, `net(obs) -> (mean, log_std)`, each (n, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(3, 2)
        self.log_std = nn.Parameter(torch.tensor([-0.7, 0.4]))

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log standard deviation."""
        mean = self.mean(obs)
        return mean, self.log_std.expand_as(mean)


@check
def ex19_1(fn: Callable) -> str:
    """`fn(net, obs, action) -> log pi`, (n,), of a Gaussian policy."""
    torch.manual_seed(19)
    net, obs, action = GaussianNet(), torch.randn(8, 3), torch.randn(8, 2)
    mean, log_std = (x.detach() for x in net(obs))
    per_dim = Normal(mean, log_std.exp()).log_prob(action)
    torch.manual_seed(5)
    first = fn(net, obs, action)
    torch.manual_seed(6)
    again = fn(net, obs, action)
    if isinstance(first, torch.Tensor) and isinstance(again, torch.Tensor):
        if first.shape == again.shape and not torch.equal(first, again):
            raise Hint(
                "two calls, two answers: you draw a new action. A record is judged by the action "
                "that was taken, `action`."
            )
        if first.shape == per_dim.shape:
            raise Hint(
                "one number per component: the record needs one number, the log-probability of "
                "both components together (the components are independent)."
            )
        if not first.requires_grad:
            raise Hint("no gradient: a score needs the graph, so no `no_grad`, `detach`, `numpy`.")
    mistakes = {
        "the mean over the components: independent probabilities multiply, so their logarithms "
        "are summed.": per_dim.mean(-1),
        "this is the probability density: take its logarithm.": per_dim.sum(-1).exp(),
        "the second output of the network is the *logarithm* of the standard deviation.": (
            torch.distributions.Normal(mean, log_std.abs() + 1e-8).log_prob(action).sum(-1)
        ),
        "the standard deviation was taken as 1.": Normal(mean, 1.0).log_prob(action).sum(-1),
    }
    agree(first, per_dim.sum(-1), "log pi", mistakes)
    return "one log-probability per record, with its graph: this policy can be scored."


@check
def ex19_2(fn: Callable) -> str:
    """`fn(new, old) -> gap`, (n,), (n,) -> a number: how stale is a rollout?"""
    cases = [
        (torch.tensor([-0.5, -1.2, -0.7]), torch.tensor([-0.5, -0.7, -0.9])),
        (torch.tensor([-0.1, -2.0]), torch.tensor([-0.4, -2.0])),
        (torch.tensor([-0.3, -0.4]), torch.tensor([-0.3, -0.4])),
    ]
    for new, old in cases:
        difference = (new - old).double()
        ratio = difference.exp()
        mistakes = {
            "the largest *signed* difference: a ratio below 1 is as stale as one above.": (
                difference.max()
            ),
            "an average hides a few very stale records: ask for the worst.": (
                difference.abs().mean()
            ),
            "positive and negative differences cancel in an average.": difference.mean(),
            "this is the largest ratio, which is 1 for fresh records: take the logarithm.": (
                ratio.max()
            ),
            "this is the distance of the ratio from 1. It is close, but a ratio of 2 and one of "
            "1/2 should count alike: take |log ratio|.": (ratio - 1).abs().max(),
        }
        agree(fn(new.clone(), old.clone()), difference.abs().max(), "gap", mistakes, atol=1e-6)
    return "0 for fresh records, whichever way the policy moved."


@check
def ex19_3(fn: Callable) -> str:
    """`fn(buffer) -> records`, (T, e, ...) -> (e * T, ...): env by env, step by step."""
    for shape in ((4, 3), (3, 2, 5), (2, 2, 1, 3)):
        x = torch.arange(int(np.prod(shape))).reshape(shape)
        rest = shape[2:]
        expected = x.swapaxes(0, 1).reshape(-1, *rest)
        by_time = x.reshape(-1, *rest)
        turned = x.flip(0).swapaxes(0, 1).reshape(-1, *rest)
        got = fn(x.clone())
        got = torch.as_tensor(got) if isinstance(got, np.ndarray) else got
        if isinstance(got, torch.Tensor) and got.shape == x.shape[1::-1] + rest:
            raise Hint("the two axes are exchanged; now make one of them: (e, T, ...) -> (e * T).")
        mistakes = {
            "time by time: record 1 is another environment's, not the next step of this one. "
            "Exchange the axes before you flatten.": by_time,
            "the steps run backwards.": turned,
        }
        agree(got, expected, "records", mistakes)
    return "the next row is the next step, until the next environment begins."


@check
def ex19_4(fn: Callable) -> str:
    """`fn(keep, env, rng) -> control`, (n,), (n,) -> bool (n,): as many per environment."""
    env = torch.arange(3).repeat_interleave(20)
    keep = torch.ones(60, dtype=torch.bool)
    keep[torch.tensor([0, 3, 7, 8, 11, 15, 16, 19, 22, 30])] = False  # 8, 2 and 0 of 20
    rng, draws = np.random.default_rng(4), 300
    drop = torch.stack(
        [1 - numbers(fn(keep.clone(), env.clone(), rng), (60,), "control") for _ in range(draws)]
    )
    if not ((drop == 0) | (drop == 1)).all():
        raise Hint("expected a mask: True (keep) or False (drop) for each record.")
    per_env = torch.stack([drop[:, env == e].sum(1) for e in range(3)], 1)
    wanted = torch.tensor([8.0, 2.0, 0.0]).double()
    if (per_env == 20 - wanted).all():
        raise Hint("turned round: True means keep.")
    if (drop.sum(1) == 10).all() and not (per_env == wanted).all():
        raise Hint(
            "as many in all, but not in each environment: draw among the records of one "
            "environment at a time."
        )
    if not (per_env == wanted).all():
        counts = [round(float(x), 1) for x in per_env.mean(0)]
        raise Hint(f"you drop {counts} records per environment on average, expected [8, 2, 0].")
    if (drop == drop[0]).all():
        raise Hint("the same records each time: which ones are dropped must be left to `rng`.")
    often = drop.mean(0)
    if ((often - (wanted / 20)[env]).abs() > 0.15).any():
        raise Hint("some records are dropped far more often than others of their environment.")
    return "8, 2 and 0 records, chosen by chance within each environment."
