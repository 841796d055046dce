"""A rollout buffer for Stable-Baselines3 that hands out only the records a filter kept."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from torch import Tensor


class FilterableRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer, whose minibatches hold only the records that a filter kept.

    Without a filter, or where one keeps everything, it is SB3's own to the last bit. Give it as
    `rollout_buffer_class`; for dict observations it turns into its dict variant by itself.
    `rollout_buffer_kwargs` sets the two options.

    Args:
        *args: SB3's, as are all keywords but two.
        equal_steps: go through the kept records again until an epoch has as many minibatches as
            the full buffer makes. Has no part in A2C, whose one step takes all kept records.
        drop_remainder: with a filter, leave out an epoch's last, smaller minibatch: a few records
            would weigh as much as a whole minibatch does.
        **kwargs: SB3's.
    """

    def __new__(cls, buffer_size: int, observation_space: gym.Space, *args: Any, **kwargs: Any):
        """Choose the variant for the observations."""
        if cls is FilterableRolloutBuffer and isinstance(observation_space, gym.spaces.Dict):
            cls = FilterableDictRolloutBuffer
        return object.__new__(cls)

    def __init__(
        self, *args: Any, equal_steps: bool = False, drop_remainder: bool = True, **kwargs: Any
    ):
        self.weight: np.ndarray | None = None  # (n,) how often each record is learned from
        self.equal_steps, self.drop_remainder = equal_steps, drop_remainder
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Forget the records and whom to keep of them."""
        self.weight = None
        super().reset()

    def keep(self, keep: Tensor) -> None:
        """Learn only from these records until the next rollout.

        Args:
            keep: (n,) bool, or float weights that are whole numbers (SB3's losses have no weights:
                a record of weight 2 is met twice an epoch), env by env, step by step.

        Raises:
            ValueError: another shape, broken weights, or nothing left.
        """
        n, weight = self.buffer_size * self.n_envs, keep.detach().cpu().numpy()
        if weight.shape != (n,):
            raise ValueError(f"keep: shape {weight.shape}, expected ({n},)")
        counts = weight.astype(np.int64)
        if (counts != weight).any() or (counts < 0).any():
            raise ValueError(
                "keep: weights that are no whole numbers from 0, expected bool or counts: the "
                "losses of Stable-Baselines3 have no weights"
            )
        if not counts.any():
            raise ValueError("keep: every record is dropped, expected at least one to learn from")
        self.weight = None if (counts == 1).all() else counts

    def get(self, batch_size: int | None = None) -> Generator[Any, None, None]:
        """Minibatches of one epoch: the kept records, shuffled."""
        if self.weight is None:
            yield from super().get(batch_size)
            return
        n, weight = self.buffer_size * self.n_envs, self.weight
        size = n if batch_size is None else batch_size
        self._flatten()
        order = np.random.permutation(n)  # SB3's own source; dropped records are skipped
        order = np.repeat(order, weight[order])
        if weight.max() > 1:
            order = np.random.permutation(order)
        if batch_size is None:
            yield self._get_samples(order)
            return
        if self.equal_steps:
            order = np.resize(order, n)
        if self.drop_remainder and len(order) > size:
            order = order[: len(order) // size * size]
        for i in range(0, len(order), size):
            yield self._get_samples(order[i : i + size])

    def _flatten(self) -> None:
        """(T, e, ...) to (e * T, ...), once per rollout, as SB3's own `get` does."""
        if self.generator_ready:
            return
        flat = self.swap_and_flatten
        obs: Any = self.observations
        by_key = isinstance(obs, dict)
        rows: Any = {k: flat(x) for k, x in obs.items()} if by_key else flat(obs)
        self.observations = rows
        for name in ("actions", "values", "log_probs", "advantages", "returns"):
            setattr(self, name, flat(getattr(self, name)))
        self.generator_ready = True


class FilterableDictRolloutBuffer(  # type: ignore[misc]
    FilterableRolloutBuffer, DictRolloutBuffer
):
    """The same for dict observations."""
