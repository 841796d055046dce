"""Through the data channel: what leaving records out of one round does to the rounds after it.

A run stands before an update. Replicas of it leave out a set of records each (weight zero: they
keep their places in the minibatches) and then go on for h further rounds, on common random numbers.

collected again   from the next round on, each replica learns from what its own policy collects
frozen            every replica learns from given buffers, as somebody else recorded them

Replicas update side by side as one stacked network; each lives in an environment of its own.

symbol   shape    meaning
n        -        records in the rollout
r        -        replicas
keep     (r, n)   bool, the records of the first round that each replica learns from
h        -        rounds after the one with the removal; 0 is that round itself
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from .collect import Collector
from .config import PPOConfig
from .loss import Params, Records
from .policy import draw_noise
from .ppo import PPO, stream
from .replicas import Replica, side_by_side
from .rollout import Rollout
from .step import minibatches
from .targets import ExactReturn, call


class Round(NamedTuple):
    """What r replicas learnt from in one round, and where it took them."""

    h: int
    rollouts: list[Rollout]  # one that all learnt from, or one each
    params: Params  # (r, ...) each, after the round; of the policy alone where all is frozen


def continuations(
    agent: PPO,
    rollout: Rollout,
    keep: Tensor,
    rounds: int,
    *,
    diary: list[Rollout] | None = None,
    dice: int | None = None,
) -> Iterator[Round]:
    """Go on from one rollout without some of its records, once for each row of `keep`.

    A row that keeps everything is the run itself, as `agent.learn` would have lived it (but for the
    last digits: many networks are multiplied at once).

    Args:
        agent: who collected `rollout` and has not learnt from it yet; it stays as it is.
        rollout: the records of the round from which some are left out.
        keep: (r, n) bool.
        rounds: further rounds.
        diary: what all learn from in the further rounds (frozen); None: each collects its own.
        dice: seed of all random numbers from the update on (its order of batches, and everything
            that later rounds draw); None for the agent's own.

    Yields:
        A `Round` for h = 0, ..., rounds.

    Raises:
        ValueError: `keep` or `diary` does not fit, or the agent's settings are ones that replicas
            do not follow.
    """
    n, r = len(rollout), len(keep)
    if keep.dtype != torch.bool or keep.ndim != 2 or keep.shape[1] != n or not keep.any(1).all():
        raise ValueError(
            f"keep: {keep.dtype} {tuple(keep.shape)}, expected bool (r, {n}), no row without a True"
        )
    if diary is not None and len(diary) < rounds:
        raise ValueError(f"diary: {len(diary)} rollouts, expected one for each of {rounds} rounds")
    config = agent.config
    if config.critic != "kept" or config.restart or config.max_grad_norm is not None:
        raise ValueError(
            f"agent: critic={config.critic!r}, restart={config.restart}, max_grad_norm="
            f"{config.max_grad_norm}, expected critic='kept', restart=False and no clipping"
        )
    moving = config.desired_kl is not None or config.stretch is not None
    if moving or agent.keep is not None or agent.repair is not None:
        raise ValueError(
            f"agent: desired_kl={config.desired_kl}, stretch={config.stretch}, keep={agent.keep}, "
            f"repair={agent.repair}, expected none of them: replicas learn at one rate from all "
            "that they collect"
        )
    model, seed = agent.model, agent.seed if dice is None else dice
    table = model.obs if model is not None and len(model.obs) <= config.batch_size else None
    # nobody asks the critic of those who do not collect, unless it shares the policy's networks
    critic = diary is None or not isinstance(agent.policy.body, nn.Identity)
    policy = Replica(agent.policy, table, critic)
    params, state = policy.replicas(r, agent.opt_state)
    lives: list[Collector] = []
    learnt_from, weight = [rollout], keep.to(rollout.reward)
    for h in range(rounds + 1):
        if h == 1:
            weight = torch.ones_like(weight)
        if h and diary is not None:
            learnt_from = [diary[h - 1]]
        elif h:
            lives = lives or [_resumed(agent, seed) for _ in range(r)]
            learnt_from = _collect(agent, params, lives, h, seed)
        rng = stream(seed, "minibatches", agent.round + h)
        batches = _batches(learnt_from, weight, table is not None, config, rng)
        own = len(learnt_from) > 1
        params, state = side_by_side(policy, params, state, batches, config, own)
        yield Round(h, learnt_from, params)


def exact_returns(agent: PPO, rollout: Rollout, params: Params) -> Tensor:
    """J of each of r policies, (r,) float64; the task needs a finite model."""
    with torch.no_grad():
        return vmap(lambda p: call(agent.policy, p, ExactReturn(), rollout))(params)


def same_records(a: Rollout, b: Rollout) -> float:
    """Share of places at which two buffers hold the same state and the same action."""
    if len(a) != len(b):
        raise ValueError(f"a, b: {len(a)} and {len(b)} records, expected equally many")
    return float(((a.state == b.state) & (a.action == b.action)).double().mean())


def _resumed(agent: PPO, seed: int) -> Collector:
    """An environment of one's own, in the state in which the agent's was left."""
    source = agent.collector
    own = Collector(agent.task, agent.n_envs, source.seed, source.state_of)
    actions = [source.episode_in_progress(e).actions for e in range(agent.n_envs)]
    own.resume(source.counts, actions, source.obs)
    own.seed = seed  # of the episodes that begin from here on
    return own


def _collect(
    agent: PPO, params: Params, lives: list[Collector], h: int, seed: int
) -> list[Rollout]:
    """Let each replica act, all with the same noise."""
    config = agent.config
    size = (config.n_steps // agent.n_envs, agent.n_envs)
    noise = draw_noise(agent.policy, stream(seed, "actions", agent.collected + h - 1), size)
    actor, rollouts = copy.deepcopy(agent.policy), []
    for i, life in enumerate(lives):
        actor.load_state_dict({k: p[i] for k, p in params.items()})
        rollouts.append(life.collect(actor, noise, config.gamma, config.lam))
    return rollouts


def _batches(
    rollouts: list[Rollout],
    weight: Tensor,
    by_state: bool,
    config: PPOConfig,
    rng: np.random.Generator,
) -> Iterator[tuple[Records, None]]:
    """Minibatches in one common order: (b,) of a shared rollout, (r, b) of the replicas' own."""
    each = [Records.of(x, weight[0]) for x in rollouts]
    if by_state:  # the network meets the same few states again and again
        each = [one._replace(obs=x.state) for one, x in zip(each, rollouts, strict=True)]
    stacked = Records(*(torch.stack(field) for field in zip(*each, strict=True)))
    everyone = np.ones(weight.shape[1], bool)
    for index, _ in minibatches(everyone, config, rng):
        batch = Records(*(x[:, index] for x in stacked))
        if len(rollouts) == 1:
            batch = Records(*(x[0] for x in batch))
        yield batch._replace(weight=weight[:, index]), None
