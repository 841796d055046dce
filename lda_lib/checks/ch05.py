"""Exercises of chapter 5: own targets, what a loss can reach, lucky top-k, whose question it is."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from scipy import stats
from torch import Tensor, nn

from ..attribution import influence, target_gradient
from ..ppo import PPO
from ..rollout import Rollout
from ..targets import Action, Return, Target
from ._result import Hint, agree, check, numbers


def _trained(seed: int, n_steps: int = 256) -> tuple[PPO, Rollout]:
    agent = PPO("FrozenLake", seed=seed, lr=0.02, n_steps=n_steps, epochs=4, compile=False)
    agent.learn(3, progress=False)
    return agent, agent.collect()


def _scores(policy: nn.Module, rollout: Rollout, target: Target, **settings: str) -> Tensor:
    """Scores with raw advantages, the largest set to 1."""
    scores = influence(policy, rollout, target, normalize="none", **settings)  # type: ignore[arg-type]
    return scores / scores.abs().max().clamp(min=1e-30)


@check
def ex05_1(fn: Callable) -> str:
    """`fn(tile, this, that) -> target`, log pi(this | tile) - log pi(that | tile)."""
    agent, rollout = _trained(seed=1)
    policy = agent.policy.double()
    rollout = rollout.to(dtype=torch.float64)
    for tile, this, that in ((6, 1, 0), (0, 2, 3)):
        target = fn(tile, this, that)
        if not callable(target):
            raise Hint(
                f"expected a function of (policy, rollout), yours returned {target!r}: define the "
                "target inside and return it without calling it."
            )
        value = target(policy, rollout)
        obs = torch.eye(16, dtype=torch.float64)[tile : tile + 1]
        with torch.no_grad():
            p = policy.probs(obs)[0]
        log_p = p.log()
        mistakes = {
            "turned round: positive where *this* is likelier than *that*.": log_p[that]
            - log_p[this],
            "a difference of probabilities: take logarithms first.": p[this] - p[that],
            "a ratio of probabilities: take its logarithm.": p[this] / p[that],
            "the first action only: subtract the other's log-probability.": log_p[this],
        }
        agree(value, log_p[this] - log_p[that], "the target", mistakes, atol=1e-9)
        if not (isinstance(value, Tensor) and value.requires_grad):
            raise Hint("the value is right, but no gradient can flow: no detach, item or no_grad.")
        expected = influence(policy, rollout, Action(tile, this), normalize="none")
        expected = expected - influence(policy, rollout, Action(tile, that), normalize="none")
        scores = influence(policy, rollout, target, normalize="none")
        if not torch.allclose(scores, expected, rtol=1e-6, atol=1e-12):
            raise Hint("the value is right, but only a part of it carries a gradient.")
    return "a target; its scores are those for this action minus those for that one."


@check
def ex05_2(fn: Callable) -> str:
    """`fn(policy, rollout, tile) -> scores`, (n,), of the records on V(tile)."""
    agent, rollout = _trained(seed=2)
    policy, tile = agent.policy, 9

    def value(policy: nn.Module, rollout: Rollout) -> Tensor:
        obs = torch.eye(16)[tile : tile + 1]
        return policy.value(obs).squeeze()  # type: ignore[operator]

    def mean_value(policy: nn.Module, rollout: Rollout) -> Tensor:
        return policy.value(rollout.obs).mean()  # type: ignore[operator]

    got = numbers(fn(policy, rollout, tile), (len(rollout),), "scores")
    if (got == 0).all():
        raise Hint(
            "every score is 0. The policy's loss does not touch the value network, so no record "
            "can move V through it. The records teach V through the value loss: "
            "score_loss='full'."
        )
    expected = influence(policy, rollout, value, score_loss="full")
    scale = 1 / float(expected.abs().max())
    everywhere = influence(policy, rollout, mean_value, score_loss="full")
    mistakes = {
        "the target is the mean of V over the rollout: ask for V of this tile.": scale * everywhere,
        "the sign is turned: the target is V itself.": -scale * expected,
    }
    agree(scale * got, scale * expected, "scores (largest set to 1)", mistakes, atol=1e-4)
    return "a question about the critic, scored with the loss that teaches the critic."


@check
def ex05_3(fn: Callable) -> str:
    """`fn(policy, rollout, fresh, k) -> (claimed, honest)`, mean scores of the rollout's top k."""
    agent, rollout = _trained(seed=3)
    fresh, k, policy = agent.collect(), 12, agent.policy
    own = influence(policy, rollout, Return(), normalize="none")
    other = influence(policy, rollout, Return(reference=fresh), normalize="none")
    theirs = influence(policy, fresh, Return(), normalize="none")
    top = own.argsort(descending=True)[:k]
    expected = torch.stack([own[top].mean(), other[top].mean()])
    scale = 1 / float(expected[0])
    answer = fn(policy, rollout, fresh, k)
    if not (isinstance(answer, tuple | list) and len(answer) == 2):
        raise Hint(f"expected two numbers, (claimed, honest); your function returned {answer!r}.")
    got = scale * torch.stack([numbers(x, (), "a mean score") for x in answer])
    again = other.sort(descending=True).values[:k].mean()
    with_theirs = theirs.sort(descending=True).values[:k].mean()
    mistakes = {
        "the second number picks its own top k: choose once, on `rollout`, and judge the *same* "
        "records with the other target.": torch.stack([own[top].mean(), again]),
        "the second number scores the fresh records. The records stay; the judge changes: "
        "Return(reference=fresh).": torch.stack([own[top].mean(), with_theirs]),
        "both numbers come from the same buffer: the second judge is "
        "Return(reference=fresh).": torch.stack([own[top].mean()] * 2),
        "the two are swapped: first what the buffer claims, then what fresh records say.": (
            expected.flip(0)
        ),
        "sums, not means.": k * expected,
        "these are the bottom k.": torch.stack(
            [own.sort().values[:k].mean(), other[own.argsort()[:k]].mean()]
        ),
    }
    scaled = {hint: scale * wrong for hint, wrong in mistakes.items()}
    agree(got, scale * expected, "(claimed, honest), in units of claimed", scaled, atol=1e-3)
    share = float(expected[1] / expected[0])
    return f"here fresh records give the buffer's top {k} {share:.0%} of the mean score it claims."


@check
def ex05_4(fn: Callable) -> str:
    """`fn(policy, rollout, scores, targets) -> name`: which target these scores answer."""
    agent, rollout = _trained(seed=4)
    fresh, policy = agent.collect(), agent.policy
    targets: dict[str, Target] = {
        "return": Return(),
        "return, fresh records": Return(reference=fresh),
        "down on 10": Action(10, 1),
        "up on 10": Action(10, 3),
        "right on 14": Action(14, 2),
    }
    for name, target in targets.items():
        scores = influence(policy, rollout, target, normalize="none")
        for factor in (1.0, 0.02, 50.0):  # scores in other units answer the same question
            said = fn(policy, rollout, factor * scores, dict(targets))
            if said is None:
                raise Hint("your function returned None: does it end with `return name`?")
            if said not in targets:
                raise Hint(f"you answered {said!r}, expected one of {list(targets)}.")
            if said == name:
                continue
            yours = influence(policy, rollout, targets[said], normalize="none")
            rho = stats.spearmanr(scores, yours).statistic
            related = f"(rank correlation {rho:.2f})"
            if factor != 1.0:
                raise Hint(
                    f"the scores for {name!r} were multiplied by {factor:g} and you answered "
                    f"{said!r}: a question does not change with its units. Compare directions."
                )
            if said == "up on 10" or name == "up on 10":
                raise Hint(f"{name!r}, and you answered {said!r}: the sign counts {related}.")
            raise Hint(f"these scores answer {name!r}, and you said {said!r} {related}.")
    return "you recover the question from the ranking."


@check
def ex05_5(fn: Callable) -> str:
    """`fn(policy, rollout) -> scalar`: any target of one's own."""
    agent, rollout = _trained(seed=5)
    policy = agent.policy.double()
    rollout = rollout.to(dtype=torch.float64)
    before = copy.deepcopy(policy.state_dict())
    if not isinstance(value := fn(policy, rollout), Tensor):
        raise Hint(f"a target returns a scalar tensor; yours returned {value!r}.")
    if any(not torch.equal(x, before[k]) for k, x in policy.state_dict().items()):
        raise Hint("a target only looks: the policy's parameters changed during the call.")
    try:
        params = {k: x.detach() for k, x in policy.named_parameters()}
        v = target_gradient(policy, params, rollout, fn)
    except ValueError as error:
        raise Hint(str(error)) from error
    if not fn(policy, rollout).equal(value):
        raise Hint("asked twice, it answers differently: a target must not draw random numbers.")
    if not any(x.abs().max() > 0 for x in v.values()):
        raise Hint("its gradient is 0 everywhere: no record can move it.")
    scores = influence(policy, rollout, fn, score_loss="full")
    with torch.no_grad():
        square = sum(float((x * x).sum()) for x in v.values())
        for name, x in policy.named_parameters():
            x.add_(v[name], alpha=1e-6 / square)
        rise = float(fn(policy, rollout) - value) / 1e-6
    if not abs(rise - 1) < 0.05:
        raise Hint(
            f"a small step along its gradient should raise it by 1 (scaled), it moved by {rise:.3g}"
            ": is a part of it detached, or does it jump?"
        )
    helping = int((scores > 0).sum())
    return f"a target. {helping} of {len(rollout)} records of the check's rollout raise it."
