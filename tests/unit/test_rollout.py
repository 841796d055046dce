"""Records, advantages and states by replay."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lda_lib import PPO, TASKS, make_task
from lda_lib.rollout import gae

from .worlds import Corridor, Unrepeatable


@settings(max_examples=60, deadline=None)
@given(
    data=hnp.arrays(float, (3, 9, 2), elements=st.floats(-5, 5)),
    ends=hnp.arrays(np.int64, (9, 2), elements=st.integers(0, 4)),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
)
def test_gae_is_its_closed_form(data, ends, gamma, lam):
    """A_t = sum_l (gamma lam)^l delta_{t+l} up to the end; terminated states are worth nothing."""
    reward, value, next_value = data
    terminated, truncated = ends == 1, ends == 2  # else the episode goes on, or the buffer cuts it
    advantage = gae(reward, value, next_value, terminated, terminated | truncated, gamma, lam)
    for e in range(2):
        for t in range(9):
            total, factor = 0.0, 1.0
            for k in range(t, 9):
                after = 0.0 if terminated[k, e] else gamma * next_value[k, e]
                total += factor * (reward[k, e] + after - value[k, e])
                if terminated[k, e] or truncated[k, e]:
                    break
                factor *= gamma * lam
            assert advantage[t, e] == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_advantages_bootstrap_at_limits_and_cuts_but_not_at_ends(n_envs):
    """Recomputed record by record from the environment's own successor states."""
    agent = PPO(lambda: Corridor(goal=5, limit=4), seed=1, n_steps=30, n_envs=n_envs)
    agent.collect()
    rollout = agent.collect()  # begins in the middle of an episode
    gamma, lam = agent.config.gamma, agent.config.lam
    assert rollout.terminated.any() and rollout.truncated.any()
    assert not (rollout.terminated & rollout.truncated).any()
    n = len(rollout)
    steps = n // n_envs
    assert rollout.env.tolist() == [e for e in range(n_envs) for _ in range(steps)]
    expected = np.zeros(n)
    for i in reversed(range(n)):
        obs, action = rollout.obs[i].numpy(), int(rollout.action[i])
        successor = torch.tensor([[obs[0] + 1.0, float(action)]])
        with torch.no_grad():
            v_next = 0.0 if rollout.terminated[i] else float(agent.policy.value(successor))
        delta = float(rollout.reward[i]) + gamma * v_next - float(rollout.value[i])
        last = rollout.terminated[i] or rollout.truncated[i] or (i + 1) % steps == 0
        expected[i] = delta if last else delta + gamma * lam * expected[i + 1]
    np.testing.assert_allclose(rollout.advantage.numpy(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rollout.ret, rollout.advantage + rollout.value)


def test_record_fields_are_consistent():
    rollout = PPO("CartPole", seed=0, n_steps=256).collect()
    assert len(rollout) == 256 and set(rollout.tensors()) == {
        "obs", "action", "logp", "value", "reward", "advantage", "ret", "episode", "t", "env",
        "terminated", "truncated", "state", "index",
    }  # fmt: skip
    new = rollout.episode[1:] != rollout.episode[:-1]
    assert torch.equal(new, rollout.terminated[:-1] | rollout.truncated[:-1])
    assert (rollout.t[1:][new] == 0).all()
    assert torch.equal(rollout.t[1:][~new], rollout.t[:-1][~new] + 1)


def test_rollouts_are_indexed_like_tensors():
    rollout = PPO("CartPole", seed=0, n_steps=64).collect()
    assert len(rollout[3]) == 1 and torch.equal(rollout[3].obs[0], rollout.obs[3])
    assert torch.equal(rollout[-1].t, rollout.t[-1:])
    mask = rollout.action == 1
    for index in (mask, mask.numpy(), mask.nonzero().squeeze(1), slice(4, 9), [1, 2]):
        assert torch.equal(rollout[index].reward, rollout.reward[index])
    assert [int(r.t) for r in rollout] == rollout.t.tolist()
    assert rollout.to(dtype=torch.float64).obs.dtype == torch.float64
    assert rollout.to(dtype=torch.float64).action.dtype == torch.int64
    with pytest.raises(IndexError, match="index: 64"):
        rollout[64]


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("FrozenLake", ["episode", "t", "obs", "action"]),
        ("CartPole", ["episode", "t", "obs0", "obs1", "obs2", "obs3", "action"]),
        ("BipedalWalker", ["episode", "t", "action0", "action1", "action2", "action3"]),
        ("MiniGrid", ["episode", "t", "action"]),
    ],
)
def test_tables_show_what_a_teacher_shows_first(task, columns):
    rollout = PPO(task, seed=0, n_steps=12).collect()
    table = rollout.table(score=rollout.advantage)
    assert list(table.columns[: len(columns) + 1]) == ["score", *columns]
    assert len(table) == 12 and isinstance(table, pd.DataFrame)
    assert "advantage" in table and "<table" in rollout._repr_html_()
    assert "Rollout of 12 records" in repr(rollout) and str(tuple(rollout.obs.shape)) in repr(
        rollout
    )


@pytest.mark.parametrize("task", ["FrozenLakeSlippery", "Acrobot", "LunarLander", "MiniGrid"])
def test_states_are_restored_by_replay_in_a_new_environment(task):
    agent = PPO(task, seed=2, n_steps=300, n_envs=2)
    agent.collect()
    rollout = agent.collect()
    for i in (0, 149, 150, 299):
        env = rollout.restore(i)
        raw, reward, *_ = env.step(agent.task.decode(rollout.action[i].numpy()))
        assert reward == pytest.approx(float(rollout.reward[i]), abs=1e-6)
        if not (rollout.terminated[i] or rollout.truncated[i] or i in (149, 299)):
            np.testing.assert_array_equal(agent.task.encode(raw), rollout.obs[i + 1].numpy())
    assert rollout[7:9].restore(1) is not None  # parts of a rollout keep their episodes


def test_bipedal_walker_replays_although_its_world_is_reused():
    """Gymnasium's own does not (its Box2D world keeps its warm start): see FreshWorld."""
    agent = PPO("BipedalWalker", seed=0, n_steps=400)
    rollout = agent.collect()
    ended = rollout.terminated.nonzero().flatten()
    assert len(ended) >= 1, "the test needs a second episode"
    rollout.restore(399)


def test_frames_of_a_restored_state():
    rollout = PPO("FrozenLake", seed=0, n_steps=20).collect()
    frame = rollout.restore(7, render_mode="rgb_array").render()
    assert isinstance(frame, np.ndarray) and frame.ndim == 3


def test_a_world_that_does_not_replay_says_so():
    rollout = PPO(Unrepeatable, seed=0, n_steps=20).collect()
    with pytest.raises(RuntimeError, match="does not replay"):
        rollout.restore(3)


def test_an_environment_object_works_and_says_what_it_cannot():
    agent = PPO(Corridor(), seed=0, n_steps=20)
    rollout = agent.collect()
    assert agent.evaluate(2).n == 2
    agent.collect()
    with pytest.raises(ValueError, match="pass a function"):
        rollout.restore(3)
    with pytest.raises(ValueError, match="pass a function"):
        PPO(Corridor(), n_steps=20, n_envs=2)
    made = PPO(gym.make("CartPole-v1"), seed=0, n_steps=20, n_envs=2)
    assert made.collect().restore(3) is not None


def test_gaussian_actions_are_recorded_as_drawn_and_clipped_for_the_environment():
    agent = PPO(lambda: Corridor(continuous=True), seed=0, n_steps=200)
    rollout = agent.collect()  # the environment asserts that its actions lie inside the box
    assert rollout.action.shape == (200, 1) and rollout.action.abs().max() > 1
    with torch.no_grad():
        log_prob = agent.policy.log_prob(rollout.obs, rollout.action)
    torch.testing.assert_close(log_prob, rollout.logp)


def test_bad_environments_are_named():
    with pytest.raises(ValueError, match=r"reward: task '<lambda>' returned nan at step"):
        PPO(lambda: Corridor(poison=7), n_steps=20).collect()
    with pytest.raises(ValueError, match=r"observation: the environment returned shape \(1,\)"):
        PPO(lambda: Corridor(shape=(1,)), n_steps=20)
    with pytest.raises(ValueError, match=r"NoSuchTask.*LunarLander"):
        PPO("NoSuchTask")
    with pytest.raises(ValueError, match=r"observation_space.*Discrete or Box"):
        make_task("Blackjack-v1")
    with pytest.raises(TypeError, match="task: 3 is a int"):
        make_task(3)
    with pytest.raises(ValueError, match="n_envs: 3 does not divide"):
        PPO("CartPole", n_envs=3)


class Discretes(Corridor):
    action_space = gym.spaces.MultiDiscrete([2, 2])

    def __init__(self):
        super().__init__()
        self.action_space = gym.spaces.MultiDiscrete([2, 2])


def test_unsupported_actions_are_refused():
    with pytest.raises(ValueError, match=r"action_space.*Discrete or float Box"):
        make_task(Discretes)


def test_spaces_that_start_elsewhere_are_shifted():
    class Shifted(Corridor):
        def __init__(self):
            super().__init__()
            self.action_space = gym.spaces.Discrete(2, start=5)

    assert len(PPO(Shifted, n_steps=20).collect()) == 20


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_of_the_course_makes_records(name):
    rollout = PPO(name, seed=0, n_steps=4).collect()
    assert len(rollout) == 4 and rollout.obs.shape[1:] == TASKS[name].spaces.obs_shape


def test_tasks_carry_the_papers_settings():
    """The paper's environments, p, rounds, optimisers."""
    paper = {
        "FrozenLake": (0.5, 30, "sgd", 5e-3), "Acrobot": (0.5, 20, "sgd", 5e-3),
        "MiniGrid": (0.125, 40, "sgd", 5e-3), "Highway": (0.5, 25, "sgd", 5e-3),
        "LunarLander": (0.125, 100, "sgd", 5e-3), "BipedalWalker": (0.0625, 150, "adam", 3e-4),
    }  # fmt: skip
    for name, (drop, rounds, optimizer, lr) in paper.items():
        task = TASKS[name]
        assert (task.drop, task.rounds, task.optimizer, task.lr) == (drop, rounds, optimizer, lr)
    assert TASKS["Highway"].make().unwrapped.config["vehicles_count"] == 10
    assert TASKS["FrozenLake"].make().unwrapped.P[0][2] == [(1.0, 1, 0, False)]
    assert TASKS["MiniGrid"].spaces.obs_shape == (3, 7, 7)
    config = PPO("Acrobot").config
    assert (config.n_steps, config.batch_size, config.epochs) == (2048, 64, 10)
    assert (config.gamma, config.lam, config.clip, config.vf_coef) == (0.99, 0.95, 0.2, 0.5)


def test_image_observations_are_scaled_and_channels_first():
    class Pixels(Corridor):
        observation_space = gym.spaces.Box(0, 255, (40, 44, 3), np.uint8)

        def _obs(self, action):
            return np.full((40, 44, 3), 51, np.uint8)

    rollout = PPO(Pixels, n_steps=4).collect()
    assert rollout.obs.shape == (4, 3, 40, 44)
    torch.testing.assert_close(rollout.obs, torch.full_like(rollout.obs, 0.2))


def test_a_selection_keeps_its_records_indices():
    """A record is identified by its place in the rollout, whatever is cut out of it."""
    agent = PPO("FrozenLake", seed=0, n_steps=64, n_envs=2)
    rollout = agent.collect()
    assert rollout.index.tolist() == list(range(64))
    chosen = rollout[rollout.action == 2]
    assert chosen.table().index.tolist() == (rollout.action == 2).nonzero().flatten().tolist()
    assert chosen[1:3].index.tolist() == chosen.index[1:3].tolist()
    assert f"{float(rollout.logp[0]):.3f}" in rollout._repr_html_()


def test_a_place_may_be_a_number_of_numpy_or_torch():
    rollout = PPO("FrozenLake", n_steps=64, batch_size=32, compile=False).collect()
    for place in (np.int64(3), np.array(3), torch.tensor(3)):
        one = rollout[place]
        assert len(one) == 1 and int(one.index) == 3
    assert rollout.restore(torch.tensor(5)).unwrapped.s == int(rollout.state[5])
    with pytest.raises(IndexError, match="expected a place, a mask"):
        rollout[torch.tensor(True)]


def test_an_environment_from_its_spec_takes_what_restore_asks_for():
    agent = PPO(gym.make("CartPole-v1"), n_steps=64, batch_size=32, compile=False)
    env = agent.collect().restore(5, render_mode="rgb_array")
    assert env.render_mode == "rgb_array" and env.render().shape[2] == 3


def test_what_a_time_limit_hides_must_be_finite_too():
    class Broken(Corridor):
        def step(self, action):
            obs, *rest = super().step(action)
            return (obs * np.nan if rest[2] else obs), *rest

    agent = PPO(lambda: Broken(goal=1e9, limit=7), n_steps=64, batch_size=32, compile=False)
    with pytest.raises(ValueError, match=r"observation: .* not finite"):
        agent.collect()
