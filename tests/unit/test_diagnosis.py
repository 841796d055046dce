"""True advantages, comparison groups, rates and patterns, on real environments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lda_lib import PPO, exact_advantage
from lda_lib.diagnosis import (
    matched,
    pattern_table,
    peers_advantage,
    rank_correlation,
    rate,
    replayed_advantage,
    seed_anew,
    sign_flips,
)
from lda_lib.filters import drop_lowest, lowest
from lda_lib.patterns import LAKE, LANDER, ROOM, ends_soon, patterns_of
from lda_lib.studies.windy import new_wind

from .worlds import Unrepeatable


def buffer(task: str, seed: int = 0, n_steps: int = 256, rounds: int = 0):
    agent = PPO(task, seed=seed, n_steps=n_steps, compile=False)
    for _ in range(rounds):
        agent.update(agent.collect())
    return agent, agent.collect()


@pytest.mark.parametrize("task", ["FrozenLake", "FrozenLakeSlippery"])
def test_replayed_advantages_meet_the_exact_ones(task):
    """Near the goal, where they are large; on the slippery lake the record's own luck must go."""
    agent, rollout = buffer(task, n_steps=2048)
    near = (rollout.state == 14).nonzero().squeeze(1)
    chosen = torch.stack([near[rollout.action[near] == a][0] for a in range(4)])
    truth = exact_advantage(agent.policy, rollout)[chosen]
    found = replayed_advantage(agent.policy, rollout, chosen, k=300)
    assert truth.abs().max() > 0.1
    assert (found.mean - truth).abs().div(found.se).max() < 3.5
    assert found.se.max() < 0.06


def test_replayed_advantages_repeat_and_leave_everything_alone():
    agent, rollout = buffer("LunarLander")
    before = {k: p.clone() for k, p in agent.policy.state_dict().items()}
    first, again, other = (
        replayed_advantage(agent.policy, rollout, [3, 70], k=3, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first.mean, again.mean) and not torch.equal(first.mean, other.mean)
    assert (first.se > 0).all()
    assert all(torch.equal(p, before[k]) for k, p in agent.policy.state_dict().items())
    # by place in the rollout as collected: a selection gives the same record the same answer
    alone = replayed_advantage(agent.policy, rollout[[70]], [0], k=3)
    assert torch.equal(alone.mean, first.mean[1:])


def test_an_action_that_the_policy_always_takes_has_no_advantage():
    """Both lives of a pair share their random numbers, so they are the same, without noise."""
    agent = PPO("LunarLander", seed=0, n_steps=64, batch_size=64, compile=False)
    with torch.no_grad():
        agent.policy.get_parameter("pi.4.weight").mul_(1e5)  # now it hardly ever hesitates
    found = replayed_advantage(agent.policy, agent.collect(), [5, 30], k=3)
    assert (found.mean == 0).all() and (found.se == 0).all()


@pytest.mark.parametrize(("k", "horizon", "name"), [(1, 500, "k: 1"), (8, 0, "horizon: 0")])
def test_replayed_advantage_refuses(k, horizon, name):
    agent, rollout = buffer("FrozenLake", n_steps=64)
    with pytest.raises(ValueError, match=name):
        replayed_advantage(agent.policy, rollout, [0], k=k, horizon=horizon)


def test_a_world_that_does_not_replay_is_told():
    agent = PPO(Unrepeatable, seed=0, n_steps=64)
    with pytest.raises(RuntimeError, match="does not replay"):
        replayed_advantage(agent.policy, agent.collect(), [5], k=64)


def test_lowest_is_the_complement_of_keeping():
    values = torch.tensor([0.3, -2.0, 0.1, -2.0, -0.5])
    chosen = lowest(values, 3, np.random.default_rng(0))
    assert set(chosen.tolist()) == {1, 3, 4} and chosen[-1] == 4
    kept = drop_lowest(values, 3, np.random.default_rng(0))
    assert set((~kept).nonzero().squeeze(1).tolist()) == set(chosen.tolist())
    first = {int(lowest(values, 1, np.random.default_rng(s))) for s in range(20)}
    assert first == {1, 3}, "ties are broken at random"
    with pytest.raises(ValueError, match="count: 6"):
        lowest(values, 6, np.random.default_rng(0))


def test_matched_records_are_others_with_the_same_estimate():
    _, rollout = buffer("FrozenLake", n_steps=1024)
    a_hat = rollout.advantage
    chosen = lowest(rollout.value - rollout.t, 50, np.random.default_rng(0))  # an odd choice
    twin = matched(a_hat, chosen)
    assert len(set(twin.tolist())) == 50 and not set(twin.tolist()) & set(chosen.tolist())
    random = torch.randperm(len(a_hat), generator=torch.Generator().manual_seed(0))[:50]
    gap = (a_hat[twin] - a_hat[chosen]).abs().mean()
    assert gap < 0.3 * (a_hat[random] - a_hat[chosen]).abs().mean()
    with pytest.raises(ValueError, match="at most half"):
        matched(a_hat[:10], torch.arange(6))


def test_peers_are_the_others_of_the_same_state_and_action():
    _, rollout = buffer("FrozenLake")
    peers, a_hat = peers_advantage(rollout), rollout.advantage.double()
    for i in (0, 17, 200):
        same = (rollout.state == rollout.state[i]) & (rollout.action == rollout.action[i])
        same[i] = False
        assert torch.isclose(peers[i], a_hat[same].mean() if same.any() else peers.new_zeros(()))
    assert (peers_advantage(buffer("LunarLander")[1]) == 0).all()  # no state comes twice


def test_a_flip_needs_two_signs():
    a_hat = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0, 1.0])
    truth = torch.tensor([1.0, -1.0, 1.0, 1e-12, 1.0, -0.1])
    assert sign_flips(a_hat, truth).tolist() == [False, True, True, False, False, True]
    noise = torch.tensor([0.0, 0.0, 2.0, 0.1, 0.0, 0.2])
    assert sign_flips(a_hat, truth, least=noise).nonzero().squeeze(1).tolist() == [1]


def test_rank_correlation_of_a_real_buffer():
    agent, rollout = buffer("FrozenLake", n_steps=1024, rounds=2)
    a_hat, truth = rollout.advantage.double(), exact_advantage(agent.policy, rollout)
    itself = rank_correlation(a_hat, a_hat.exp(), rollout.episode, resamples=20)
    assert itself == pytest.approx((1.0, 1.0, 1.0))
    found = rank_correlation(a_hat, truth, rollout.episode, resamples=200)
    assert -1 < found.low < found.mean < found.high < 1
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=len(a_hat)))
    nothing = rank_correlation(noise, truth, rollout.episode, resamples=200)
    assert nothing.low < 0 < nothing.high
    flat = rank_correlation(torch.ones(4), torch.arange(4.0), torch.arange(4), resamples=5)
    assert np.isnan(flat.mean)


def test_whole_episodes_are_drawn():
    """Copies of a record within its episode are no new evidence: the interval stays as wide."""
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.normal(size=(2, 12)))
    y = y + x
    once = rank_correlation(x, y, torch.arange(12), resamples=400)
    often = rank_correlation(
        x.repeat_interleave(50), y.repeat_interleave(50), torch.arange(12).repeat_interleave(50),
        resamples=400,
    )  # fmt: skip
    assert often.mean == pytest.approx(once.mean, abs=0.01)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)


def test_a_rate_stands_beside_its_base():
    chosen = torch.tensor([True] * 10 + [False] * 90)
    holds = torch.zeros(100, dtype=torch.bool)
    holds[:8] = holds[10:28] = True
    found = rate(chosen, holds)
    assert (found.share, found.base) == (0.8, 0.26)
    assert found.low > 1 and found.p < 0.001 and found.low < found.odds < found.high
    never = rate(chosen, torch.tensor([False] * 10 + [True] * 90))
    assert never.odds == 0 and never.share == 0
    with pytest.raises(ValueError, match="chosen: 0 of 100"):
        rate(torch.zeros(100, dtype=torch.bool), holds)
    with pytest.raises(ValueError, match="holds: torch"):
        rate(chosen, holds.float())


def test_lake_patterns():
    _, rollout = buffer("FrozenLake", n_steps=1024)
    found = {name: holds(rollout) for name, holds in LAKE.items()}
    nxt = rollout.state.roll(-1)
    inside = ~rollout.terminated & ~rollout.truncated
    inside[-1] = False
    assert torch.equal(found["against the edge"][inside], (nxt == rollout.state)[inside])
    fell = rollout.terminated & (rollout.reward == 0)
    assert torch.equal(found["into a hole"], fell)  # this lake is not slippery
    up_left = (rollout.action == 0) | (rollout.action == 3)
    assert torch.equal(found["away from the goal"] | (found["against the edge"] & up_left), up_left)


def test_the_last_steps_of_an_episode():
    _, rollout = buffer("FrozenLake")
    soon = ends_soon(rollout, 2)
    assert torch.equal(soon & rollout.terminated, rollout.terminated)
    before = rollout.terminated.roll(-1) & (rollout.t.roll(-1) == rollout.t + 1)
    assert torch.equal(soon, rollout.terminated | before)


def test_room_patterns():
    _, rollout = buffer("MiniGrid", n_steps=512)
    found = {name: holds(rollout) for name, holds in ROOM.items()}
    stays = (rollout.state.roll(-1) == rollout.state)[:-1]
    ahead = (rollout.action == 2)[:-1]
    assert torch.equal(found["ahead into a wall"][:-1], ahead & stays)
    assert found["ahead into a wall"].any() and found["ahead, away from the goal"].any()
    assert torch.equal(found["a turn"], rollout.action < 2)


def test_lander_patterns():
    """The side engine that is said to tilt further does so."""
    _, rollout = buffer("LunarLander", n_steps=512)
    found = {name: holds(rollout) for name, holds in LANDER.items()}
    tilts = found["side engine that tilts further"]
    assert 0.02 < tilts.float().mean() < 0.4
    flying = (rollout.obs[:, 6:].sum(1) == 0) & (rollout.t.roll(-1) == rollout.t + 1)
    spin = rollout.obs[:, 5].roll(-1) - rollout.obs[:, 5]
    outwards = spin * rollout.obs[:, 4].sign()
    assert outwards[tilts & flying].mean() > 0.01
    assert not (found["main engine while rising"] & found["main engine while falling fast"]).any()


def test_patterns_against_their_base_rates():
    agent, rollout = buffer("FrozenLake", n_steps=1024)
    chosen = torch.zeros(1024, dtype=torch.bool)
    chosen[lowest(rollout.advantage, 50, np.random.default_rng(0))] = True
    table = pattern_table(rollout, chosen, patterns_of(agent.task), low=rollout.advantage < -9)
    assert list(table.index) == [*LAKE, "low"]
    assert table.share["estimate above 0"] == 0 and table.p["estimate above 0"] < 1e-6
    hole = LAKE["into a hole"](rollout)
    assert table.base["into a hole"] == pytest.approx(float(hole.float().mean()))
    with pytest.raises(ValueError, match="task: 'Acrobot' has no patterns"):
        patterns_of(replace(agent.task, name="Acrobot", env_id="Acrobot-v1"))


def test_wind_is_drawn_anew():
    """After a replay the wind goes on as it blew; redrawn, the same actions end elsewhere."""
    agent = PPO("LunarLanderWindy", seed=0, n_steps=256)
    rollout = agent.collect()

    def onward(redraw):
        env = rollout.restore(40, max_episode_steps=-1)
        redraw(env, np.random.default_rng(5))
        for _ in range(25):
            obs = env.step(0)[0]
        return obs

    assert not np.array_equal(onward(new_wind), onward(seed_anew))
    assert np.array_equal(onward(new_wind), onward(new_wind))
    found = [
        replayed_advantage(agent.policy, rollout, [40, 41], k=2, horizon=60, redraw=way).mean
        for way in (seed_anew, new_wind)
    ]
    assert not torch.equal(*found)


def test_a_mask_is_not_taken_for_places():
    agent, rollout = buffer("FrozenLake", n_steps=64)
    with pytest.raises(ValueError, match="index: a mask"):
        replayed_advantage(agent.policy, rollout, rollout.advantage > 0, k=2)
