"""Rounds and scores, side by side in one run. Nothing here asserts a time."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lda_lib import IIF, PPO, Repair, influence

SB3_ROUND = {"n_steps": 2048, "batch_size": 64, "n_epochs": 10, "learning_rate": 5e-3}


def one_round(agent: PPO) -> None:
    """Collect, repair, score, update; what `learn` does, without the evaluation."""
    rollout = agent.collect()
    rollout = agent.repair(agent, rollout) if agent.repair else rollout
    agent.update(rollout, agent.keep(agent, rollout) if agent.keep else None)


def time(benchmark, group, label, call, rounds, yardstick=False):
    benchmark.group = group
    benchmark.extra_info.update(label=label, yardstick=yardstick)
    benchmark.pedantic(call, rounds=rounds, iterations=1, warmup_rounds=2)


@pytest.mark.parametrize("task", ["Acrobot-v1", "LunarLander-v3"])
class TestRound:
    """One round of 2048 records, 10 epochs of minibatches of 64, SGD 5e-3."""

    def group(self, task):
        return f"a round on {task} (collect, score, update)"

    def test_stable_baselines3(self, benchmark, task):
        sb3 = pytest.importorskip("stable_baselines3")
        model = sb3.PPO(
            "MlpPolicy",
            task,
            device="cpu",
            seed=0,
            policy_kwargs={"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}},
            **SB3_ROUND,
        )
        call = partial(model.learn, 2048, reset_num_timesteps=False)
        time(benchmark, self.group(task), "Stable-Baselines3 PPO, no scoring", call, 5, True)

    @pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
    @pytest.mark.parametrize(
        "arm", ["PPO", "IIF with scoring", "PPO with repair", "PPO with stretch"]
    )
    def test_lda_lib(self, benchmark, task, arm, compiled):
        agent = PPO(
            task, seed=0, optimizer="sgd", lr=5e-3, compile=compiled,
            keep=IIF(0.5) if arm.startswith("IIF") else None,
            repair=Repair() if arm.endswith("repair") else None,
            stretch=30.0 if arm.endswith("stretch") else None,
            equal_steps=True,  # IIF makes as many optimiser steps as PPO
        )  # fmt: skip
        label = f"lda_lib, {arm}, {'compiled' if compiled else 'eager'}"
        time(benchmark, self.group(task), label, partial(one_round, agent), 10)


@pytest.mark.parametrize("task", ["Acrobot", "MiniGrid"])
class TestScores:
    """2048 records, against one forward pass of policy and value on them (nothing recorded)."""

    def scene(self, benchmark, task):
        agent = PPO(task, seed=0)
        return agent.policy, agent.collect(), f"scores of 2048 records, {task}"

    def test_forward(self, benchmark, task):
        policy, rollout, group = self.scene(benchmark, task)

        def forward():
            with torch.no_grad():
                policy(rollout.obs, rollout.action)

        time(benchmark, group, "one forward pass of policy and value", forward, 50, True)

    @pytest.mark.parametrize("method", ["jvp", "ghost", "vmap", "loop"])
    def test_method(self, benchmark, task, method):
        policy, rollout, group = self.scene(benchmark, task)
        call = partial(influence, policy, rollout, method=method)
        time(benchmark, group, f"influence, {method}", call, 1 if method == "loop" else 30)


@pytest.mark.parametrize("n", [1024, 2048, 4096, 8192])
def test_scores_are_linear_in_records(benchmark, n):
    agent = PPO("Acrobot", seed=0, n_steps=n)
    rollout = agent.collect()
    call = partial(influence, agent.policy, rollout)
    time(benchmark, "scores by number of records (jvp)", f"{n} records", call, 30, n == 1024)


@pytest.mark.parametrize("part", ["eager round without scoring", "scoring alone"])
def test_share_of_scoring_in_an_eager_round(benchmark, part):
    agent = PPO("Acrobot", seed=0, compile=False)
    rollout = agent.collect()
    score = partial(influence, agent.policy, rollout)
    call = partial(one_round, agent) if part.startswith("eager") else score
    time(benchmark, "share of scoring in an eager round", part, call, 10, part.startswith("eager"))


@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
@pytest.mark.parametrize("part", ["a round of plain SB3", "its scoring"])
def test_share_of_scoring_in_a_round_of_stable_baselines3(benchmark, algorithm, part):
    """What IIFCallback adds to a round: records, scores, choice, logging. Three environments."""
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_util import make_vec_env

    from lda_lib.sb3 import FilterableRolloutBuffer, IIFCallback

    env, n_steps = make_vec_env("LunarLander-v3", 3, seed=0), 704 if algorithm == "PPO" else 5
    plain = part.startswith("a round")
    buffer = {} if plain else {"rollout_buffer_class": FilterableRolloutBuffer}
    model = getattr(sb3, algorithm)("MlpPolicy", env, n_steps=n_steps, device="cpu", **buffer)
    callback = None if plain else IIFCallback(0.125)
    model.learn(3 * n_steps, callback=callback)
    if plain:
        call = partial(model.learn, 3 * n_steps, reset_num_timesteps=False)
    else:
        set_up = model._setup_learn(1, callback, reset_num_timesteps=False)[1]
        model.collect_rollouts(env, set_up, model.rollout_buffer, n_steps)
        call = callback._on_rollout_end
    group = f"share of scoring in a round of SB3's {algorithm} ({3 * n_steps} records)"
    time(benchmark, group, part, call, 5 if plain and algorithm == "PPO" else 30, plain)
