"""Exercises of chapter 3: buffers side by side, frozen and collected again, whose question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..ppo import PPO
from ..rollout import Rollout
from ._result import Hint, agree, check, numbers

_NOTHING = 1e-30  # weight of a record that keeps its place and says nothing


def _small(seed: int) -> PPO:
    return PPO("FrozenLake", seed=seed, n_steps=128, batch_size=32, epochs=2, compile=False, lr=0.1)


def _weight(rollout: Rollout) -> Tensor:
    out = rollout.episode % 3 == 0
    return torch.where(out, torch.tensor(_NOTHING), torch.tensor(1.0))


def _run(
    seed: int,
    weights: list[Tensor | None],
    later: list[Rollout] | None = None,
    dice: int | None = None,
) -> list[float]:
    """J after each round; round h has weights[h] and, with `later`, the buffer later[h - 1]."""
    agent, J = _small(seed), []
    for h, weight in enumerate(weights):
        if h == 1 and dice is not None:
            agent.seed = dice
        rollout = agent.collect() if later is None or h == 0 else later[h - 1]
        agent.update(rollout, weight)
        J.append(agent.evaluate().mean)
    return J


@check
def ex03_1(fn: Callable) -> str:
    """`fn(a, b) -> share`: places with the same tile and the same action."""
    a, b = _small(1).collect(), _small(2).collect()
    c = replace(a, action=torch.where(a.index % 5 == 0, b.action, a.action), state=a.state)
    d = a[torch.arange(len(a)).roll(1)]
    for x, y, what in (
        (a, c, "share"),
        (a, d, "share of a shifted copy"),
        (a, a, "share of equal"),
    ):
        state, action = x.state == y.state, x.action == y.action
        here, there = (list(zip(z.state.tolist(), z.action.tolist())) for z in (x, y))
        known = [pair in there for pair in here]
        overlap = sum(min(here.count(pair), there.count(pair)) for pair in set(here)) / len(x)
        expected = (state & action).double().mean()
        first = (~(state & action)).nonzero()
        until = float(first[0]) / len(x) if len(first) else 1.0
        mistakes = {
            "this compares actions alone: the same action on another tile is another "
            "record.": action.double().mean(),
            "this compares tiles alone: another action there is another record.": (
                state.double().mean()
            ),
            "this is a number of records: divide by how many there are.": (state & action).sum(),
            "this looks for a record of the same *value* anywhere in the other buffer. Records are "
            "identified by their place: on a small lake every pair of tile and action is "
            "somewhere.": torch.tensor(known).double().mean(),
            "this compares how *often* each pair occurs: two shuffled buffers would come out "
            "equal. Compare place by place.": torch.tensor(overlap),
            "you stop at the first difference: two runs can come together again after it.": (
                torch.tensor(until)
            ),
        }
        wrong = {h: v for h, v in mistakes.items() if abs(float(v) - float(expected)) > 1e-6}
        agree(fn(x, y), expected, what, wrong)
    return "place by place, tile and action."


def _answers(fn: Callable, seed: int, arguments: Callable[[PPO], tuple]) -> list[float]:
    """Run an attempt on a fresh agent; its list of J."""
    agent = _small(seed)
    got = fn(agent, *arguments(agent))
    return numbers(got, (3,), "J").tolist()


def _compare(got: list[float], expected: list[float], mistakes: dict[str, list[float]]) -> None:
    agree(
        torch.tensor(got, dtype=torch.float64),
        torch.tensor(expected, dtype=torch.float64),
        "J",
        {
            hint: torch.tensor(value, dtype=torch.float64)
            for hint, value in mistakes.items()
            if max(abs(x - y) for x, y in zip(value, expected, strict=True)) > 1e-9
        },
        atol=1e-9,
    )


def _recorded(seed: int) -> list[Rollout]:
    """The buffers of three rounds of the run in which nothing is left out."""
    agent, buffers = _small(seed), []
    for _ in range(3):
        buffers.append(agent.collect())
        agent.update(buffers[-1])
    return buffers


@check
def ex03_2(fn: Callable) -> str:
    """`fn(agent, weight, later) -> J`: three numbers, later buffers frozen."""
    seed = 2
    first, *later = _recorded(seed)
    w = _weight(first)
    got = _answers(fn, seed, lambda agent: (w, later))
    dropped = _run(seed, [w > 0.5, None, None], later)
    mistakes = {
        "the agent collects its own buffers after the first round: frozen means that it learns "
        "from those in `later`.": _run(seed, [w, None, None]),
        "nothing is left out: hand `weight` to the first update.": _run(
            seed, [None, None, None], later
        ),
        "`weight` is used in every round: it belongs to the records of the first buffer. In the "
        "later ones other records stand at these places.": _run(seed, [w, w, w], later),
        "the records are dropped, so that all minibatches after them are made up anew: with the "
        "weight as it is they keep their places.": dropped,
        "the first buffer is learnt from twice.": _run(seed, [w, None, None], [first, later[0]]),
    }
    _compare(got, _run(seed, [w, None, None], later), mistakes)
    return "one round without the records, then the buffers of a run that had them."


@check
def ex03_3(fn: Callable) -> str:
    """`fn(agent, weight, rounds) -> J`: a number per round, buffers collected again."""
    seed = 3
    first, *later = _recorded(seed)
    w = _weight(first)
    got = _answers(fn, seed, lambda agent: (w, 3))
    mistakes = {
        "nothing is left out: hand `weight` to the first update.": _run(seed, [None] * 3),
        "`weight` is used in every round: in the later buffers other records stand at these "
        "places.": _run(seed, [w, w, w]),
        "these are the frozen buffers: from the second round on the agent collects for "
        "itself.": _run(seed, [w, None, None], later),
        "the random numbers differ from those of the other run: leave `agent.seed` alone, it "
        "is what keeps the two runs aligned.": _run(seed, [w, None, None], dice=seed + 1),
        "the first buffer is used in every round: collect in each.": _run(
            seed, [w, None, None], [first, first]
        ),
    }
    _compare(got, _run(seed, [w, None, None]), mistakes)
    return "left out once, then everything follows: policy, buffers, policy."


QUESTIONS = {  # the right answer, and why
    "A": ("local", "it asks what one update does to the policy, with the buffer given."),
    "B": ("frozen", "the later buffers are said to stay as they were recorded."),
    "C": ("recollected", "training goes on, so the agent collects with its changed policy."),
    "D": ("none", "it asks about another *action*, not about learning without the record."),
    "E": (
        "recollected",
        "30 rounds later the agent has collected 30 buffers of its own. A score is computed "
        "within one round; it cannot carry this sentence.",
    ),
    "F": ("local", "the update of this buffer, judged right after it."),
}


@check
def ex03_4(fn: Callable) -> str:
    """`fn() -> answers`, a dict from "A" to "F" to one of four words."""
    answers: Any = fn()
    words = ("local", "frozen", "recollected", "none")
    if not isinstance(answers, dict) or set(answers) != set(QUESTIONS):
        raise Hint(f"expected a dict with the keys {', '.join(QUESTIONS)}, got {answers!r}.")
    for letter, (right, why) in QUESTIONS.items():
        if answers[letter] not in words:
            raise Hint(f"{letter}: {answers[letter]!r}, expected one of {', '.join(words)}.")
        if answers[letter] != right:
            raise Hint(f"{letter} is not {answers[letter]!r}: {why}")
    return "four kinds of question, and only one of them is what a score answers."


@check
def ex03_5(fn: Callable) -> str:
    """`fn(agent, buffer) -> Rollout` whose logp is that of the agent's own policy."""
    agent, other = _small(5), _small(6)
    other.update(other.collect())
    buffer = other.collect()
    kept = {name: x.clone() for name, x in buffer.tensors().items()}
    with torch.no_grad():
        own = agent.policy.log_prob(buffer.obs, buffer.action)
    got = fn(agent, buffer)
    if not isinstance(got, Rollout):
        raise Hint(f"expected a Rollout, your function returned {type(got).__name__}.")
    if any(not torch.equal(x, kept[name]) for name, x in buffer.tensors().items()):
        raise Hint("the buffer that was handed in has changed: `dataclasses.replace` makes a copy.")
    if got.logp.requires_grad:
        raise Hint("logp carries a gradient: it is a number on record, use `torch.no_grad()`.")
    agree(
        got.logp,
        own,
        "logp",
        {
            "logp is still that of the policy that recorded the buffer.": kept["logp"],
            "these are probabilities: logp is their logarithm.": own.exp(),
            "this is the log-ratio, not logp.": own - kept["logp"],
        },
        atol=1e-6,
    )
    for name, x in got.tensors().items():
        if name != "logp" and not torch.equal(x, kept[name]):
            raise Hint(f"{name} has changed: only logp is to be replaced.")
    return "the first ratio is 1 again; tiles, actions and advantages are as recorded."
