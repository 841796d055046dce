"""Operations are counted as theory says, and scores cost what the book says they do."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.func import functional_call, jvp

from lda_lib import PPO, influence
from lda_lib.cost import flops, peak_bytes
from lda_lib.studies.single_round import twin


def passes(net: torch.nn.Sequential) -> tuple[int, int]:
    """2 in out over the linear layers, for one record: all of them, the first."""
    layers = [2 * m.in_features * m.out_features for m in net if isinstance(m, torch.nn.Linear)]
    return sum(layers), layers[0]


@pytest.mark.parametrize("widths", [(4, 7), (3, 5, 2), (16, 64, 64, 4)])
def test_back_and_along_cost_three_forward_passes(widths):
    net = torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in pairwise(widths)))
    F, F1 = passes(net)
    x = torch.ones(10, widths[0])
    params = {k: p.detach() for k, p in net.named_parameters()}
    weights = list(net.parameters())
    assert flops(lambda: net(x)) == 10 * F
    assert flops(lambda: torch.autograd.grad(net(x).sum(), weights)) == 10 * (3 * F - F1)
    along = flops(lambda: jvp(lambda p: functional_call(net, p, (x,)), (params,), (params,)))
    assert along == 10 * 3 * F  # in the first layer torch multiplies a change of 0


def test_scores_cost_one_epoch_where_networks_are_separate():
    agent = PPO("FrozenLake", seed=0, n_steps=128, compile=False)
    rollout = agent.collect()
    (F, F1), (G, G1) = passes(agent.policy.pi), passes(agent.policy.v)
    n, epochs = len(rollout), agent.config.epochs
    assert flops(lambda: influence(agent.policy, rollout)) == n * (3 * F - F1 + 3 * F)
    update = epochs * n * (3 * F - F1 + 3 * G - G1)
    assert flops(lambda: twin(agent).update(rollout)) == update


@pytest.mark.parametrize("method", ["ghost", "vmap", "loop"])
def test_all_methods_make_about_as_many_operations(method):
    agent = PPO("FrozenLake", seed=0, n_steps=64, compile=False)
    rollout = agent.collect()
    by_jvp = flops(lambda: influence(agent.policy, rollout))
    assert 0.9 < flops(lambda: influence(agent.policy, rollout, method=method)) / by_jvp < 1.5


def test_peak_counts_what_is_held_at_once():
    def one_after_the_other():
        for _ in range(5):
            torch.zeros(1000)

    assert peak_bytes(lambda: torch.zeros(1000)) == 4000
    assert 4000 <= peak_bytes(one_after_the_other) <= 8000
    assert peak_bytes(lambda: [torch.zeros(1000) for _ in range(5)]) == 20000
