"""Exercises of chapter 1: advantages, the clipped loss, wrong advantages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..exact import action_probs, exact_advantage, exact_values
from ..loss import policy_loss, standardise
from ..ppo import PPO
from ..rollout import gae
from ._result import Hint, agree, check, numbers


def _gae(
    reward: np.ndarray,
    value: np.ndarray,
    next_value: np.ndarray,
    terminated: np.ndarray,
    ended: np.ndarray,
    gamma: float,
    lam: float,
) -> Tensor:
    """`lda_lib.rollout.gae` for one environment, (T,)."""
    r, v, v_next, stop, end = (x[:, None] for x in (reward, value, next_value, terminated, ended))
    return torch.from_numpy(gae(r, v, v_next, stop, end, gamma, lam)[:, 0])


@check
def ex01_1(fn: Callable) -> str:
    """`fn(reward, value, next_value, terminated, ended, gamma, lam) -> advantage`, all (T,)."""
    rng = np.random.default_rng(1)
    reward, value, next_value = rng.normal(size=(3, 9))
    terminated, truncated = np.zeros((2, 9), bool)
    terminated[2], truncated[6] = True, True  # the last record is cut: the rollout is full
    ended = terminated | truncated
    next_value[:-1] = np.where(ended[:-1], next_value[:-1], value[1:])
    gamma, lam, never = 0.9, 0.8, np.zeros(9, bool)
    expected = _gae(reward, value, next_value, terminated, ended, gamma, lam)

    def wrong(bootstrap_stops: np.ndarray, carry_stops: np.ndarray, lam: float = lam) -> Tensor:
        return _gae(reward, value, next_value, bootstrap_stops, carry_stops, gamma, lam)

    forward, tail = np.zeros(9), 0.0
    delta = reward + gamma * next_value * ~terminated - value
    for t in range(9):
        tail = forward[t] = delta[t] + gamma * lam * tail * ~ended[t]
    cut = ended.copy()
    cut[-1] = True
    mistakes = {
        "you treat truncation as termination: a time limit hides what follows, it does not make it "
        "worthless. Only `terminated` removes next_value; `ended` stops the sum.": wrong(
            ended, ended
        ),
        "the last record is treated as terminal. The rollout is full there, the episode goes on: "
        "keep its next_value.": wrong(terminated | (cut & ~ended), ended),
        "truncated and cut records are treated as terminal: only `terminated` removes "
        "next_value.": wrong(cut, cut),
        "a terminal state is worth 0: multiply next_value by `not terminated`.": wrong(
            never, ended
        ),
        "advantages leak from one episode into the one before: where `ended`, the sum starts "
        "again from 0.": wrong(terminated, never),
        "advantages leak through truncation: the sum stops where `ended`, not only where "
        "`terminated`.": wrong(terminated, terminated),
        "lambda is missing: the sum is weighted with gamma * lam at each step.": wrong(
            terminated, ended, 1.0
        ),
        "this is delta alone: add gamma * lam * (advantage of the next record).": wrong(
            terminated, ended, 0.0
        ),
        "the recursion runs forwards. A record's advantage needs that of the record after it: "
        "start at the end.": torch.from_numpy(forward),
    }
    agree(
        fn(reward, value, next_value, terminated, ended, gamma, lam),
        expected,
        "advantage",
        mistakes,
    )
    return "terminated, truncated and cut are each treated as they should be."


@check
def ex01_2(fn: Callable) -> str:
    """`fn(ratio, advantage, clip) -> silenced`, bool (n,): records whose gradient is zero."""
    ratio = torch.tensor([0.5, 0.5, 0.9, 0.9, 1.0, 1.0, 1.15, 1.15, 1.6, 1.6])
    advantage = torch.tensor([2.0, -2.0, 1.0, -1.0, 1.0, -1.0, 3.0, -3.0, 0.5, -0.5])
    up, down = advantage > 0, advantage < 0
    for clip in (0.2, 0.05):
        high, low = ratio > 1 + clip, ratio < 1 - clip
        expected = (up & high) | (down & low)
        mistakes = {
            "a ratio outside the clip range is not enough. With a positive advantage and a ratio "
            "that is too low, the minimum picks the unclipped term: that record may still "
            "push.": high | low,
            "turned round: a good record is silenced once its action has become *more* likely, a "
            "bad one once it has become less likely.": (up & low) | (down & high),
            "turned round: these are the records that still push.": ~expected,
            "records with a negative advantage are silenced too, below 1 - clip.": up & high,
            "records with a positive advantage are silenced too, above 1 + clip.": down & low,
        }
        if clip == 0.05:
            fixed = (up & (ratio > 1.2)) | (down & (ratio < 0.8))
            mistakes["use the argument `clip`, not 0.2."] = fixed
        agree(fn(ratio, advantage, clip), expected, "silenced", mistakes)
    return "records with a positive advantage fall silent above 1 + clip, negative below 1 - clip."


@check
def ex01_3(fn: Callable) -> str:
    """`fn(policy, batch, clip) -> loss`, the mean clipped loss of a minibatch, a scalar."""
    agent = PPO("FrozenLake", seed=3, n_steps=48, batch_size=48)
    batch = agent.collect()
    policy, clip = agent.policy, 0.1
    with torch.no_grad():  # it has moved on since the records were made
        for name, parameter in policy.named_parameters():
            parameter.mul_(60.0 if name == "pi.4.weight" else 1.0)
    log_prob, advantage = policy.log_prob(batch.obs, batch.action), batch.advantage
    losses = policy_loss(log_prob, batch.logp, advantage, clip)
    ratio = (log_prob - batch.logp).exp()
    mistakes = {
        "the sign: an optimiser makes a loss smaller, and we want ratio * advantage "
        "larger.": -losses.mean(),
        "the ratio is 1 for every record: its denominator must be the log-probability from when "
        "the record was made, batch.logp.": -advantage.mean(),
        "two bugs are left: the sign, and the denominator of the ratio (it is "
        "batch.logp).": advantage.mean(),
        "the ratio is upside down: new over old.": policy_loss(
            batch.logp, log_prob, advantage, clip
        ).mean(),
        "the mean over the minibatch, not the sum.": losses.sum(),
        "the loss is not clipped.": -(ratio * advantage).mean(),
        "the minimum of the clipped and the unclipped term is missing.": -(
            ratio.clamp(1 - clip, 1 + clip) * advantage
        ).mean(),
        "minimum and maximum: of the two terms the smaller counts, before the sign is "
        "turned.": -torch.max(
            ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
        ).mean(),
    }
    loss = fn(policy, batch, clip)
    agree(loss, losses.mean(), "loss", mistakes, atol=1e-6)
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        raise Hint("the value is right, but no gradient can flow: return a tensor, not a float.")
    return "the loss is right, and the old log-probabilities are those of the records."


@check
def ex01_4(fn: Callable) -> str:
    """`fn(rollout, V, last_state, gamma, lam) -> advantage`: GAE with the values V, (n,)."""
    agent = PPO("FrozenLake", seed=3, n_steps=64, batch_size=64)
    rollout = agent.collect()
    last_state = int(agent.collector.obs[0].argmax())
    V = torch.linspace(-1.0, 1.0, 16, dtype=torch.float64).sin() + 0.3
    gamma, lam = 0.95, 0.9
    value = V[rollout.state].numpy()
    following = np.append(value[1:], float(V[last_state]))
    reward, terminated = rollout.reward.double().numpy(), rollout.terminated.numpy()
    never = np.zeros_like(terminated)

    def estimate(values: np.ndarray, after: np.ndarray, stops: np.ndarray) -> Tensor:
        return _gae(reward, values, after, stops, terminated, gamma, lam)

    critic = rollout.value.double().numpy()
    critic_next = np.append(critic[1:], float(V[last_state]))
    zero_end = np.append(value[1:], 0.0)
    mistakes = {
        "these are the critic's values: look V up at rollout.state instead.": estimate(
            critic, critic_next, terminated
        ),
        "a terminal state is worth 0, whatever V says of the tile the next episode starts "
        "from.": estimate(value, following, never),
        "the last record: what follows it is V[last_state].": estimate(value, zero_end, terminated),
    }
    expected = estimate(value, following, terminated)
    agree(fn(rollout, V, last_state, gamma, lam), expected, "advantage", mistakes)
    return "GAE with values of your choice."


@check
def ex01_5(fn: Callable) -> str:
    """`fn(agent, rollout) -> keep`, bool (n,): False where push and exact advantage disagree."""
    agent = PPO("FrozenLake", seed=5, n_steps=512, batch_size=64)
    rollout = agent.collect()
    before = {k: p.clone() for k, p in agent.policy.state_dict().items()}
    truth = exact_advantage(agent.policy, rollout, agent.config.gamma)
    push = standardise(rollout.advantage).double()
    keep = numbers(fn(agent, rollout), (len(rollout),), "keep")
    if any(not torch.equal(p, before[k]) for k, p in agent.policy.state_dict().items()):
        raise Hint("a filter only looks: the policy's parameters changed during the call.")
    clear = (truth * push).abs() > 1e-9
    expected = (truth * push > 0).double()
    raw = (truth * rollout.advantage > 0).double()
    assert agent.model is not None
    with torch.no_grad():
        table = action_probs(agent.policy, agent.model)
        values = exact_values(table, agent.model, agent.config.gamma)[0]
    positive = (values[rollout.state] * push > 0).double()
    mistakes = {
        "turned round: True means keep.": 1 - expected,
        "these are the signs of the raw estimates. PPO centres them before it uses them: "
        "compare the sign of `standardise(rollout.advantage)`.": raw,
        "you compare with V instead of the exact advantage.": positive,
    }
    agree(keep[clear], expected[clear], "keep", {k: x[clear] for k, x in mistakes.items()})
    return f"it drops {int((1 - keep).sum())} of {len(rollout)} records."
