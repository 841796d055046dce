"""Roughness is what its definition says, and chance is what permutations give."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from lda_lib import PPO
from lda_lib.similarity import (
    contiguity,
    embeddings,
    permutation_baseline,
    roughness,
    similarity_graph,
)


def brute_force(e: np.ndarray, scores: np.ndarray, u: int) -> float:
    """The definition, pair by pair."""
    n = len(e)
    d = np.array([[np.linalg.norm(e[i] - e[j]) for j in range(n)] for i in range(n)])
    sigma = np.median([d[i, j] for i in range(n) for j in range(i) if d[i, j] > 0])
    edges = set()
    for i in range(n):
        others = sorted(d[i, j] for j in range(n) if j != i)
        edges |= {(min(i, j), max(i, j)) for j in range(n) if j != i and d[i, j] <= others[u - 1]}
    scaled = scores / np.abs(scores).max()
    w = {(i, j): np.exp(-(d[i, j] ** 2) / sigma**2) for i, j in edges}
    return sum(w[i, j] * (scaled[i] - scaled[j]) ** 2 for i, j in edges) / sum(w.values())


@pytest.mark.parametrize("u", [1, 3, 11])
def test_roughness_is_its_definition(u):
    rng = np.random.default_rng(u)
    e, scores = rng.normal(size=(12, 3)), rng.normal(size=12)
    e[7] = e[2]  # two records of one state
    assert roughness(scores, similarity_graph(e, u)) == pytest.approx(brute_force(e, scores, u))


def test_more_neighbours_than_points_are_all_of_them():
    e = np.random.default_rng(0).normal(size=(6, 2))
    full = similarity_graph(e, 50).weight
    assert full.nnz == 6 * 5 and (full != similarity_graph(e, 5).weight).nnz == 0


def test_the_graph_does_not_depend_on_the_order():
    rng = np.random.default_rng(1)
    e, scores = rng.integers(0, 3, size=(40, 2)).astype(float), rng.normal(size=40)  # many ties
    order = rng.permutation(40)
    a = roughness(scores, similarity_graph(e, 4))
    assert a == pytest.approx(roughness(scores[order], similarity_graph(e[order], 4)))


def test_scale_of_scores_and_of_points_is_nothing():
    rng = np.random.default_rng(2)
    e, scores = rng.normal(size=(20, 3)), rng.normal(size=20)
    a = roughness(scores, similarity_graph(e, 5))
    assert a == pytest.approx(roughness(1e-6 * scores, similarity_graph(1e3 * e, 5)))


def test_where_nothing_is_defined_it_is_nan():
    same = similarity_graph(np.ones((5, 2)))
    some = similarity_graph(np.arange(10.0).reshape(5, 2))
    assert np.isnan(same.sigma)
    assert np.isnan(roughness(np.arange(5.0), same))
    assert np.isnan(roughness(np.zeros(5), some))
    assert np.isnan(permutation_baseline(np.arange(5.0), same)).all()
    assert np.isnan(contiguity(np.ones(5), some)) and roughness(np.ones(5), some) == 0
    assert np.isnan(roughness([1.0], similarity_graph([[0.0]])))


def test_the_mean_over_all_permutations_is_twice_the_variance():
    rng = np.random.default_rng(3)
    graph, scores = similarity_graph(rng.normal(size=(6, 2)), 2), rng.normal(size=6)
    every = [roughness(np.array(p), graph) for p in permutations(scores)]
    told = permutation_baseline(scores, graph)
    assert told.mean == pytest.approx(np.mean(every))
    assert contiguity(scores, graph) == pytest.approx(roughness(scores, graph) / np.mean(every))
    assert np.quantile(every, 0.01) < told.low < told.mean < told.high < np.quantile(every, 0.99)


def test_chance_is_not_smooth_and_smooth_is_not_chance():
    rng = np.random.default_rng(4)
    line = np.linspace(0, 1, 80)[:, None]
    graph = similarity_graph(line, 6)
    smooth = permutation_baseline(line[:, 0], graph)
    assert roughness(line[:, 0], graph) < smooth.low and smooth.p_value == pytest.approx(1 / 200)
    noise = [permutation_baseline(rng.normal(size=80), graph).p_value for _ in range(60)]
    assert 0.35 < np.mean(noise) < 0.65


def test_one_large_score_makes_roughness_small_without_any_order():
    rng = np.random.default_rng(5)
    graph = similarity_graph(rng.normal(size=(100, 2)), 10)
    even, spiked = rng.random(100), rng.random(100)
    spiked[0] = 100.0
    assert roughness(spiked, graph) < 0.2 * roughness(even, graph)
    assert contiguity(spiked, graph) == pytest.approx(contiguity(even, graph), abs=0.35)


def test_equal_observations_have_equal_embeddings():
    agent = PPO("FrozenLake", seed=0, compile=False, n_steps=256)
    rollout = agent.collect()
    e = embeddings(agent.policy, rollout)
    assert e.shape == (256, 64) and e.dtype == np.float64
    for tile in rollout.state.unique():
        assert np.ptp(e[(rollout.state == tile).numpy()], axis=0).max() == 0
    with torch.no_grad():
        logits = agent.policy.pi[-1](torch.from_numpy(e).float())
        torch.testing.assert_close(logits, agent.policy.pi(rollout.obs))


def test_embeddings_of_images():
    agent = PPO("MiniGrid", seed=0, compile=False, n_steps=64)
    assert embeddings(agent.policy, agent.collect()).shape == (64, 64)


@pytest.mark.parametrize(
    ("points", "neighbours", "words"),
    [
        (np.ones(3), 2, r"points: shape \(3,\)"),
        ([[np.nan, 1.0]], 2, "points"),
        (np.ones((3, 1)), 0, "neighbours: 0"),
    ],
)
def test_what_is_no_graph_is_refused(points, neighbours, words):
    with pytest.raises(ValueError, match=words):
        similarity_graph(points, neighbours)


def test_scores_of_other_records_are_refused():
    with pytest.raises(ValueError, match=r"scores: shape \(3,\), expected \(4,\)"):
        roughness(np.ones(3), similarity_graph(np.eye(4)))
