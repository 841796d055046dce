"""Own loops: any policy and any records get the scores and filters of the package's own agent."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal

from lda_lib import IIF, PPO, Action, OwnAgent, RandomDrop, Scorable, as_rollout, influence
from lda_lib.own import Packing

from .synthetic import relative_gap

EXAMPLE = Path(__file__).parents[2] / "book" / "examples" / "own_loop.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("own_loop", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_is_short_and_learns(example):
    assert len(EXAMPLE.read_text().splitlines()) < 60
    _, agent, history = example.train(rounds=15, drop=0.5)
    assert agent.round == len(history) == 15 and agent.scores.shape == (512,)
    assert sum(history[-5:]) > 2 * sum(history[:5])


def test_the_example_scores_what_it_learns_from(example):
    net, agent, _ = example.train(rounds=1, drop=0)
    torch.manual_seed(0)
    obs = torch.randn(20, 4)
    with torch.no_grad():
        action = Categorical(logits=net.actor(obs)).sample()
        logp = net.log_prob(obs, action)
    rollout = as_rollout(obs, action, logp, torch.randn(20))
    loop = influence(agent.policy, rollout, method="loop")
    assert relative_gap(influence(agent.policy, rollout), loop) < 1e-5


def test_filters_decide_as_they_do_for_the_packages_own_agent():
    """The same seed, policy and records: the same scores, the same kept records."""
    agent = PPO("CartPole", seed=4, n_steps=256, compile=False)
    made = agent.collect()
    mine = as_rollout(made.obs, made.action, made.logp, made.advantage)
    for keep in (IIF(0.5), RandomDrop(like=IIF(0.5))):
        own = OwnAgent(Scorable(agent.policy, lambda p, s, a: p.log_prob(s, a)), keep, seed=4)
        assert torch.equal(own.choose(mine), keep(agent, made))
        assert own.round == 1
    other = OwnAgent(agent.policy, IIF(0.5), seed=4, normalize="none")
    other.choose(mine)
    assert torch.allclose(other.scores, influence(agent.policy, made, normalize="none"))


def test_streams_change_with_the_round():
    agent = OwnAgent(PPO("CartPole", seed=0, compile=False).policy, RandomDrop(drop=0.5))
    rollout = as_rollout(torch.zeros(64, 4), torch.zeros(64).long(), *torch.zeros(2, 64))
    first, second = agent.choose(rollout), agent.choose(rollout)
    assert first.sum() == second.sum() == 32 and (first != second).any()


def test_keeping_all():
    agent = OwnAgent(PPO("CartPole", seed=0, compile=False).policy)
    rollout = as_rollout(torch.zeros(5, 4), torch.zeros(5).long(), *torch.zeros(2, 5))
    assert agent.choose(rollout).tolist() == [True] * 5 and agent.scores is None


def test_continuous_actions_and_the_full_loss():
    torch.manual_seed(1)
    net = nn.Linear(3, 3).double()

    def judge(net, obs, action):
        mean, value = net(obs).split([2, 1], -1)
        pi = Normal(mean, 0.5)
        return pi.log_prob(action).sum(-1), value.squeeze(-1), pi.entropy().sum(-1)

    policy = Scorable(net, lambda *x: judge(*x)[0], judge)
    obs, action = torch.randn(9, 3).double(), torch.randn(9, 2).double()
    with torch.no_grad():
        logp, value, _ = policy(obs, action)
    rollout = as_rollout(obs, action, logp, torch.randn(9).double(), value=value)
    assert torch.equal(rollout.ret, rollout.advantage + value)
    for loss in ("policy", "full"):
        jvp = influence(policy, rollout, score_loss=loss)
        loop = influence(policy, rollout, score_loss=loss, method="loop")
        assert relative_gap(jvp, loop) < 1e-10
    assert "action1" in rollout.table(score=jvp)
    bare = Scorable(net, lambda *x: judge(*x)[0])
    with pytest.raises(ValueError, match="judge: None"):
        influence(bare, rollout, score_loss="full")
    with pytest.raises(ValueError, match="score nan"):
        influence(policy, as_rollout(obs, action, logp, logp), score_loss="full")
    assert influence(bare, rollout, Action(obs[0], action[0])).shape == (9,)


def test_packing_comes_back_exactly():
    packing = Packing({"image": (1, 2, 3), "place": (1,), "speed": (2,)})
    obs = {
        "image": torch.arange(24).reshape(4, 1, 2, 3).byte(),
        "place": torch.tensor([[2**24], [1], [2], [3]]),
        "speed": torch.randn(4, 2),
    }
    rows = packing.pack(obs)
    assert rows.shape == (4, 9)
    back = packing.unpack(rows)
    assert list(back) == list(obs)
    assert all(torch.equal(back[k], obs[k].float()) for k in obs)
    with pytest.raises(ValueError, match="keys"):
        packing.pack({"image": obs["image"]})


N = torch.zeros(4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: as_rollout([1], N, N, N), TypeError, "obs: list"),
        (lambda: as_rollout(N, N, N, N), ValueError, "obs: shape"),
        (lambda: as_rollout(torch.zeros(4, 2), N[:3], N, N), ValueError, "action: shape"),
        (lambda: as_rollout(torch.zeros(4, 2), N, N[:, None], N), ValueError, "logp: shape"),
        (lambda: as_rollout(torch.zeros(4, 2), N, N, N / 0), ValueError, "advantage: record 0 has"),
        (lambda: as_rollout(torch.zeros(4, 2), N, N, N, t=N[:2]), ValueError, "t: shape"),
        (lambda: OwnAgent(nn.Linear(2, 2)), TypeError, "wrap it in Scorable"),
        (lambda: OwnAgent(Scorable(nn.Linear(2, 2), print), 0.5), TypeError, "keep: 0.5"),
        (lambda: Scorable(print, print), TypeError, "module: builtin"),
        (lambda: Scorable(nn.Linear(2, 2), None), TypeError, "log_prob: None"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_records_made_elsewhere_cannot_be_replayed():
    rollout = as_rollout(torch.zeros(4, 2), N.long(), N, N)
    with pytest.raises(ValueError, match="'own loop' belongs to episode 0, whose seed"):
        rollout.restore(2)
    with pytest.raises(ValueError, match="made elsewhere"):
        rollout.task.make()


def test_actions_that_were_never_taken_are_no_fault():
    agent = PPO("FrozenLake", n_steps=64, batch_size=32, compile=False)
    r = agent.collect()
    some = r[r.action < 3]
    records = as_rollout(some.obs, some.action, some.logp, some.advantage)
    assert relative_gap(influence(agent.policy, some), influence(agent.policy, records)) < 1e-6
    net = Scorable(nn.Linear(16, 4), lambda net, obs, a: Categorical(logits=net(obs)).log_prob(a))
    net.arch = "resnet"  # somebody else's attribute of that name
    records = as_rollout(some.obs, some.action, net.log_prob(some.obs, some.action), some.advantage)
    assert len(influence(net, records)) == len(some)
