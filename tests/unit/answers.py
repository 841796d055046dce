"""What the tests of the chapters' checks share: a usual error gets the hint that helps."""

from __future__ import annotations

from collections.abc import Callable

from lda_lib import checks


def hints_of(chapter: str) -> Callable[[int, Callable, str], None]:
    """`hint(number, fn, words)`: exercise `number` of the chapter fails with these words."""

    def hint(number: int, fn: Callable, words: str) -> None:
        result = getattr(checks, f"ex{chapter}_{number}")(fn)
        assert result.status == "failed"
        assert words in result.message, result.message

    return hint


def moving(agent, rollout):
    """No score: it updates the agent that it was shown."""
    agent.update(rollout)
    return rollout.advantage


# usual errors of exercises that ask for scores of one's own, and the words of their hints
OWN_SCORES = [
    (moving, "only looks"),
    (lambda agent, rollout: 0 * rollout.advantage, "the same score"),
]
