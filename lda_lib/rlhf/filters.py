"""Filters for language models. `IIF`, `RandomDrop`, `LowestAdvantage` of lda_lib fit as they are.

`IIF(drop=1.0)` drops every record with a negative score on f_seq, `IIF(drop=0.5,
target=TokenReturn())` the lower half of the negative ones on f_return, and
`RandomDrop(like=IIF(drop=1.0))` as many at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..filters import IIF, check_filter, drop_lowest
from .agent import LanguageAgent, TextKeep
from .rollout import TextRollout
from .targets import SequenceReturn


def released_filter(validation: int = 1024) -> IIF:
    """The released choices: held-out generations as target, policy and value loss, all negatives.

    Args:
        validation: generations on held-out prompts, made anew each round.
    """
    target = SequenceReturn(held_out=validation)
    return IIF(drop=1.0, target=target, settings={"score_loss": "full"})  # type: ignore[arg-type]


@dataclass
class Difficulty:
    """Drop the records with the highest and the lowest rewards, half each (paper's baseline).

    Attributes:
        like: a filter; as many records are dropped as it would drop.
        drop: or a fraction of all records.
    """

    like: TextKeep | None = None
    drop: float | None = None

    def __post_init__(self) -> None:
        if (self.like is None) == (self.drop is None):
            raise ValueError(
                f"like, drop: {self.like!r}, {self.drop!r}, expected exactly one of the two"
            )
        if self.like is not None:
            check_filter("like", self.like)
        if self.drop is not None and not 0 <= self.drop <= 1:
            raise ValueError(f"drop: {self.drop!r}, expected a fraction from 0 to 1")

    def __call__(self, agent: LanguageAgent, rollout: TextRollout) -> Tensor:
        """Choose, (n,) bool."""
        n = len(rollout)
        if self.like is None:
            assert self.drop is not None
            count = math.floor(self.drop * n)
        else:
            count = int((torch.as_tensor(self.like(agent, rollout)) <= 0).sum())
        low = drop_lowest(rollout.reward, count // 2, agent.rng("easy"))
        left = torch.where(low, -rollout.reward.cpu(), torch.inf)
        return low & drop_lowest(left, count - count // 2, agent.rng("hard"))
