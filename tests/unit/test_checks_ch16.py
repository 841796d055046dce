"""Chapter 16's checks: the usual errors get their hint (test_checks has stubs and solutions)."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("peft")

from lda_lib import IIF, checks
from lda_lib.rlhf import TokenReturn
from lda_lib.rlhf.rollout import token_rewards

from .answers import hints_of

pytestmark = pytest.mark.slow  # left out of `make check`


hint = hints_of("16")


def price(logp, ref, mask, c):
    return -c * (logp - ref) * mask


def at_last(reward, mask):
    return torch.zeros_like(mask, dtype=reward.dtype).scatter(
        1, mask.sum(1, keepdim=True) - 1, reward.unsqueeze(1)
    )


def last_column(reward, mask):
    out = torch.zeros_like(mask, dtype=reward.dtype)
    out[:, -1] = reward
    return out


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda r, p, q, m, c: price(p, q, m, c) + last_column(r, m), "last *column*"),
        (lambda r, p, q, m, c: price(p, q, m, c) + r.unsqueeze(1) * m, "every token gets"),
        (lambda r, p, q, m, c: price(q, p, m, c) + at_last(r, m), "wrong sign"),
        (lambda r, p, q, m, c: price(p, q, 1, c) + at_last(r, m), "padding pays"),
        (lambda r, p, q, m, c: at_last(r + price(p, q, m, c).sum(1), m), "pays its own"),
        (lambda r, p, q, m, c: at_last(r, m), "the price is missing"),
        (lambda r, p, q, m, c: price(p, q, m, c), "the reward is missing"),
        (lambda r, p, q, m, c: price(p, q, m, 1) + at_last(r, m), "kl_coef is missing"),
    ],
)
def test_rewards_of_tokens(fn, words):
    hint(1, fn, words)


def test_the_packages_own_rewards_pass():
    assert checks.ex16_1(token_rewards)


def a_last(a, m):
    return a.gather(1, m.sum(1, keepdim=True) - 1)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda a, m: a * m, "expected a pair"),
        (lambda a, m: (a[:, -1:] * m / 5, a * m / m.sum()), "last *column*"),
        (lambda a, m: (a[:, :1] * m / 5, a * m / m.sum()), "first token"),
        (lambda a, m: (at_last(a_last(a, m)[:, 0], m) / 5, a * m / m.sum()), "whole text"),
        (lambda a, m: (a_last(a, m) * m / m.sum(), a * m / m.sum()), "mean over texts"),
        (lambda a, m: (a_last(a, m).expand(5, 6) / 5, a * m / m.sum()), "padding has a weight"),
        (lambda a, m: (a_last(a, m) * m, a * m / m.sum()), "nothing is divided"),
        (lambda a, m: ((a * m).sum(1, keepdim=True) * m / 5, a * m / m.sum()), "sums of the"),
        (lambda a, m: (a * m / m.sum(), a * m / m.sum()), "these are w_return's"),
        (lambda a, m: (a_last(a, m) * m / 5, a * m / 5), "number of real tokens"),
        (lambda a, m: (a_last(a, m) * m / 5, a * m / 30), "count padding"),
        (lambda a, m: (a_last(a, m) * m / 5, a / m.sum()), "padding has a weight"),
        (
            lambda a, m: (a_last(a, m) * m / 5, a * m / m.sum(1, keepdim=True) / 5),
            "one vote",
        ),
    ],
)
def test_weights(fn, words):
    hint(2, fn, words)


def by_hand(weigh=lambda r: r.advantage.unsqueeze(1) * r.mask / len(r),
            own=lambda r: r.token_advantage / r.mask.sum(), sign=1.0):  # fmt: skip
    """A score by two backward passes with the given weights."""

    def fn(agent, rollout, i):
        adapters = list(agent.policy.adapters().values())

        def gradient(records, weights):
            parts = (records.prompt, records.prompt_mask, records.token, records.mask)
            return torch.autograd.grad((weights * agent.policy(*parts).logp).sum(), adapters)

        v, g = gradient(rollout, weigh(rollout)), gradient(rollout[i], own(rollout[i]))
        return sign * sum((x * y).sum() for x, y in zip(g, v))

    return fn


def learning(agent, rollout, i):
    agent.update(rollout)
    return agent.influence(rollout)[i]


def last_only(r):
    return at_last(r.advantage, r.mask) / len(r)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (by_hand(sign=-1.0), "sign is turned"),
        (by_hand(own=lambda r: r.token_advantage), "their mean"),
        (by_hand(own=lambda r: r.advantage.unsqueeze(1) / r.mask.sum()), "its own advantage"),
        (by_hand(lambda r: r.token_advantage / r.mask.sum()), "score on f_return"),
        (by_hand(last_only), "only the last token"),
        (by_hand(lambda r: r.advantage.unsqueeze(1) * r.mask), "divided by n"),
    ],
)
def test_scores(fn, words):
    hint(3, fn, words)


@pytest.mark.filterwarnings("ignore:rollout. stale records")
def test_learning_while_scoring_is_told():
    hint(3, learning, "changed the policy")


def test_the_packages_own_scores_pass():
    assert checks.ex16_3(lambda agent, rollout, i: agent.influence(rollout)[i])
    assert checks.ex16_3(by_hand())


def grouped(rule):
    """Advantages of the kept members, by a rule of (their rewards, those that count)."""

    def fn(reward, group, kept):
        out = torch.zeros_like(reward)
        for g in group.unique():
            mine = group == g
            out[mine] = rule(reward[mine], reward[mine & kept], reward[kept])
        return out

    return fn


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda own, base, all: (own - own.mean()) / (own.std() + 1e-4), "the whole group"),
        (
            lambda own, base, all: (
                (own - base.mean()) / (base.std(correction=0) + 1e-4) if len(base) > 1 else 0.0
            ),
            "n - 1",
        ),
        (lambda own, base, all: own - base.mean() if len(base) > 1 else 0.0, "spread is missing"),
        (lambda own, base, all: (own - all.mean()) / (all.std() + 1e-4), "each group has"),
        (lambda own, base, all: (own - base.mean()) / (base.std() + 1e-4), "left alone"),
    ],
)
@pytest.mark.filterwarnings("ignore:std")
def test_groups(rule, words):
    hint(4, grouped(rule), words)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda agent, rollout: torch.zeros(len(rollout), dtype=torch.bool), "nothing is left"),
        (lambda agent, rollout: rollout.advantage, "True (keep) or False"),
        (lambda agent, rollout: torch.rand(len(rollout)) < 0.5, "answers differently"),
        (lambda agent, rollout: (agent.collect(), rollout.reward > 0)[1], "only looks"),
    ],
)
def test_own_filters(fn, words):
    hint(5, fn, words)


def test_filters_of_the_package_are_filters():
    for keep in (IIF(1.0), IIF(0.5, target=TokenReturn())):  # type: ignore[arg-type]
        result = checks.ex16_5(keep)
        assert result, result
    result = checks.ex16_5(lambda agent, rollout: rollout.reward < 0)
    praised = int(result.message.split("Yours drops ")[1].split()[0])
    wrong = int(result.message.split()[2])
    assert wrong > 1 and f"{praised} texts, {wrong} of them such" in result.message
