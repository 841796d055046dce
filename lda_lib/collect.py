"""Collection: environments in progress, and the rollouts that a policy makes in them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from .policy import ActorCritic, Architecture, make_actor
from .rollout import Episode, Rollout, gae, replay
from .tasks import Task


def episode_seed(seed: int, env: int, count: int) -> int:
    """Seed of the `count`-th episode of environment `env` in a run with `seed`."""
    return int(np.random.SeedSequence((seed, env, count)).generate_state(1)[0] >> 1)


def check_fit(rollout: Rollout, arch: Architecture) -> None:
    """Raise ValueError unless the records have the observations and actions of `arch`."""
    expected = (arch.obs_shape, arch.action_kind, arch.action_dim)
    spaces = rollout.task.spaces
    dim = spaces.action_dim
    if spaces.guessed and spaces.action_kind == arch.action_kind == "discrete":
        dim = max(dim, arch.action_dim)  # the last actions may never have been taken
    made = (spaces.obs_shape, spaces.action_kind, dim)
    if len(rollout) and made != expected:
        raise ValueError(
            f"rollout: its records have observations, actions {made}, the policy expects "
            f"{expected}: was it made by another policy?"
        )


class Collector:
    """The environments an agent lives in, each somewhere in an episode.

    Args:
        task: what to make environments of.
        n_envs: how many.
        seed: governs the seeds of all episodes.
        state_of: index of an environment's state in the task's finite model, if it has one.
    """

    def __init__(
        self,
        task: Task,
        n_envs: int,
        seed: int,
        state_of: Callable[[gym.Env], int] | None = None,
    ):
        if n_envs < 1:
            raise ValueError(f"n_envs: {n_envs}, expected 1 or more")
        self.task, self.n_envs, self.seed = task, n_envs, seed
        self.state_of = state_of or (lambda env: -1)
        self.envs = [task.make() for _ in range(n_envs)]
        if n_envs > 1 and len({id(env.unwrapped) for env in self.envs}) < n_envs:
            raise ValueError(
                f"n_envs: {n_envs} copies of an environment without a spec cannot be made, "
                "pass a function that makes one"
            )
        self.obs = np.zeros((n_envs, *task.spaces.obs_shape), np.float32)
        self.counts = [0] * n_envs  # episodes begun in each environment
        self.actions: list[list] = [[] for _ in range(n_envs)]  # of the episode in progress
        self.mark = object()  # on an environment that agents share: who began its episode
        self.begin_anew()

    def close(self) -> None:
        """Close the environments, but one that others may share."""
        if not self.task.shared:
            for env in self.envs:
                env.close()

    def begin_anew(self) -> None:
        """Begin a new episode in every environment."""
        for e in range(self.n_envs):
            self._begin(e)

    def episode_id(self, e: int) -> int:
        """Number of the episode in progress, unique within a run."""
        return (self.counts[e] - 1) * self.n_envs + e

    def _begin(self, e: int) -> None:
        seed = episode_seed(self.seed, e, self.counts[e])
        raw, _ = self.envs[e].reset(seed=seed)
        if self.task.shared:
            self.envs[e].unwrapped._begun_by = self.mark  # type: ignore[attr-defined]
        self.obs[e] = self.task.encode(raw)
        self.counts[e] += 1
        self.actions[e] = []

    def episode_in_progress(self, e: int) -> Episode:
        """Seed and actions so far of the episode that environment `e` is in."""
        dtype = np.int64 if self.task.spaces.action_kind == "discrete" else np.float32
        seed = episode_seed(self.seed, e, self.counts[e] - 1)
        return Episode(seed, np.array(self.actions[e], dtype))

    def resume(self, counts: list[int], actions: list[np.ndarray], obs: np.ndarray) -> None:
        """Return to an earlier moment by replay in new environments.

        An environment that does not come back to the same observation says so and begins a new
        episode: the run goes on, but not bit for bit as it would have.
        """
        for e in range(self.n_envs):
            self.counts[e], self.actions[e] = counts[e], list(actions[e])
            seed = episode_seed(self.seed, e, counts[e] - 1)
            self.envs[e], self.obs[e] = replay(
                self.task, Episode(seed, actions[e]), len(actions[e])
            )
            if not np.array_equal(self.obs[e], obs[e]):
                warnings.warn(
                    f"task: {self.task.name!r} does not replay; environment {e} starts a new "
                    "episode, the history will not be bit-identical to an uninterrupted run",
                    stacklevel=3,
                )
                self._begin(e)

    def collect(self, policy: ActorCritic, noise: np.ndarray, gamma: float, lam: float) -> Rollout:
        """Act for T steps in each of the e environments.

        Args:
            policy: who acts; its parameters do not change.
            noise: (T, e, action_dim) from `draw_noise`, the only randomness of the actions.
            gamma: discount.
            lam: GAE's lambda.

        Returns:
            A rollout of T * e records.

        Raises:
            ValueError: the environment returned a reward or observation that is not finite, or an
                observation of another shape than it promised.
        """
        if self.task.shared and vars(self.envs[0].unwrapped)["_begun_by"] is not self.mark:
            warnings.warn(
                f"task: someone else has used the only {self.task.name!r} meanwhile, and a new "
                "episode begins; give each agent a function that makes one",
                stacklevel=3,
            )
            self.begin_anew()
        steps, n_envs = noise.shape[:2]
        task, encode, decode = self.task, self.task.encode, self.task.decode
        discrete = task.spaces.action_kind == "discrete"
        obs = np.empty((steps, *self.obs.shape), np.float32)
        action = (
            np.empty((steps, n_envs), np.int64) if discrete else np.empty(noise.shape, np.float32)
        )
        reward = np.empty((steps, n_envs))
        flags = np.zeros((2, steps, n_envs), bool)  # terminated, truncated
        place = np.empty((3, steps, n_envs), np.int64)  # episode, t, state
        hidden: dict[tuple[int, int], np.ndarray] = {}  # observations behind a time limit
        episodes: dict[int, Episode] = {}
        act = make_actor(policy)
        for t in range(steps):
            obs[t] = self.obs
            action[t] = act(self.obs, noise[t])
            for e, env in enumerate(self.envs):
                place[:, t, e] = self.episode_id(e), len(self.actions[e]), self.state_of(env)
                self.actions[e].append(action[t, e])
                raw, r, terminated, truncated, _ = env.step(decode(action[t, e]))
                if not _finite(r):
                    raise ValueError(
                        f"reward: task {task.name!r} returned {r} at step {place[1, t, e]} of "
                        f"episode {place[0, t, e]}, expected a finite number"
                    )
                reward[t, e] = r
                if terminated or truncated:
                    flags[:, t, e] = terminated, truncated and not terminated
                    if not terminated:
                        hidden[t, e] = encode(raw)
                    episodes[self.episode_id(e)] = self.episode_in_progress(e)
                    self._begin(e)
                else:
                    self.obs[e] = encode(raw)
        for e in range(n_envs):
            episodes[self.episode_id(e)] = self.episode_in_progress(e)
        seen = [obs, self.obs, *hidden.values()]
        if not all(np.isfinite(x).all() for x in seen):
            bad = np.argwhere(~np.isfinite(obs.reshape(steps, n_envs, -1)).all(-1))
            where = (
                f" at step {place[1][*bad[0]]} of episode {place[0][*bad[0]]}" if len(bad) else ""
            )
            raise ValueError(
                f"observation: task {task.name!r} returned a value that is not finite{where}"
            )
        return self._finish(policy, obs, action, reward, flags, place, hidden, episodes, gamma, lam)

    def _finish(
        self, policy, obs, action, reward, flags, place, hidden, episodes, gamma, lam
    ) -> Rollout:
        """Add what the policy thinks of the records: log-probabilities, values, advantages."""
        device = next(policy.parameters()).device

        def flat(x: np.ndarray) -> Tensor:
            """(T, e, ...) to (e * T, ...): env by env, so that neighbours in time stay together."""
            return torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1))).flatten(0, 1).to(device)

        steps, n_envs = reward.shape
        behind = np.stack([*hidden.values(), *self.obs])  # (limits hit + e, *o)
        with torch.no_grad():
            logp, value, _ = policy(flat(obs), flat(action))
            v_behind = policy.value(torch.from_numpy(behind).to(device)).cpu().double().numpy()
        v = value.cpu().double().numpy().reshape(n_envs, steps).T  # (T, e)
        v_next = np.concatenate([v[1:], v_behind[None, len(hidden) :]])
        for (t, e), v_hidden in zip(hidden, v_behind, strict=False):
            v_next[t, e] = v_hidden
        terminated, truncated = flags
        advantage = gae(reward, v, v_next, terminated, terminated | truncated, gamma, lam)
        number = np.broadcast_to(np.arange(n_envs), (steps, n_envs))
        single = {"reward": reward, "advantage": advantage, "ret": advantage + v}
        return Rollout(
            obs=flat(obs),
            action=flat(action),
            logp=logp,
            value=value,
            **{name: flat(x.astype(np.float32)) for name, x in single.items()},
            episode=flat(place[0]),
            t=flat(place[1]),
            env=flat(number),
            terminated=flat(terminated),
            truncated=flat(truncated),
            state=flat(place[2]),
            index=torch.arange(reward.size, device=device),
            task=self.task,
            episodes=episodes,
        )


def _finite(reward: object) -> bool:
    try:
        return math.isfinite(reward)  # type: ignore[arg-type]
    except TypeError:
        return False
