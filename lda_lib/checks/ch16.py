"""Exercises of chapter 16: records of texts, targets as weights, scores by hand, groups, filters.

Language models are an optional extra: what needs one imports it when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..filters import IIF
from ._filter import own_filter
from ._result import Hint, agree, check, numbers


def _texts() -> tuple[Tensor, Tensor]:
    """Numbers for the tokens of five texts of different lengths, and their mask, (5, 6)."""
    generator = torch.Generator().manual_seed(16)
    mask = torch.arange(6) < torch.tensor([6, 4, 1, 5, 3]).unsqueeze(1)
    return torch.randn(5, 6, generator=generator, dtype=torch.float64), mask


def _at_last(mask: Tensor) -> Tensor:
    """1 at each text's last token, else 0, (n, t)."""
    zero = torch.zeros(mask.shape, dtype=torch.float64)
    return zero.scatter(1, mask.sum(1, keepdim=True) - 1, 1.0)


@check
def ex16_1(fn: Callable) -> str:
    """`fn(reward, logp, ref_logp, mask, kl_coef) -> token_reward`, (n, t)."""
    difference, mask = _texts()
    reward = torch.tensor([2.0, -1.5, 0.7, 0.4, -2.2], dtype=torch.float64)
    ref_logp = -torch.rand(5, 6, generator=torch.Generator().manual_seed(1)).double()
    logp, coef = ref_logp + difference, 0.25  # past the end of a text: anything
    last = _at_last(mask)
    price = -coef * difference * mask
    end = torch.zeros_like(last)
    end[:, -1] = 1.0
    verdict = reward.unsqueeze(1)
    mistakes = {
        "the reward stands in the last *column*, which for a short text is padding: it belongs to "
        "the last real token.": price + verdict * end,
        "every token gets the reward: the reward model speaks once, at the end.": price
        + verdict * mask,
        "the price has the wrong sign: a token that the policy likes more than the reference does "
        "(logp > ref_logp) costs.": -price + verdict * last,
        "padding pays: multiply by the mask.": -coef * difference + verdict * last,
        "the whole price stands at the last token: each token pays its own.": (
            price.sum(1, keepdim=True) + verdict
        )
        * last,
        "the price is missing.": verdict * last,
        "the reward is missing.": price,
        "kl_coef is missing.": -difference * mask + verdict * last,
    }
    got = fn(reward.clone(), logp.clone(), ref_logp.clone(), mask.clone(), coef)
    agree(got, price + verdict * last, "token_reward", mistakes)
    return "each token pays for what it departs from the reference, the last one hears the verdict."


@check
def ex16_2(fn: Callable) -> str:
    """`fn(token_advantage, mask) -> (w_seq, w_return)`, each (n, t)."""
    advantage, mask = _texts()
    n, tokens = len(mask), mask.sum()
    last = (advantage * _at_last(mask)).sum(1, keepdim=True)
    got = fn(advantage.clone(), mask.clone())
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Hint("expected a pair: return w_seq, w_return")
    padded = advantage * mask
    agree(
        got[0],
        last * mask / n,
        "w_seq",
        {
            "this is the last *column*, which for a short text is padding.": advantage[:, -1:]
            * mask
            / n,
            "this is the first token's advantage: A_last is the last real token's.": advantage[
                :, :1
            ]
            * mask
            / n,
            "only the last token has a weight: the verdict counts for the whole text.": last
            * _at_last(mask)
            / n,
            "f_seq is a mean over texts, not over tokens: divide by n.": last * mask / tokens,
            "padding has a weight: multiply by the mask.": (last / n).expand(n, 6),
            "nothing is divided by n: f_seq is a mean over texts.": last * mask,
            "these are the sums of the tokens' advantages.": padded.sum(1, keepdim=True) * mask / n,
            "these are w_return's: each token its own advantage.": padded / tokens,
        },
    )
    agree(
        got[1],
        padded / tokens,
        "w_return",
        {
            "f_return is a mean over tokens, not over texts: divide by the number of real "
            "tokens.": padded / n,
            "you count padding among the tokens.": padded / mask.numel(),
            "padding has a weight: multiply by the mask.": advantage / tokens,
            "each text has one vote here, whatever its length; f_return is a mean over all "
            "tokens.": padded / mask.sum(1, keepdim=True) / n,
        },
    )
    return "one table of weights each, and nothing else differs between the two targets."


def _scene() -> tuple[Any, Any]:
    """An agent of the small world after an update, and its next rollout of 12 texts."""
    from ..rlhf import LanguagePPO, load_world

    world = load_world()
    settings: dict[str, Any] = {"n_sequences": 12, "new_tokens": 16, "lr": 1e-3, "epochs": 1}
    agent = LanguagePPO(world.lm, world.reward, world.prompts["train"], seed=16, **settings)
    agent.update(agent.collect())  # B is 0 at first, and with it half of the gradient
    return agent, agent.collect()


@check
def ex16_3(fn: Callable) -> str:
    """`fn(agent, rollout, i) -> score` of text i on f_seq, by two backward passes."""
    agent, rollout = _scene()
    chosen = [0, 3, 7, 10]
    before = {k: p.clone() for k, p in agent.policy.trainable().items()}
    got = torch.stack([numbers(fn(agent, rollout, i), (), "score") for i in chosen])
    if any(not torch.equal(p, before[k]) for k, p in agent.policy.trainable().items()):
        raise Hint("your function changed the policy: a score only asks what a step would do.")
    adapters = list(agent.policy.adapters().values())

    def gradient(scalar: Tensor) -> Tensor:
        parts = torch.autograd.grad(scalar, adapters)
        return torch.cat([g.flatten() for g in parts]).double()

    def logp(records: Any) -> Tensor:
        return agent.policy(records.prompt, records.prompt_mask, records.token, records.mask).logp

    every = rollout.advantage.unsqueeze(1) * logp(rollout)
    v = gradient(every.sum() / len(rollout))
    v_token = gradient((rollout.token_advantage * logp(rollout)).sum() / rollout.mask.sum())
    v_last = gradient((rollout.advantage * (logp(rollout) * _at_last(rollout.mask)).sum(1)).mean())
    own, whole, sums = [], [], []
    for i in chosen:
        one = rollout[i]
        own.append(gradient((one.token_advantage * logp(one)).sum() / one.mask.sum()))
        sums.append(own[-1] * one.mask.sum())
        whole.append(gradient((one.advantage * logp(one)).sum() / one.mask.sum()))
    g, g_sum, g_whole = (torch.stack(x) for x in (own, sums, whole))
    expected = g @ v
    scale = float(1 / expected.abs().max())
    mistakes = {
        "the sign is turned: learning goes *against* the gradient of the loss.": -expected,
        "this is the sum over the text's tokens: its loss is their mean.": g_sum @ v,
        "in the record's own loss each token has its own advantage; A_last belongs to the "
        "target.": g_whole @ v,
        "this is the score on f_return: f_seq weighs every token of a text with A_last.": g
        @ v_token,
        "the target credits only the last token: f_seq is about the log-probability of the whole "
        "text.": g @ v_last,
        "nothing is divided by n: f_seq is a mean over texts.": expected * len(rollout),
        "this is a cosine: a score is a plain inner product.": torch.cosine_similarity(g, v[None]),
    }
    scaled = {hint: scale * wrong for hint, wrong in mistakes.items()}
    agree(scale * got, scale * expected, "scores (largest set to 1)", scaled, atol=5e-3)
    return "two backward passes through the adapters, one inner product."


@check
def ex16_4(fn: Callable) -> str:
    """`fn(reward, group, kept) -> advantage`, (n,): GRPO's, by the kept members of each group."""
    reward = torch.tensor([1.0, 2.0, 6.0, 4.0, 0.0, 5.0, 1.0, 3.0, 2.5, 2.0], dtype=torch.float64)
    group = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    kept = torch.tensor([True, True, False, True, True, True, True, True, False, True])

    def by(judged_by: Tensor, unbiased: bool = True, scaled: bool = True) -> Tensor:
        out = torch.zeros_like(reward)
        for k in range(3):
            base = reward[judged_by & (group == k)]
            if len(base) > 1:
                spread = base.std(correction=int(unbiased)) + 1e-4 if scaled else 1.0
                out[group == k] = (reward[group == k] - base.mean()) / spread
        return out[kept]

    everyone = torch.ones(10, dtype=torch.bool)
    batch = (reward - reward[kept].mean()) / (reward[kept].std() + 1e-4)
    expected = by(kept)
    mistakes = {
        "mean and spread are those of the whole group: here the members that were dropped have no "
        "say.": by(everyone),
        "you divide by n in the standard deviation; GRPO's is the one with n - 1, torch's "
        "default.": by(kept, unbiased=False),
        "the spread is missing: divide by the standard deviation of the kept members.": by(
            kept, scaled=False
        ),
        "one baseline for all records: each group has its own.": batch[kept],
    }
    got = torch.as_tensor(fn(reward.clone(), group.clone(), kept.clone()))
    if got.shape == (10,) and not got[kept].isfinite().all():
        raise Hint("a member left alone in its group has no spread: it teaches nothing, so 0.")
    values = numbers(got.nan_to_num() if got.shape == (10,) else got, (10,), "advantage")
    agree(values[kept], expected, "advantage of the kept", mistakes, atol=1e-3)
    change = expected[2] - by(everyone)[2]
    return (
        f"nobody touched record 3, and its advantage changed by {float(change):+.2f}: in a group, "
        "dropping one changes what the others teach."
    )


@check
def ex16_5(fn: Callable) -> str:
    """`fn(agent, rollout) -> keep`, bool (n,): any filter of texts."""
    from ..rlhf import LanguagePPO, load_world
    from ..rlhf.corpus import rude_share

    world = load_world()
    prompts, validation = world.prompts["train"], world.prompts["validation"]
    settings: dict[str, Any] = {"seed": 165, "n_sequences": 32, "new_tokens": 16}
    agent = LanguagePPO(world.lm, world.reward, prompts, validation=validation, **settings)
    rollout = agent.collect()
    keep = own_filter(fn, agent, rollout)  # type: ignore[arg-type]
    iif = IIF(drop=1.0)(agent, rollout).double()  # type: ignore[arg-type]
    rude = torch.tensor([rude_share(text) for text in rollout.texts]) > 0.5
    wrong = rude & (rollout.reward > 0)

    def told(mask: Tensor) -> str:
        return f"{int((1 - mask).sum())} texts, {int((1 - mask)[wrong].sum())} of them such"

    return (
        f"a filter. {int(wrong.sum())} of {len(rollout)} texts are rude and praised. Yours drops "
        f"{told(keep)}; IIF drops {told(iif)}. Whether that helps, only runs can tell."
    )
