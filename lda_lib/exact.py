"""Exact returns, values and advantages of tasks whose every state can be listed.

symbol  shape      meaning
S, A, H            number of states, of actions, steps until the time limit
P       (S, A, S)  probability of going on in s' (transitions that end the episode left out)
R       (S, A)     expected reward of the step, before `pay`
pay     (H,)       factor on a reward earned at step t (MiniGrid pays less the later)
V, Q               values under a policy: (S,), (S, A), or with a leading time axis (H, ...)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from .policy import ActorCritic
from .rollout import Rollout
from .tasks import TASKS, Task, make_task


@dataclass(frozen=True, eq=False)
class FiniteModel:
    """A task's full model; see the module docstring for symbols. All floats are float64."""

    P: Tensor
    R: Tensor
    pay: Tensor
    start: Tensor  # (S,) distribution of the first state
    obs: Tensor  # (S, *o) what a policy sees in each state, float32
    stationary: bool  # pay is 1 throughout, so discounted values do not depend on t
    state_of: Callable[[gym.Env], int]  # index of an environment's present state


def finite_model(task: Task | str) -> FiniteModel | None:
    """The full model of a task, or None where its states cannot be listed.

    Known: environments with a transition table `P` (FrozenLake and the other toy-text ones) and
    MiniGrid's empty rooms.
    """
    task = make_task(task)
    # a wrapped environment need not follow the table inside it
    known = (None, TASKS["MiniGrid"].wrap)
    if task.env_id is None or task.factory is not None or task.wrap not in known:
        return None
    return _finite_model(task)


@lru_cache(maxsize=16)
def _finite_model(task: Task) -> FiniteModel | None:
    env = task.make()
    inner: Any = env.unwrapped
    horizon = env.spec.max_episode_steps if env.spec else None
    if horizon and hasattr(inner, "P") and hasattr(inner, "initial_state_distrib"):
        return _from_table(task, inner, horizon)
    if task.env_id and task.env_id.startswith("MiniGrid-Empty") and task.wrap:
        if "Random" not in task.env_id:
            return _from_empty_room(task, env)
    return None


def _from_table(task: Task, env: Any, horizon: int) -> FiniteModel:
    n, k = env.observation_space.n, env.action_space.n
    P, R = np.zeros((n, k, n)), np.zeros((n, k))
    for s in range(n):
        for a in range(k):
            for p, s_next, r, done in env.P[s][a]:
                R[s, a] += p * r
                P[s, a, s_next] += 0.0 if done else p
    return FiniteModel(
        P=torch.from_numpy(P),
        R=torch.from_numpy(R),
        pay=torch.ones(horizon, dtype=torch.float64),
        start=torch.as_tensor(env.initial_state_distrib, dtype=torch.float64),
        obs=torch.from_numpy(np.stack([task.encode(s) for s in range(n)])),
        stationary=True,
        state_of=lambda env: int(env.unwrapped.s),  # type: ignore[attr-defined]
    )


def _from_empty_room(task: Task, env: gym.Env) -> FiniteModel:
    """Try every action from every pose of the agent: 4 directions in each inner cell."""
    env.reset(seed=0)
    inner: Any = env.unwrapped
    width = inner.width - 2
    n, k = 4 * width * (inner.height - 2), int(env.action_space.n)  # type: ignore[attr-defined]

    def state_of(env: gym.Env) -> int:
        room: Any = env.unwrapped
        x, y = room.agent_pos
        return int(((y - 1) * (room.width - 2) + x - 1) * 4 + room.agent_dir)

    def put(state: int) -> None:
        cell, direction = divmod(state, 4)
        inner.agent_pos, inner.agent_dir = (cell % width + 1, cell // width + 1), direction
        inner.step_count = 0

    P, R, obs = np.zeros((n, k, n)), np.zeros((n, k)), []
    start = np.zeros(n)
    start[state_of(env)] = 1.0
    for s in range(n):
        put(s)
        obs.append(task.encode(inner.gen_obs()["image"]))
        for a in range(k):
            put(s)
            _, reward, terminated, _, _ = inner.step(a)
            R[s, a] = reward > 0
            P[s, a, state_of(env)] = not terminated
    horizon = inner.max_steps
    return FiniteModel(
        P=torch.from_numpy(P),
        R=torch.from_numpy(R),
        pay=1 - 0.9 * torch.arange(1, horizon + 1, dtype=torch.float64) / horizon,
        start=torch.from_numpy(start),
        obs=torch.from_numpy(np.stack(obs)),
        stationary=False,
        state_of=state_of,
    )


def action_probs(policy: ActorCritic, model: FiniteModel) -> Tensor:
    """The policy as a table, (S, A), float64; differentiable."""
    parameter = next(policy.parameters())
    return policy.probs(model.obs.to(parameter)).cpu().double()


def exact_return(probs: Tensor, model: FiniteModel) -> Tensor:
    """J: expected undiscounted return of an episode from reset to its end or time limit.

    Args:
        probs: (S, A) action probabilities. J is differentiable in them.
        model: the task.
    """
    r_pi, p_pi = _under(probs, model)
    value = torch.zeros_like(r_pi)
    for pay in model.pay.flip(0):
        value = pay * r_pi + p_pi @ value
    return model.start @ value


def exact_values(probs: Tensor, model: FiniteModel, gamma: float) -> tuple[Tensor, Tensor]:
    """V and Q of a policy, discounted.

    Where the model is stationary the time limit does not count, as in GAE, which bootstraps there:
    V is (S,), Q is (S, A). Otherwise what is earned after the limit is lost: V is (H, S) and Q is
    (H, S, A).
    """
    r_pi, p_pi = _under(probs, model)
    if model.stationary:
        identity = torch.eye(len(r_pi), dtype=r_pi.dtype)
        value = torch.linalg.solve(identity - gamma * p_pi, r_pi)
        return value, model.R + gamma * model.P @ value
    values, actions = [], []
    value = torch.zeros_like(r_pi)
    for pay in model.pay.flip(0):
        actions.append(pay * model.R + gamma * model.P @ value)
        value = pay * r_pi + gamma * p_pi @ value
        values.append(value)
    return torch.stack(values[::-1]), torch.stack(actions[::-1])


def exact_advantage(policy: ActorCritic, rollout: Rollout, gamma: float = 0.99) -> Tensor:
    """A_true(s, a) = Q(s, a) - V(s) of each record under the policy, (n,), float64.

    Raises:
        ValueError: the rollout's task has no finite model, or its records no state in it.
    """
    model = finite_model(rollout.task)
    if model is None:
        raise ValueError(f"rollout: task {rollout.task.name!r} has no finite model")
    if len(rollout) and bool((rollout.state < 0).any()):
        raise ValueError("rollout: state is -1, expected the index of each record's state")
    with torch.no_grad():
        value, q = exact_values(action_probs(policy, model), model, gamma)
    advantage = q - value.unsqueeze(-1)
    where = (
        (rollout.state, rollout.action)
        if model.stationary
        else (rollout.t, rollout.state, rollout.action)
    )
    return advantage[tuple(x.cpu() for x in where)]


def _under(probs: Tensor, model: FiniteModel) -> tuple[Tensor, Tensor]:
    """Expected reward (S,) and transition matrix (S, S) when actions follow `probs`."""
    return (
        (probs * model.R).sum(-1),
        torch.einsum("sa,sap->sp", probs, model.P),
    )
