"""Scoring needs the memory of a few forward passes, never records times parameters."""

from __future__ import annotations

import pytest
import torch

from lda_lib import influence
from lda_lib.cost import peak_bytes as peak

from .synthetic import make_policy, make_rollout

CASES = {"mlp": ((8,), (64, 64)), "cnn": ((3, 7, 7), (64, 64))}


@pytest.mark.parametrize("case", CASES)
def test_jvp_scores_in_less_than_three_forward_passes_of_memory(case):
    shape, hidden = CASES[case]
    policy = make_policy(shape, "discrete", 4, hidden, dtype=torch.float32)
    rollout = make_rollout(policy, 2048, shape, "discrete", 4)
    forward = peak(lambda: policy(rollout.obs, rollout.action))
    scoring = peak(lambda: influence(policy, rollout))
    parameters = sum(p.numel() * p.element_size() for p in policy.parameters())
    assert scoring < 3 * forward
    assert scoring < 0.2 * 2048 * parameters
    # and the measure itself sees what vmap does
    assert peak(lambda: influence(policy, rollout[:256], method="vmap")) > 256 * parameters / 2


def test_memory_grows_with_records_not_faster():
    policy = make_policy((8,), "discrete", 4, (64, 64), dtype=torch.float32)
    rollout = make_rollout(policy, 8192, (8,), "discrete", 4)
    large, small = (
        peak(lambda: influence(policy, rollout)),
        peak(lambda: influence(policy, rollout[:1024])),
    )
    assert large < 8.5 * small
