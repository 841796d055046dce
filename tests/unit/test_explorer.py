"""The record explorer shows the right record, and says so when it cannot."""

from __future__ import annotations

import io

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lda_lib import PPO, Return, exact_advantage, influence
from lda_lib.explorer import (
    action_table,
    explore,
    neighbours,
    record_table,
    select,
    state_picture,
)

from .worlds import Corridor


@pytest.fixture(scope="module")
def lake():
    agent = PPO("FrozenLake", seed=0, n_steps=300)
    rollout = agent.collect()
    return agent.policy, rollout, influence(agent.policy, rollout, Return())


def test_the_table_holds_scores_and_the_truth(lake):
    policy, rollout, scores = lake
    table = record_table(policy, rollout, {"return": scores})
    assert np.allclose(table["return"], scores)
    assert np.allclose(table["true advantage"], exact_advantage(policy, rollout))
    assert "true advantage" not in record_table(nn.Identity(), rollout, scores)
    with pytest.raises(ValueError, match=r"scores: 'return' has shape \(3,\)"):
        record_table(policy, rollout, {"return": scores[:3]})


def test_select_filters_and_sorts(lake):
    policy, rollout, scores = lake
    table = record_table(policy, rollout, scores)
    chosen = select(table, "action == 2 and advantage < 0", "score", lowest_first=False)
    expected = ((rollout.action == 2) & (rollout.advantage < 0)).sum()
    assert 0 < len(chosen) == expected and chosen.score.is_monotonic_decreasing
    for condition in ("nonsense ==", "reward + 1 == missing"):
        with pytest.raises(ValueError, match=r"where: .* is no condition"):
            select(table, condition)


def test_the_widget_follows_its_controls(lake):
    policy, rollout, scores = lake
    explorer = explore(policy, rollout, {"return": scores})
    assert explorer.chosen == int(scores.argmin())  # the bottom record first
    assert f"record {explorer.chosen}" in explorer.detail.value
    assert Image.open(io.BytesIO(explorer.frame.value)).size[0] > 50
    explorer.lowest.value = False
    explorer.where.value = "action == 1"
    assert explorer.chosen == int(torch.where(rollout.action == 1, scores, -torch.inf).argmax())
    explorer.where.value = "action ="
    assert "is no condition" in explorer.said.value and len(explorer.list.options) > 0
    explorer.where.value = "action == 9"
    assert explorer.chosen is None and explorer.said.value.startswith("0 of 300")
    with pytest.raises(ValueError, match="rollout: no records"):
        explore(policy, rollout[:0])


def test_pictures_are_of_the_records_own_state():
    agent = PPO("LunarLander", seed=0, n_steps=120)
    rollout = agent.collect()
    first, _ = state_picture(rollout, 3)
    again = rollout.restore(3, render_mode="rgb_array").render()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(first))), again)
    picture, why = state_picture(PPO(Corridor(goal=5, limit=4), seed=0, n_steps=64).collect(), 0)
    assert picture is None and "one environment object" in why


def test_actions_and_neighbours(lake):
    policy, rollout, _ = lake
    table = action_table(policy, rollout, 7)
    assert table.probability.sum() == pytest.approx(1.0, abs=1e-5)
    assert table.taken.tolist().index("◀") == int(rollout.action[7])
    near = neighbours(rollout, 7, 3)
    same = (rollout.state == rollout.state[7]).nonzero().flatten().tolist()
    assert 7 not in near and len(near) == 3 and set(near) <= set(same)
    walker = PPO("BipedalWalker", seed=0, n_steps=64)
    records = walker.collect()
    both = action_table(walker.policy, records, 0).iloc[0]
    assert both["now"] == pytest.approx(float(both["log-density then"]), abs=1e-4)


def test_a_users_own_module_and_environment_will_do():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 2)

        def log_prob(self, obs, action):
            return self.net(obs).log_softmax(-1).gather(-1, action[:, None]).squeeze(-1)

    rollout = PPO(lambda: gym.make("CartPole-v1"), seed=0, n_steps=64).collect()
    explorer = explore(Mine(), rollout)
    assert explorer.sort.value == "index" and explorer.chosen == 0
    assert "what the policy would do here" in explorer.detail.value
