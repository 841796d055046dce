"""How good is a policy: exactly where that is possible, else by the same episodes for everyone."""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch

from .config import whole
from .exact import FiniteModel, action_probs, exact_return
from .policy import Actor, ActorCritic, draw_noise, make_actor
from .tasks import Task

EVALUATION_SEED = 1_000_000_000
LONGEST = 100_000  # steps; an episode that has not ended by then never may


class Evaluation(NamedTuple):
    """Undiscounted return of an episode: mean, standard error, episodes; exact where n is 0."""

    mean: float
    se: float
    n: int

    @property
    def exact(self) -> bool:
        """The mean was computed from the task's model, not sampled."""
        return self.n == 0


def evaluate(
    policy: ActorCritic, task: Task, model: FiniteModel | None, episodes: int
) -> Evaluation:
    """Expected undiscounted return of the stochastic policy; see `PPO.evaluate`.

    Args:
        policy: who acts.
        task: where.
        model: the task's finite model, if it has one; the result is then exact.
        episodes: how many to live otherwise. Their seeds and their actions' noise are the same for
            every policy.
    """
    if model is not None:
        with torch.no_grad():
            return Evaluation(float(exact_return(action_probs(policy, model), model)), 0.0, 0)
    whole("episodes", episodes, 1)
    env, act = task.make(), make_actor(policy)
    returns = np.array([_live(policy, task, env, act, i) for i in range(episodes)])
    if not task.shared:
        env.close()
    se = returns.std(ddof=1) / np.sqrt(episodes) if episodes > 1 else float("nan")
    return Evaluation(float(returns.mean()), float(se), episodes)


def _live(policy: ActorCritic, task: Task, env: gym.Env, act: Actor, number: int) -> float:
    """Return of evaluation episode `number`."""
    rng = np.random.default_rng((EVALUATION_SEED, number))
    obs, _ = env.reset(seed=EVALUATION_SEED + number)
    total = 0.0
    for _ in range(LONGEST):
        action = act(task.encode(obs)[None], draw_noise(policy, rng, (1,)))[0]
        obs, reward, terminated, truncated, _ = env.step(task.decode(action))
        total += float(reward)
        if terminated or truncated:
            return total
    raise ValueError(
        f"task: an episode of {task.name!r} did not end within {LONGEST} steps, expected an end "
        "(gymnasium.wrappers.TimeLimit gives one; episodes=0 evaluates nothing)"
    )
