"""Input that cannot be meant is refused where it is given, by name, value and what was expected."""

from __future__ import annotations

import copy
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

from lda_lib import IIF, PPO, Action, LowestAdvantage, RandomDrop, Repair, Return, influence
from lda_lib import evaluation as evaluations
from lda_lib.diagnosis import replayed_advantage
from lda_lib.estimates import td_error
from lda_lib.explorer import action_table, record_table
from lda_lib.files import CheckpointError, load_tensors, save_tensors
from lda_lib.own import OwnAgent, Scorable, as_rollout
from lda_lib.rivals import RandomNegative

SMALL = {"n_steps": 64, "batch_size": 32, "epochs": 1}


@pytest.fixture(scope="module")
def agent():
    return PPO("FrozenLake", **SMALL)


@pytest.fixture(scope="module")
def rollout(agent):
    return agent.collect()


class World(gym.Env):
    """Answers with what it is given; episodes end after `length` steps, or never."""

    observation_space = gym.spaces.Discrete(4)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, obs=0, reward=1.0, length=None):
        self.obs, self.reward, self.length = obs, reward, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action):
        self.t += 1
        return self.obs, self.reward, self.t == self.length, False, {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"restart": "no"}, "restart: 'no', expected True or False"),
        ({"drop_remainder": 1}, "drop_remainder: 1, expected True or False"),
        ({"compile": 1}, "compile: 1, expected True, False or 'auto'"),
        ({"vf_coef": -5}, "vf_coef: -5, expected a number from 0"),
        ({"keep": IIF}, "keep: .*, expected a function of agent and rollout"),
    ],
)
def test_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        PPO("FrozenLake", **settings)


def test_numbers_of_numpy_are_numbers(tmp_path):
    agent = PPO(
        "FrozenLake",
        n_steps=np.int64(64),
        n_envs=np.int64(2),
        lr=np.float32(0.5),
        restart=np.bool_(False),
        keep=IIF(np.float32(0.5)),
        repair=Repair(np.float32(30)),
    )
    agent.save(tmp_path / "agent")
    assert PPO.load(tmp_path / "agent", keep=agent.keep, repair=agent.repair).config.lr == 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clip": float("nan")}, "clip: nan"),
        ({"clip": -1}, "clip: -1"),
        ({"adam_eps": -1}, "adam_eps: -1"),
        ({"batch_size": 1}, "batch_size: 1, expected a whole number from 2"),
        ({"target": "return"}, "target: 'return', expected a function"),
        ({"target": Return}, "target: .*Return.*, expected a function"),
    ],
)
def test_scores(agent, rollout, settings, said):
    with pytest.raises(ValueError, match=said):
        influence(agent.policy, rollout, **settings)


def test_a_trace_of_other_records_is_refused():
    agent = PPO("FrozenLake", **SMALL)
    first, second = agent.collect(), agent.collect()
    repaired = Repair()(agent, first)
    trace = agent.update(first, trace=True)
    for other in (second, repaired):
        with pytest.raises(ValueError, match="trace: of an update on other advantages"):
            influence(agent.policy, other, trace=trace)
    assert influence(agent.policy, first, trace=trace).isfinite().all()


@pytest.mark.parametrize("layer", [torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.5)])
def test_a_policy_that_is_training_is_told_to_stop(rollout, layer):
    net = torch.nn.Sequential(layer, torch.nn.Linear(16, 4))

    def log_prob(net, obs, action):
        return net(obs).log_softmax(1).gather(1, action[:, None]).squeeze(1)

    policy = Scorable(net, log_prob)
    with pytest.raises(ValueError, match=f"{type(layer).__name__} in training mode.*eval"):
        influence(policy, rollout)
    policy.eval()
    with pytest.warns(UserWarning, match="stale"):  # the records are another policy's
        influence(policy, rollout)


@pytest.mark.parametrize(
    ("obs", "action", "said"),
    [
        (3, 1.5, "action: 1.5, expected whole numbers"),
        (3, [1, 2], "action: .1, 2., expected one below 4"),
        (torch.zeros(16), 1, "obs: .*, expected a 1 among zeros"),
        (torch.zeros(5), 1, r"obs: shape \(5,\), expected \(16,\)"),
        (torch.tensor(3), 1, r"obs: shape \(\), expected \(16,\)"),
    ],
)
def test_action_targets(agent, rollout, obs, action, said):
    with pytest.raises(ValueError, match=said):
        Action(obs, action)(agent.policy, rollout)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"clip": -1}, "clip: -1"), ({"gamma": 1.5}, "gamma: 1.5"), ({"seed": 1.5}, "seed: 1.5")],
)
def test_own_agents(agent, settings, said):
    with pytest.raises(ValueError, match=said):
        OwnAgent(agent.policy, **settings)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"reward": np.zeros(3)}, TypeError, "reward: ndarray, expected a tensor"),
        ({"terminated": [False] * 3}, TypeError, "terminated: list, expected a tensor"),
        ({"advantage": torch.arange(3)}, TypeError, "expected floats"),
        ({"obs": torch.full((3, 2), torch.nan)}, ValueError, "obs: record 0 has"),
        ({"task": "CartPole"}, TypeError, "task: 'CartPole', expected a Task"),
    ],
)
def test_own_records(change, error, said):
    given = {"obs": torch.zeros(3, 2), "action": torch.zeros(3, dtype=torch.long)}
    given |= {"logp": torch.zeros(3), "advantage": torch.zeros(3)}
    with pytest.raises(error, match=said):
        as_rollout(**(given | change))


@pytest.mark.parametrize(
    ("world", "said"),
    [
        ({"obs": -1}, r"observation: the environment returned -1, .*Discrete\(4\)"),
        ({"obs": 4}, r"observation: the environment returned 4, .*Discrete\(4\)"),
        ({"reward": None}, "reward: .* returned None at step 0 of episode 0"),
    ],
)
def test_what_environments_return(world, said):
    with pytest.raises(ValueError, match=said):
        PPO(lambda: World(**world), **SMALL).collect()


def test_an_episode_without_an_end_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(evaluations, "LONGEST", 50)
    assert PPO(lambda: World(length=5), **SMALL).evaluate(2).mean == 5
    with pytest.raises(ValueError, match=r"did not end within 50 steps.*TimeLimit"):
        PPO(World, **SMALL).learn(1, progress=False)


def test_an_update_needs_records_and_a_repair_returns_them(rollout):
    with pytest.raises(ValueError, match="rollout: no records"):
        PPO("FrozenLake", **SMALL).update(rollout[:0])
    with pytest.raises(TypeError, match="repair: returned None, expected a Rollout"):
        PPO("FrozenLake", repair=lambda agent, rollout: None, **SMALL).learn(1, progress=False)
    with pytest.raises(ValueError, match="callback: 3"):
        PPO("FrozenLake", **SMALL).learn(1, callback=3, progress=False)
    with pytest.raises(TypeError, match="policy: Scorable, expected an ActorCritic"):
        Repair()(OwnAgent(Scorable(torch.nn.Linear(16, 4), lambda *_: None)), rollout)


def test_a_selection_has_no_td_errors(rollout):
    td_error(rollout, 0.99, 0.95)
    with pytest.raises(ValueError, match="a selection has gaps"):
        td_error(rollout[::2], 0.99, 0.95)


def test_td_errors_need_whole_episodes_one_after_another():
    made = PPO("CartPole", n_envs=4, n_steps=256, batch_size=32).collect()
    td_error(made, 0.99, 0.95)
    by_time = made[torch.arange(256).view(4, 64).T.reshape(-1)]
    with pytest.raises(ValueError, match="do not stand together"):
        td_error(by_time, 0.99, 0.95)
    some = {"value": made.value, "terminated": made.terminated, "truncated": made.truncated}
    own = as_rollout(made.obs, made.action, made.logp, made.advantage, **some)
    with pytest.raises(ValueError, match=r"ends an episode and record .* has the same number"):
        td_error(own, 0.99, 0.95)


def test_slips_around_scores_are_named(agent, rollout):
    policy = agent.policy
    with pytest.raises(ValueError, match=r"trace: a Series, expected what agent.update"):
        influence(policy, rollout, trace=copy.deepcopy(agent).update(rollout))
    with pytest.raises(ValueError, match="opt_state: no moments"):
        influence(policy, rollout, opt_state=agent.opt_state)
    other = torch.nn.Linear(16, 4)
    blind = Scorable(
        torch.nn.Linear(16, 4),
        lambda _, obs, action: other(obs).log_softmax(1).gather(1, action[:, None])[:, 0],
    )
    mine = as_rollout(rollout.obs, rollout.action, rollout.logp * 0 - 1, rollout.advantage)
    with pytest.raises(ValueError, match="depends on none of the policy's parameters"):
        influence(blind, mine)


@pytest.mark.parametrize("control", [RandomDrop, LowestAdvantage, RandomNegative])
def test_a_control_takes_a_filter_and_not_its_class(control):
    with pytest.raises(ValueError, match=r"like: .*IIF.*, expected a filter"):
        control(like=IIF)


def test_a_cap_on_a_rate_that_nothing_moves():
    with pytest.raises(ValueError, match=r"lr_max: 0.03, expected None without desired_kl"):
        PPO("FrozenLake", stretch=30.0, lr_max=0.03)


def test_an_environment_that_two_agents_share_is_told():
    class Plain(gym.Wrapper):  # with an argument that is no spec's
        def __init__(self, env, x):
            super().__init__(env)

    env = Plain(gym.make("CartPole-v1"), 1)
    first = PPO(env, **SMALL)
    first.collect()
    second = PPO(env, **SMALL)
    second.collect()  # nobody has disturbed it
    with pytest.warns(UserWarning, match="someone else has used the only"):
        assert int(first.collect().t[0]) == 0
    twin = copy.deepcopy(first)
    assert int(twin.collect().t[0]) == int(first.collect().t[0]) > 0  # a copy has its own


def test_a_checkpoint_of_another_task_or_without_a_part(tmp_path, agent):
    agent.save(tmp_path / "agent")
    with pytest.raises(CheckpointError, match="'FrozenLake', not in 'FrozenLakeSlippery'"):
        PPO.load(tmp_path / "agent", task="FrozenLakeSlippery")
    tensors, info = load_tensors(tmp_path / "agent", "agent")
    save_tensors(tmp_path / "less", tensors, {k: v for k, v in info.items() if k != "seed"})
    with pytest.raises(CheckpointError, match="lacks a part of an agent: seed"):
        PPO.load(tmp_path / "less")
    save_tensors(tmp_path / "list", {}, [1])  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="damaged"):
        load_tensors(tmp_path / "list", "agent")

    def broken():
        raise KeyError("my own bug")

    with pytest.raises(KeyError, match="my own bug"):  # the environment's, not the checkpoint's
        PPO.load(tmp_path / "agent", task=broken)


def test_time_limits_are_lifted_from_environments_that_a_function_makes():
    def made():
        return TimeLimit(World(length=40), 10)

    agent = PPO(made, **SMALL)
    rollout = agent.collect()
    assert bool(rollout.truncated.any())
    env = rollout.restore(0, max_episode_steps=-1)
    steps = sum(1 for _ in iter(lambda: any(env.step(0)[2:4]), True)) + 1
    assert steps == 40
    replayed_advantage(agent.policy, rollout, [0], k=2)


def test_records_made_elsewhere_can_be_looked_at(agent, rollout):
    own = as_rollout(rollout.obs, rollout.action, rollout.logp, rollout.advantage)
    assert action_table(agent.policy, own, 0).probability.sum() == pytest.approx(1, abs=1e-5)
    assert "score" in record_table(agent.policy, own, np.zeros(len(own)))
    assert replace(own, task=rollout.task).task is rollout.task
