"""Studies phases and single_round: behaviours by rule, shares by hand, twins without trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lda_lib import IIF, PPO, Action, RandomDrop, influence
from lda_lib.evaluation import EVALUATION_SEED
from lda_lib.loss import standardise
from lda_lib.studies import STUDIES
from lda_lib.studies.phases import behaviours, kinds, smoothness, stage
from lda_lib.studies.single_round import BASE, FURTHER, differences, treat, twin


@pytest.fixture(scope="module")
def agent() -> PPO:
    return PPO("FrozenLake", seed=0, compile=False, n_steps=512, epochs=2)


def test_behaviours_are_those_of_the_greedy_episode(agent):
    table = torch.zeros(16, 4)
    table[[0, 4, 8, 9, 13, 14], [1, 1, 2, 1, 2, 2]] = 1.0  # the way to the goal

    class Told(torch.nn.Module):
        arch = agent.policy.arch
        body = torch.nn.Identity()
        pi = torch.nn.Sequential(torch.nn.Linear(16, 4))

    policy = Told()
    with torch.no_grad():
        policy.pi[0].weight.copy_(table.T)
        policy.pi[0].bias.zero_()
    chosen = behaviours(policy, agent.task, [0.0, 0.4, 1.0])  # type: ignore[arg-type]
    assert [(int(obs.argmax()), action) for obs, action in chosen] == [(0, 1), (8, 2), (14, 2)]


def test_behaviours_begin_at_the_first_evaluation_episode():
    agent = PPO("Acrobot", seed=0, compile=False)
    (obs, _), *_ = behaviours(agent.policy, agent.task, [0.0, 1.0])
    first, _ = agent.task.make().reset(seed=EVALUATION_SEED)
    assert np.array_equal(obs.numpy(), agent.task.encode(first))


def test_shares_of_kinds_by_hand(agent):
    rollout = agent.collect()
    obs = torch.eye(16)[0]
    scores = influence(agent.policy, rollout, Action(obs, 1), normalize="rollout")
    distance = (rollout.state != 0).numpy().astype(float)
    row = kinds(rollout, scores, 1, distance, top=40, near=0.1)
    a = standardise(rollout.advantage)
    order = sorted(range(512), key=lambda i: (-float(scores[i]), i))[:40]
    up = [bool(rollout.action[i] == 1 and a[i] > 0) for i in range(512)]
    down = [bool(rollout.action[i] != 1 and a[i] < 0) for i in range(512)]
    assert row["top_up"] == pytest.approx(np.mean([up[i] for i in order]))
    assert row["top_down"] == pytest.approx(np.mean([down[i] for i in order]))
    assert row["base_up"] == pytest.approx(np.mean(up))
    assert row["base_near"] == pytest.approx(float((rollout.state == 0).float().mean()))
    assert row["top_near"] == pytest.approx(np.mean([int(rollout.state[i]) == 0 for i in order]))
    assert row["max_abs"] == pytest.approx(float(scores.abs().max()), rel=1e-3)


def test_with_hardly_any_score_above_zero_there_is_no_roughness(agent):
    rollout = agent.collect()
    told = smoothness(rollout, -torch.ones(512), np.zeros((512, 2)), resamples=9)
    assert len(told) == 7 and np.isnan(list(told.values())).all()


def test_stages_meet_without_a_gap():
    told = stage(pd.Series([0.0, 0.499, 0.5, 0.899, 0.9, 1.0])).tolist()
    assert told == ["before", "before", "forming", "forming", "formed", "formed"]


def test_a_twin_updates_and_the_agent_does_not(agent):
    rollout = agent.collect()
    before = {k: p.clone() for k, p in agent.policy.named_parameters()}
    clock = agent.round, agent.optimizer_steps, agent.collected
    rows = pd.DataFrame(treat(agent, rollout, list(BASE + FURTHER), episodes=1))
    assert (agent.round, agent.optimizer_steps, agent.collected) == clock
    assert all(torch.equal(p, before[k]) for k, p in agent.policy.named_parameters())
    by = rows.set_index("treatment")
    assert by.loc["before", "return_mean"] == pytest.approx(agent.evaluate().mean, abs=1e-6)
    assert by.loc["before", ["kl", "optimizer_steps"]].tolist() == [0, 0]
    negative = int((IIF(drop=1.0)(agent, rollout) == 0).sum())
    assert by.loc["no negatives", "kept"] == by.loc["random drop", "kept"] == 512 - negative
    steps = by["optimizer_steps"]
    assert steps["no negatives"] == steps["random drop"] < steps["all"]
    assert steps["no negatives, equal steps"] == steps["random drop, equal steps"] == steps["all"]
    assert by.loc["all, as far", "kl"] == pytest.approx(by.loc["no negatives", "kl"], rel=0.06)


def test_treatments_are_the_updates_they_say(agent):
    rollout = agent.collect()
    rows = pd.DataFrame(treat(agent, rollout, ["all", "random drop"], 1)).set_index("treatment")
    for name, keep in {"all": None, "random drop": RandomDrop(like=IIF(drop=1.0))}.items():
        other = twin(agent)
        other.update(rollout, None if keep is None else keep(agent, rollout))
        assert rows.loc[name, "return_mean"] == pytest.approx(other.evaluate().mean, abs=1e-6)


def test_a_run_is_that_of_plain_ppo():
    study = STUDIES["single_round"]
    trial = study.trials("smoke")[0]
    rows = study.run(replace(trial, settings=trial.settings | {"treatments": ["before", "all"]}))
    plain = PPO("FrozenLake", seed=trial.seed, compile=False).learn(2, progress=False)
    after = rows[rows.treatment == "all"].return_mean
    assert after.tolist() == pytest.approx(plain.return_mean.tolist(), abs=1e-6)


def test_rounds_that_rose_and_fell_are_told_apart():
    returns = {  # round: before, all, no negatives
        1: (0.0, 1.0, 3.0),
        2: (1.0, 0.5, 0.25),
        3: (0.5, 0.75, 0.75),
    }
    rows = pd.DataFrame(
        {
            "task": "FrozenLake",
            "arm": "PPO",
            "seed": 0,
            "round": k,
            "treatment": name,
            "return_mean": x,
            "kl": kl,
            "optimizer_steps": 1,
        }
        for k, values in returns.items()
        for name, x, kl in zip(("before", "all", "no negatives"), values, (0, 1.0, 4.0))
    )
    assert differences(rows).gain.tolist() == [2.0, -0.25, 0.0]
    told = STUDIES["single_round"].table(rows).iloc[0]
    assert told.gain == pytest.approx(1.75 / 3) and told.fell == 1 and told.kl_ratio == 4
    assert (told.gain_rose, told.gain_fell) == (1.0, -0.25)
    assert told.better == pytest.approx(1 / 3)
