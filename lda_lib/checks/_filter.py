"""What exercises with a filter of one's own have in common: is it a filter at all?"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from ..ppo import PPO
from ..rollout import Rollout
from ._result import Hint, numbers


def own_filter(fn: Callable, agent: PPO, rollout: Rollout) -> Tensor:
    """The mask of `fn(agent, rollout)`, (n,) float64 of 0 and 1.

    Raises:
        Hint: it is no mask, drops everything, answers differently when asked again, or `fn` did
            more than look.
    """
    n = len(rollout)
    before = copy.deepcopy(agent.policy.state_dict())
    clock = (agent.round, agent.collected)
    keep = numbers(fn(agent, rollout), (n,), "keep")
    if (agent.round, agent.collected) != clock or any(
        not torch.equal(p, before[k]) for k, p in agent.policy.state_dict().items()
    ):
        raise Hint("a filter only looks: it must neither collect nor update.")
    if not ((keep == 0) | (keep == 1)).all():
        raise Hint("expected a mask: True (keep) or False (drop) for each record.")
    if not keep.any():
        raise Hint("every record is dropped: nothing is left to learn from.")
    if not torch.equal(keep, numbers(fn(agent, rollout), (n,), "keep")):
        raise Hint(
            "called again, it answers differently: draw random numbers from "
            '`agent.rng("a purpose")`, so that runs repeat.'
        )
    return keep
