"""What scoring generations costs, in forward passes. Nothing here asserts a time."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("peft")

from lda_lib.rlhf import LanguagePPO, SequenceReturn, load_world
from lda_lib.rlhf.scores import _jvp, target_gradient

from .test_speed import time

GROUP = "scores of 128 generations of the small world"


@pytest.fixture(scope="module")
def scene():
    torch.set_num_threads(1)
    world = load_world()
    agent = LanguagePPO(world.lm, world.reward, world.prompts["train"])
    agent.update(agent.collect())  # adapters that differ from 0
    rollout = agent.collect()
    return agent, rollout, SequenceReturn()(agent, rollout)[1]


def parts(rollout):
    return rollout.split(64)


def test_forward(benchmark, scene):
    agent, rollout, _ = scene

    @torch.no_grad()
    def forward():
        for x in parts(rollout):
            agent.policy(x.prompt, x.prompt_mask, x.token, x.mask)

    time(benchmark, GROUP, "one forward pass, nothing recorded", forward, 10, True)


def test_target(benchmark, scene):
    agent, rollout, weights = scene

    def target():
        return target_gradient(agent.policy, rollout, weights, 64)

    time(benchmark, GROUP, "the target: forward and backward", target, 10)


def test_products(benchmark, scene):
    agent, rollout, weights = scene
    v = target_gradient(agent.policy, rollout, weights, 64)
    terms = {"clip": 0.2, "vf_coef": 0.0, "kl_coef": 0.0}

    def products():
        for x in parts(rollout):
            _jvp(agent.policy, x, v, terms)

    time(benchmark, GROUP, "the scores, given the target: jvp", products, 10)


@pytest.mark.parametrize("method", ["jvp", "ghost", "loop"])
def test_influence(benchmark, scene, method):
    agent, rollout, _ = scene

    def scores():
        return agent.influence(rollout, method=method)

    time(benchmark, GROUP, f"influence, {method}", scores, 1 if method == "loop" else 10)


def test_a_round_without_scoring(benchmark, scene):
    agent, _, _ = scene

    def one_round():
        agent.update(agent.collect())

    time(benchmark, GROUP, "a round of PPO: write, judge, update", one_round, 1)
