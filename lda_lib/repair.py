"""Repair: a better advantage for every record, in place of dropping records with a bad one.

The estimate A_hat of a record says how its own episode went on: its action's merit and luck. A
regression of A_hat on state and action keeps what records of like states and equal actions agree
on, and averages the luck out.

symbol   shape      meaning
phi      (n, f)     features of s: last hidden layers of policy and value network, and 1
w        (f,) each  one weight vector per action a (categorical), or u and W (Gaussian)
A_bar    (n,)       the repaired advantage

Categorical: A_hat ~ phi(s)' w_a by ridge regression, one per action, and
    A_bar(s, a) = phi(s)' (w_a - sum over b of pi(b | s) w_b).
Gaussian: A_hat ~ phi(s)' (u + W z) with z = (a - mean) / std, and A_bar(s, a) = phi(s)' W z.
Either way the mean of A_bar over the policy's actions is 0 in every state, as an advantage's must
be, so that what the critic gets wrong about a state mostly falls out (all of it where the actions
were tried equally often). phi are the features on which the last layers of the network act: A_bar
is what these layers could learn from the records (compatible features, Sutton et al. 2000; the
constraint, Pan et al. 2022).

For the same reason the first step of an update has much the same direction with A_bar as with A_hat
(study `stretch`: a median cosine above 0.9 on five tasks of seven, 0.72 on LunarLander);
standardised by its smaller spread it is longer, see `stretch`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from .config import PPOConfig, is_number, whole
from .loss import standardise
from .policy import ActorCritic
from .rollout import Rollout

if TYPE_CHECKING:
    from .ppo import PPO


class Past(NamedTuple):
    """What the regression reads of a rollout."""

    obs: Tensor
    action: Tensor
    advantage: Tensor  # less its mean over the rollout

    @classmethod
    def of(cls, rollout: Rollout) -> Past:
        """What the regression reads of this one."""
        return cls(rollout.obs, rollout.action, rollout.advantage - rollout.advantage.mean())


@dataclass
class Repair:
    """Replace the advantages of each rollout by repaired ones; `PPO(repair=Repair())`.

    Attributes:
        strength: of the ridge penalty, in units of squared feature length; how many records of one
            action it takes, roughly, before they outweigh the belief that no action matters.
        rounds: of records that the regression reads: this round's and, above 1, those before it.
        memory: what is kept of the rounds before, oldest first; checkpoints hold it.
    """

    strength: float = 30.0
    rounds: int = 1
    memory: list[Past] = field(default_factory=list, repr=False, compare=False)
    _owner: ReferenceType | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not is_number(self.strength) or not self.strength > 0:
            raise ValueError(f"strength: {self.strength!r}, expected a number above 0")
        whole("rounds", self.rounds, 1)

    def __getstate__(self) -> dict[str, Any]:
        """A copy belongs to the agent that calls it first, and keeps the memory."""
        return self.__dict__ | {"_owner": None}

    def __call__(self, agent: PPO, rollout: Rollout) -> Rollout:
        """The same records with repaired advantages; returns, and so the critic's, stay."""
        if not isinstance(agent.policy, ActorCritic):
            kind = type(agent.policy).__name__
            raise TypeError(f"policy: {kind}, expected an ActorCritic, whose features repair reads")
        if self._owner is not None and self._owner() is not agent:
            self.memory = []  # of another agent
        self._owner = ref(agent)
        now = Past.of(rollout)
        self.memory = [*self.memory, now][-self.rounds :]
        past = Past(*(torch.cat(x) for x in zip(*self.memory, strict=True)))
        return repaired(agent.policy, rollout, past, self.strength)


def repaired(policy: ActorCritic, rollout: Rollout, past: Past, strength: float) -> Rollout:
    """The same records with the advantages that a regression on `past` finds."""
    weights = fit_advantage(policy, past, strength)
    found = fitted_advantage(policy, weights, rollout.obs, rollout.action)
    return replace(rollout, advantage=found)


def first_step(policy: ActorCritic, rollout: Rollout) -> Tensor:
    """Gradient of the mean of log pi(a | s) A, A standardised over the rollout, (parameters,).

    Where the policy would go if the whole rollout were the first minibatch.
    """
    params = [p for name, p in policy.named_parameters() if not name.startswith("v.")]
    with torch.enable_grad():
        log_prob = policy.log_prob(rollout.obs, rollout.action)
        found = torch.autograd.grad((log_prob * standardise(rollout.advantage)).mean(), params)
    return torch.cat([g.flatten() for g in found])


def stretch(policy: ActorCritic, rollout: Rollout, strength: float = 30.0) -> float:
    """How many times as long repair makes the first step of an update; 1 where it cannot be told.

    Standardised advantages are divided by their spread, luck included, so a step is the shorter
    the more luck there is. Repaired ones have less of it. The direction differs less: what the
    regression leaves out, the policy's last layer could hardly have learnt.
    """
    longer = first_step(policy, repaired(policy, rollout, Past.of(rollout), strength))
    ratio = float(longer.norm() / first_step(policy, rollout).norm())
    return ratio if math.isfinite(ratio) and ratio > 0 else 1.0  # nothing to learn from


def lengthened(policy: ActorCritic, rollout: Rollout, config: PPOConfig) -> PPOConfig:
    """Settings of an update on these records: those of `config`, at the rate that `stretch` sets.

    Args:
        policy: before the update.
        rollout: the records that it learns from; those that a filter drops do not belong to it.
        config: the agent's settings.
    """
    if config.stretch is None:
        return config
    longer = config.lr * stretch(policy, rollout, config.stretch)
    return replace(config, lr=longer, critic_lr=config.critic_lr or config.lr, stretch=None)


def fit_advantage(policy: ActorCritic, past: Past, strength: float) -> Tensor:
    """The regression's weights: w, (f, actions), or (u, W), (f, 1 + d).

    Args:
        policy: whose features are used.
        past: n records, possibly of earlier policies too.
        strength: of the ridge penalty, above 0.
    """
    with torch.no_grad():
        phi, out = _features(policy, past.obs)
        if policy.arch.action_kind == "box":
            z = _standard_scores(policy, out, past.action)  # (n, d)
            by = torch.cat([torch.ones_like(z[:, :1]), z], 1)  # (n, 1 + d)
            products = (phi.unsqueeze(2) * by.unsqueeze(1)).flatten(1)  # (n, f (1 + d))
            return _ridge(products, past.advantage, strength).view(phi.shape[1], -1)
        each = [past.action == a for a in range(policy.arch.action_dim)]
        return torch.stack([_ridge(phi[a], past.advantage[a], strength) for a in each], 1)


def fitted_advantage(policy: ActorCritic, weights: Tensor, obs: Tensor, action: Tensor) -> Tensor:
    """A_bar(obs, action), (n,), for any actions, from what `fit_advantage` found."""
    with torch.no_grad():
        phi, out = _features(policy, obs)
        value = phi @ weights
        if policy.arch.action_kind == "box":
            return (value[:, 1:] * _standard_scores(policy, out, action)).sum(1)
        centred = value - (out.softmax(1) * value).sum(1, keepdim=True)
        return centred.gather(1, action.long().unsqueeze(1)).squeeze(1)


def _features(policy: ActorCritic, obs: Tensor) -> tuple[Tensor, Tensor]:
    """phi, (n, f), and the output of the policy network, (n, actions or d)."""
    body = policy.body(obs)
    hidden = policy.pi[:-1](body)
    phi = torch.cat([hidden, policy.v[:-1](body), torch.ones_like(body[:, :1])], 1)
    return phi, policy.pi[-1](hidden)


def _ridge(x: Tensor, y: Tensor, strength: float) -> Tensor:
    """The w of least |x w - y|^2 + strength |w|^2, (f,); 0 where there is no record."""
    gram = (x.T @ x).cpu().double()  # in double precision, which not every device has
    gram.diagonal().add_(strength)
    return torch.linalg.solve(gram, (x.T @ y).cpu().double()).to(x)


def _standard_scores(policy: ActorCritic, mean: Tensor, action: Tensor) -> Tensor:
    """(a - mean) / std of a Gaussian policy's actions, (n, d)."""
    return (action - mean) / policy.std(mean).exp()
