"""What would have happened without this record? One update, made again with records left out.

Everything but the removal is frozen: the policy before the update, its records, the order of the
batches. Replicas of the update run side by side as one stacked network.

symbol   shape    meaning
n        -        records in the rollout
r        -        replicas: one per set of kept records
keep     (r, n)   bool, the records each replica learns from
effect   (r,)     outcome of the whole update minus outcome without the record; > 0: it helped

Two meanings of "removed" (REMOVALS). "weight zero": the record's losses count nothing, in an
otherwise unchanged update; divisor and advantage statistics are those of the full minibatches.
"re-batching": the update runs on the kept records alone, as filters do it; every later minibatch is
made of other records then, with statistics of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from .config import PPOConfig
from .loss import Params, Records
from .policy import ActorCritic
from .ppo import PPO
from .repair import lengthened
from .replicas import Replica, side_by_side
from .rollout import Rollout
from .step import OptState, minibatches
from .targets import Target, call

REMOVALS = ("weight zero", "re-batching")


@dataclass(frozen=True)
class FrozenRound:
    """One update that can be made again: who learns, from what, in which order."""

    policy: ActorCritic  # before the update; a copy
    state: OptState
    rollout: Rollout
    config: PPOConfig
    seed: tuple[int, ...]  # of the order of batches

    @classmethod
    def of(cls, agent: PPO, rollout: Rollout, order: int = 0) -> FrozenRound:
        """Freeze the update that `agent` is about to make on `rollout`.

        Args:
            agent: before the update; it is copied and stays as it is.
            rollout: the records.
            order: 0 for the agent's own order of batches, other numbers for others.

        With `stretch` the rate is that of an update on all records, in every replica.
        """
        rng = agent.rng("minibatches" if order == 0 else f"minibatches {order}")
        seed = tuple(int(x) for x in rng.bit_generator.seed_seq.entropy)  # type: ignore[attr-defined]
        policy = copy.deepcopy(agent.policy)
        config = lengthened(policy, rollout, agent.config)
        return cls(policy, agent.opt_state, rollout, config, seed)

    def batches(self, keep: np.ndarray) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Records of each step of the update on the kept ones, and the critic's."""
        return list(minibatches(keep, self.config, np.random.default_rng(self.seed)))


def retrain(
    frozen: FrozenRound,
    keep: Tensor,
    removal: str = "weight zero",
    chunk: int = 128,
    critic: bool = True,
) -> Iterator[Params]:
    """Make the update again on each of several sets of records.

    Args:
        frozen: the update.
        keep: (r, n) bool; for "re-batching" each replica must keep equally many.
        removal: one of REMOVALS.
        chunk: replicas that run side by side.
        critic: False saves half the time and leaves the value network as it was. Networks must be
            separate and gradients unclipped: the policy then learns the same without it.

    Yields:
        Parameters after the update of up to `chunk` replicas, stacked: (chunk, ...) each.
    """
    shared = not isinstance(frozen.policy.body, nn.Identity)
    if not critic and (shared or frozen.config.max_grad_norm is not None):
        raise ValueError("critic: False, but the policy's steps depend on the critic's gradient")
    n = len(frozen.rollout)
    if keep.dtype != torch.bool or keep.ndim != 2 or keep.shape[1] != n:
        raise ValueError(f"keep: {keep.dtype} {tuple(keep.shape)}, expected bool (r, {n})")
    if removal not in REMOVALS:
        raise ValueError(f"removal: {removal!r}, expected one of {REMOVALS}")
    if not keep.any(1).all():
        raise ValueError("keep: a replica keeps no record, expected at least one")
    for part in keep.split(chunk):
        if removal == "weight zero":
            common = frozen.batches(np.ones(n, bool))
            yield _replay(frozen, part.to(frozen.rollout.reward), [common], critic)
        else:
            own = [frozen.batches(row) for row in part.cpu().numpy()]
            if len({tuple(len(i) for i, _ in one) for one in own}) > 1:
                counts = sorted(set(part.sum(1).tolist()))
                raise ValueError(f"keep: rows keep {counts} records, expected equally many")
            ones = torch.ones_like(part, dtype=frozen.rollout.reward.dtype)
            yield _replay(frozen, ones, own, critic)


def _replay(frozen: FrozenRound, weight: Tensor, schedules: list, with_critic: bool) -> Params:
    """Run replicas, each with its weights (r, n), on one common schedule or on r of their own."""
    config, rollout, r = frozen.config, frozen.rollout, len(weight)
    records = Records.of(rollout, weight[0])
    distinct, place = torch.unique(rollout.obs.flatten(1), dim=0, return_inverse=True)
    table = None
    if len(distinct) <= config.batch_size:  # a minibatch meets the same states again and again
        table = distinct.view(-1, *rollout.obs.shape[1:])
        records = records._replace(obs=place)
    policy = Replica(frozen.policy, table, with_critic)
    own = len(schedules) > 1 or r == 1  # do records differ between replicas?

    def batches() -> Iterator[tuple[Records, Records | None]]:
        for steps in zip(*schedules, strict=True):
            index = torch.from_numpy(np.stack([i for i, _ in steps])).to(place)  # (1 or r, b)
            critic = steps[0][1]  # everyone's critic meets the same records
            batch = records.take(index if own else index[0])
            batch = batch._replace(weight=weight.gather(1, index.expand(r, -1)))
            whose = None if critic is None else torch.from_numpy(critic).to(place)
            yield batch, None if whose is None else records.take(whose)

    params, state = policy.replicas(r, frozen.state)
    return side_by_side(policy, params, state, batches(), config, own)[0]


def outcomes(
    frozen: FrozenRound,
    keep: Tensor,
    outcome: Target,
    removal: str = "weight zero",
    chunk: int = 128,
    critic: bool = True,
) -> Tensor:
    """The outcome after the update on each of several sets of records.

    Args:
        frozen: the update.
        keep: (r, n) bool.
        outcome: any target, of the policy after the update and the rollout: `ExactReturn()` where
            there is one, else `Return(reference=...)` of records the update never saw.
        removal: one of REMOVALS.
        chunk: replicas that run side by side.
        critic: see `retrain`.

    Returns:
        (r,) float64.
    """

    def judge(p: Params) -> Tensor:
        return call(frozen.policy, p, outcome, frozen.rollout)

    with torch.no_grad():
        parts = [vmap(judge)(p).double() for p in retrain(frozen, keep, removal, chunk, critic)]
    return torch.cat(parts)


def leave_one_out(
    frozen: FrozenRound,
    index: Tensor,
    outcome: Target,
    removal: str = "weight zero",
    chunk: int = 128,
    critic: bool = True,
) -> Tensor:
    """Effect of learning from each of the records `index`: what the outcome loses without it.

    Returns:
        (len(index),) float64; the sign is that of scores: > 0 means that the record helped.
    """
    everyone = torch.ones(1, len(frozen.rollout), dtype=torch.bool)
    keep = everyone.repeat(len(index), 1)
    keep[torch.arange(len(index)), index] = False
    whole = outcomes(frozen, everyone, outcome, critic=critic)
    return whole - outcomes(frozen, keep, outcome, removal, chunk, critic)


def random_subsets(n: int, kept: float, count: int, rng: np.random.Generator) -> Tensor:
    """Random sets that keep the share `kept` of n records, bool (count, n)."""
    if not 0 < kept <= 1:
        raise ValueError(f"kept: {kept!r}, expected a share above 0, up to 1")
    places = np.argsort(rng.random((count, n)), axis=1)
    return torch.from_numpy(places < round(kept * n))
