"""What a check answers: passed, failed with a hint, or not attempted. A check never raises."""

from __future__ import annotations

import copy
import functools
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..ppo import PPO
    from ..rollout import Rollout

_MARKS = {"passed": ("✓", "#1f7a4d"), "failed": ("✗", "#b3361b"), "not attempted": ("○", "#6b7680")}


@dataclass(frozen=True)
class Result:
    """The answer to one attempt at an exercise. True if it passed."""

    exercise: str
    status: str  # "passed" | "failed" | "not attempted"
    message: str

    def __bool__(self) -> bool:
        return self.status == "passed"

    def __repr__(self) -> str:
        return f"{_MARKS[self.status][0]} {self.exercise} {self.status}: {self.message}"

    def _repr_html_(self) -> str:
        mark, colour = _MARKS[self.status]
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 0.3em 0.8em; '
            f'color: var(--jp-ui-font-color1, inherit)">'
            f"<strong>{mark} {self.exercise} {self.status}:</strong> "
            f"{html.escape(self.message)}</div>"
        )


class Hint(Exception):
    """Raised inside a check: what is wrong with the attempt, in words that help."""


def check(verify: Callable[[Callable], str]) -> Callable[[Callable], Result]:
    """Turn `verify(fn) -> message`, which raises `Hint`, into a check that returns a `Result`."""

    @functools.wraps(verify)
    def checked(fn: Callable) -> Result:
        name = verify.__name__
        try:
            return Result(name, "passed", verify(fn))
        except NotImplementedError:
            return Result(name, "not attempted", "complete the stub, run it, then run this cell.")
        except Hint as hint:
            return Result(name, "failed", str(hint))
        except Exception as error:
            said = f"your function stopped with {type(error).__name__}: {error}"
            return Result(name, "failed", said)

    return checked


def numbers(got: object, shape: tuple[int, ...], what: str) -> Tensor:
    """What a function returned, as a detached float64 tensor of the expected shape.

    Raises:
        Hint: nothing was returned, no numbers, another shape, or numbers that are not finite.
    """
    if got is None:
        raise Hint(f"your function returned None: does it end with `return {what}`?")
    try:
        values = torch.as_tensor(got).detach().to(torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Hint(f"expected numbers for {what}, your function returned {got!r}") from error
    if tuple(values.shape) != shape:
        raise Hint(f"{what} has shape {tuple(values.shape)}, expected {shape}.")
    if not values.isfinite().all():
        raise Hint(f"{what} holds a number that is not finite.")
    return values


def agree(
    got: object, expected: Tensor, what: str, mistakes: dict[str, Tensor], atol: float = 1e-5
) -> None:
    """Compare an attempt with the expected numbers, and with the usual wrong ones.

    Args:
        got: what the function returned.
        expected: what it should have returned.
        what: its name in messages.
        mistakes: hint -> the numbers that someone gets who makes this mistake.
        atol: how far apart counts as equal.

    Raises:
        Hint: the numbers differ; with the hint of the mistake that explains them, if one does.
    """
    expected = torch.as_tensor(expected).detach().to(torch.float64)
    values = numbers(got, tuple(expected.shape), what)
    if torch.allclose(values, expected, rtol=0, atol=atol):
        return
    for hint, wrong in mistakes.items():
        if torch.allclose(values, torch.as_tensor(wrong).detach().double(), rtol=0, atol=atol):
            raise Hint(hint)
    off = (values - expected).abs().flatten()
    worst = int(off.argmax())
    raise Hint(
        f"{what} is off by up to {float(off[worst]):.3g}: at position {worst} you have "
        f"{float(values.flatten()[worst]):.4g}, expected {float(expected.flatten()[worst]):.4g}."
    )


def own_scores(fn: Callable, agent: PPO, rollout: Rollout) -> Tensor:
    """`fn(agent, rollout)` as scores, (n,): they only look, and they tell records apart.

    Raises:
        Hint: the agent was changed, or all records have the same score.
    """
    before = copy.deepcopy(agent.policy.state_dict())
    clock = (agent.round, agent.collected)
    scores = numbers(fn(agent, rollout), (len(rollout),), "scores")
    moved = any(not torch.equal(p, before[k]) for k, p in agent.policy.state_dict().items())
    if moved or (agent.round, agent.collected) != clock:
        raise Hint("a score only looks: update a deep copy of the agent, not the agent.")
    if float(scores.max()) == float(scores.min()):
        raise Hint("all records have the same score: it orders nothing.")
    return scores
