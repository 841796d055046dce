"""Which experience taught it that? Data attribution for online reinforcement learning.

The modules in the order data flows: tasks, policy, rollout, collect, exact, evaluation, config,
loss, step, ppo, targets, unrolled, attribution, filters, metrics, groundtruth, fidelity.
"""

from ._version import __version__
from .attribution import influence
from .config import PPOConfig
from .evaluation import Evaluation
from .exact import action_probs, exact_advantage, exact_return, exact_values, finite_model
from .files import CheckpointError
from .filters import IIF, AdvantageHeuristic, LowestAdvantage, RandomDrop, TDError
from .own import OwnAgent, Scorable, as_rollout
from .policy import ActorCritic
from .ppo import PPO
from .repair import Repair
from .rivals import RandomNegative, TrajectoryValue
from .rollout import Rollout
from .scores import influence_history, score_table
from .step import Trace
from .targets import Action, ExactReturn, Return
from .tasks import TASKS, Task, make_task

__all__ = [
    "IIF",
    "PPO",
    "TASKS",
    "Action",
    "ActorCritic",
    "AdvantageHeuristic",
    "CheckpointError",
    "Evaluation",
    "ExactReturn",
    "LowestAdvantage",
    "OwnAgent",
    "PPOConfig",
    "RandomDrop",
    "RandomNegative",
    "Repair",
    "Return",
    "Rollout",
    "Scorable",
    "TDError",
    "Task",
    "Trace",
    "TrajectoryValue",
    "__version__",
    "action_probs",
    "as_rollout",
    "exact_advantage",
    "exact_return",
    "exact_values",
    "finite_model",
    "influence",
    "influence_history",
    "make_task",
    "score_table",
]
