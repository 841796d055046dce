"""Targets for language models: what we ask of the policy, as a weighted sum of log-probabilities.

    f(theta) = sum over reference records and tokens of weight * log pi_theta(token | before)

A target is any callable of (agent, rollout) that returns (records, weights): the reference records
and their tokens' weights, (m, t). That a target is such a sum is what lets its gradient be gathered
in micro-batches, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from .rollout import TextRollout

if TYPE_CHECKING:
    from .agent import LanguageAgent

TextTarget = Callable[["LanguageAgent", TextRollout], tuple[TextRollout, Tensor]]


@dataclass(frozen=True, eq=False)
class SequenceReturn:
    """f_seq: mean over the reference of log pi(y | x) * A_last (paper, section on RLHF).

    A_last is the advantage at the last token, where the reward model has spoken: the whole text is
    credited with it.

    Attributes:
        held_out: generations made for the purpose from the agent's validation prompts, each time
            anew (the released code makes 1024); 0 takes the rollout being scored, as the paper
            says.
        reference: or records to judge by.
    """

    held_out: int = 0
    reference: TextRollout | None = None

    def __call__(self, agent: LanguageAgent, rollout: TextRollout) -> tuple[TextRollout, Tensor]:
        """Reference records and weights."""
        records = _reference(self.held_out, self.reference, agent, rollout)
        return records, records.advantage.unsqueeze(1) * records.mask / max(len(records), 1)


@dataclass(frozen=True, eq=False)
class TokenReturn:
    """f_return: mean over the reference's tokens of log pi(token | before) * A_hat of that token.

    Attributes:
        held_out: as in `SequenceReturn`.
        reference: as in `SequenceReturn`.
    """

    held_out: int = 0
    reference: TextRollout | None = None

    def __call__(self, agent: LanguageAgent, rollout: TextRollout) -> tuple[TextRollout, Tensor]:
        """Reference records and weights."""
        records = _reference(self.held_out, self.reference, agent, rollout)
        return records, records.token_advantage * records.mask / records.mask.sum().clamp(min=1)


@dataclass(frozen=True, eq=False)
class Writing:
    """f_action of a text: log pi(y | x) of one record. Why does the model write this?

    Attributes:
        record: a rollout of one record.
    """

    record: TextRollout

    def __call__(self, agent: LanguageAgent, rollout: TextRollout) -> tuple[TextRollout, Tensor]:
        """The record, every token with weight 1."""
        if len(self.record) != 1:
            raise ValueError(f"record: {len(self.record)} records, expected one")
        return self.record, self.record.mask.to(self.record.logp.dtype)


def _reference(
    held_out: int, reference: TextRollout | None, agent: LanguageAgent, rollout: TextRollout
) -> TextRollout:
    if held_out and reference is not None:
        raise ValueError("held_out, reference: expected at most one of the two")
    if held_out:
        return agent.write_held_out(held_out)
    return rollout if reference is None else reference
