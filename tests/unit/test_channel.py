"""Replicas without some records go on exactly as agents would, frozen and collected again."""

from __future__ import annotations

import copy
from dataclasses import replace

import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from lda_lib import IIF, PPO, Repair
from lda_lib.channel import continuations, exact_returns, same_records
from lda_lib.studies import STUDIES
from lda_lib.studies.data_channel import CEILING, LOCAL, MODES, PREDICTORS, correlations, long
from lda_lib.studies.run import run_trial

SMALL = {"n_steps": 128, "batch_size": 32, "epochs": 2, "compile": False, "lr": 0.1}
FURTHER = 2


def about_to_update(task="FrozenLakeSlippery", **settings):
    agent = PPO(task, seed=3, **(SMALL | settings))
    agent.learn(1, progress=False)
    return agent, agent.collect()


def thirds(rollout):
    """The full run, and runs without a third of the episodes."""
    return torch.stack([rollout.episode % 3 != g for g in (-1, 0, 1)])


def lived(agent, weight=None, diary=None, dice=None):
    """J after each round of one agent that learns with weights, then goes on: the reference."""
    agent, J, buffers = copy.deepcopy(agent), [], []
    rollout = agent.rollout
    if dice is not None:
        agent.seed = agent.collector.seed = dice
    for h in range(FURTHER + 1):
        if h:
            rollout = agent.collect() if diary is None else diary[h - 1]
        agent.update(rollout, weight if h == 0 else None)
        J.append(agent.evaluate().mean)
        buffers.append(rollout)
    return J, buffers[1:]


@pytest.mark.parametrize("task", ["FrozenLake", "FrozenLakeSlippery"])
@pytest.mark.parametrize("dice", [None, 77])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_each_replica_is_the_agent_that_would_have_lived_it(task, dice, optimizer):
    lr = 0.1 if optimizer == "sgd" else 3e-3
    agent, rollout = about_to_update(task, optimizer=optimizer, lr=lr, n_envs=2)
    agent.rollout, keep = rollout, thirds(rollout)
    before = {k: p.clone() for k, p in agent.policy.state_dict().items()}
    again = list(continuations(agent, rollout, keep, FURTHER, dice=dice))
    diary = [r.rollouts[0] for r in again[1:]]
    frozen = list(continuations(agent, rollout, keep, FURTHER, diary=diary, dice=dice))
    for i, kept in enumerate(keep):
        weight = torch.where(kept, 1.0, 1e-30)  # keeps its place, says nothing
        J, buffers = lived(agent, weight, dice=dice)
        found = [float(exact_returns(agent, rollout, r.params)[i]) for r in again]
        assert found == pytest.approx(J, abs=1e-5)
        assert [same_records(a, b.rollouts[i]) for a, b in zip(buffers, again[1:])] == [1.0, 1.0]
        J, _ = lived(agent, weight, diary, dice)
        found = [float(exact_returns(agent, rollout, r.params)[i]) for r in frozen]
        assert found == pytest.approx(J, abs=1e-5)
    assert len({float(x) for x in exact_returns(agent, rollout, again[-1].params)}) == 3
    assert all(torch.equal(p, before[k]) for k, p in agent.policy.state_dict().items())
    assert agent.collected == 2 and agent.round == 1


def test_other_dice_change_the_order_of_batches_and_the_later_episodes():
    agent, rollout = about_to_update()
    keep = torch.ones(1, len(rollout), dtype=torch.bool)
    own, other = (list(continuations(agent, rollout, keep, 1, dice=d)) for d in (None, 9))
    assert own[0].rollouts[0] is other[0].rollouts[0] is rollout
    assert not torch.equal(own[0].params["pi.0.weight"], other[0].params["pi.0.weight"])
    assert same_records(own[1].rollouts[0], other[1].rollouts[0]) < 0.9


def test_what_does_not_fit_is_named():
    agent, rollout = about_to_update()
    keep = torch.ones(2, len(rollout), dtype=torch.bool)
    for wrong in (keep.float(), keep[:, 1:], keep[0], ~keep):
        with pytest.raises(ValueError, match="keep: "):
            next(continuations(agent, rollout, wrong, 1))
    with pytest.raises(ValueError, match="diary: 1 rollouts, expected one for each of 2"):
        next(continuations(agent, rollout, keep, 2, diary=[rollout]))
    agent.config = replace(agent.config, critic="all")
    with pytest.raises(ValueError, match="critic='all'"):
        next(continuations(agent, rollout, keep, 1))
    with pytest.raises(ValueError, match="expected equally many"):
        same_records(rollout, rollout[:5])


@pytest.mark.slow
def test_the_study_follows_each_set_in_both_modes_and_both_futures():
    study = STUDIES["data_channel"]
    done = [run_trial(study, t)[1] for t in study.trials("smoke")]
    rows = pd.concat([one.rows for one in done], ignore_index=True)
    assert len(rows) == 2 * 2 * 2 * 4  # rounds, shares, futures, sets
    assert (rows.again_0 - rows.frozen_0).abs().max() < 1e-7  # one number until h = 0
    assert (rows.same_0 == 1).all() and rows.again_0.abs().min() > 0
    each = long(rows)
    assert set(each["mode"]) == set(MODES) and len(each) == len(rows) * 2 * 2
    found = correlations(rows).set_index(["predictor", "h"]).value
    assert (found[LOCAL][0] == 1).all()  # the effect orders itself
    assert found["unrolled J"][0].min() > 0.7 and found[CEILING].between(-1, 1).all()
    table = study.table(rows)
    assert set(table.predictor) == set(PREDICTORS) and (table.spread > 0).all()
    plt.close(study.figure(rows))


def test_settings_that_replicas_do_not_follow_are_refused():
    for settings in ({"desired_kl": 0.01}, {"keep": IIF(0.5)}, {"repair": Repair()}):
        agent = PPO("FrozenLake", **SMALL, **settings)
        rollout = agent.collect()
        with pytest.raises(ValueError, match="expected none of them"):
            next(continuations(agent, rollout, torch.ones(1, len(rollout), dtype=torch.bool), 1))
