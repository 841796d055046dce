"""Beyond PPO: the same target and the same score for A2C, DQN and GRPO.

`weight_scores` is the definition that they share. DQN and GRPO answer `agent.influence(units)` and
so take the filters `IIF` and `RandomDrop`; the others read advantages or TD errors, which their
units do not have. A2C is a `PPO` and takes every filter of `lda_lib.filters`.
"""

from .a2c import a2c
from .bellman import BellmanFit, Transitions, bellman_targets, chosen, optimal_q
from .dqn import DQN, DQNConfig
from .grpo import GRPO, GRPOConfig, Members, advantages
from .scores import weight_scores

__all__ = [
    "DQN",
    "GRPO",
    "BellmanFit",
    "DQNConfig",
    "GRPOConfig",
    "Members",
    "Transitions",
    "a2c",
    "advantages",
    "bellman_targets",
    "chosen",
    "optimal_q",
    "weight_scores",
]
