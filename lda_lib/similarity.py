"""Do similar records have similar scores? The similarity graph, and the roughness of scores on it.

    roughness = sum over edges of w_ij (I_i - I_j)^2 / sum over edges of w_ij

with I scaled by its largest absolute value. (Hu et al. 2025, "Behaviour formation".)

symbol  shape   meaning
n       -       records
e       (n, d)  embeddings: what the last hidden layer of a network, usually the final one, makes of
                the observations
w       (n, n)  weight of an edge, exp(-|e_i - e_j|^2 / sigma^2); 0 where there is none
sigma   -       median of the pair distances that are not 0
I       (n,)    scores

Where scores lie on the graph by chance, the mean roughness over all permutations is exactly twice
their sample variance. Roughness divided by that is Geary's contiguity ratio (Geary 1954): 1 means
no more alike than chance, 0 that neighbours are equal. Roughness alone says little: it falls
whenever a few scores are much larger than the rest, wherever they lie.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import laplacian
from scipy.spatial.distance import pdist, squareform

from .config import whole
from .policy import ActorCritic
from .rollout import Rollout

NEIGHBOURS = 50  # the paper's u


class Graph(NamedTuple):
    """Edges between similar records.

    Attributes:
        weight: (n, n), symmetric, zero diagonal.
        sigma: the length that distances are measured by; nan if no two points differ.
    """

    weight: csr_array
    sigma: float


def embeddings(network: ActorCritic, rollout: Rollout) -> np.ndarray:
    """What the last hidden layer of the policy network makes of each record's observation.

    Args:
        network: whose eyes to use; the paper takes the final network for all rounds.
        rollout: n records, made by whatever policy.

    Returns:
        (n, d), float64. Records with equal observations have equal embeddings, to the last bit.
    """
    # rows of a matrix product may differ in the last digit by their place: embed each obs once
    distinct, which = torch.unique(rollout.obs, dim=0, return_inverse=True)
    with torch.no_grad():
        hidden = network.pi[:-1](network.body(distinct))
    return hidden.double().cpu().numpy()[which.cpu().numpy()]


def similarity_graph(points: ArrayLike, neighbours: int = NEIGHBOURS) -> Graph:
    """Join each point with its nearest ones; an edge counts once, whoever asked for it.

    Points as near as the last neighbour are neighbours too, so that the graph does not depend on
    the order of the points. In small worlds, where many records share a state, these are many.

    Args:
        points: (n, d), such as `embeddings`.
        neighbours: u, how many others each point is joined with, if there are as many.

    Raises:
        ValueError: another shape, points that are not finite, or no neighbours asked for.
    """
    e = np.asarray(points, float)
    if e.ndim != 2 or not np.isfinite(e).all():
        raise ValueError(f"points: shape {e.shape}, expected finite numbers of shape (n, d)")
    whole("neighbours", neighbours, 1)
    pairs = pdist(e)
    apart = pairs[pairs > 0]
    if not len(apart):
        return Graph(csr_array((len(e), len(e))), float("nan"))
    sigma = float(np.median(apart))
    distance = squareform(pairs)
    np.fill_diagonal(distance, np.inf)  # nobody is their own neighbour
    u = min(neighbours, len(e) - 1)
    reach = np.partition(distance, u - 1, axis=1)[:, u - 1]
    joined = distance <= reach[:, None]
    i, j = np.nonzero(joined | joined.T)
    weight = np.exp(-((distance[i, j] / sigma) ** 2))
    return Graph(csr_array((weight, (i, j)), shape=distance.shape), sigma)


def roughness(scores: ArrayLike, graph: Graph) -> float:
    """How much scores differ between neighbours; see the module docstring.

    Returns:
        From 0 (neighbours are equal) to 4; nan where no two points differ or all scores are 0.

    Raises:
        ValueError: not one finite score for each point of the graph.
    """
    x = _scaled(scores, graph)
    return float("nan") if x is None else float(_roughness(x, graph))


class Baseline(NamedTuple):
    """Roughness of the same scores, shuffled over the same graph.

    Attributes:
        mean: over all permutations, exact.
        low: 2.5 % quantile of the permutations drawn.
        high: 97.5 % quantile.
        p_value: how often chance is as smooth as the scores (one-sided).
    """

    mean: float
    low: float
    high: float
    p_value: float


def permutation_baseline(
    scores: ArrayLike, graph: Graph, *, resamples: int = 199, seed: int = 0
) -> Baseline:
    """What roughness would be if the same scores lay on the graph by chance.

    Args:
        scores: (n,).
        graph: of the same n points.
        resamples: permutations drawn for the interval and the p-value, which is 1 / (resamples + 1)
            at the least.
        seed: of the permutations.

    Returns:
        All nan where the roughness is.
    """
    x = _scaled(scores, graph)
    if x is None:
        return Baseline(*[float("nan")] * 4)
    test = stats.permutation_test(
        (x,),
        lambda sample, axis: _roughness(np.moveaxis(sample, axis, -1), graph),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=resamples,
        alternative="less",
        rng=seed,
    )
    low, high = np.quantile(test.null_distribution, (0.025, 0.975))
    return Baseline(2 * float(x.var(ddof=1)), float(low), float(high), float(test.pvalue))


def contiguity(scores: ArrayLike, graph: Graph) -> float:
    """Geary's ratio: roughness divided by its mean under permutation; nan if scores are equal."""
    x = _scaled(scores, graph)
    if x is None or np.ptp(x) == 0:
        return float("nan")
    return float(_roughness(x, graph) / (2 * x.var(ddof=1)))


def _scaled(scores: ArrayLike, graph: Graph) -> np.ndarray | None:
    """Scores divided by the largest absolute one, or None where roughness is undefined."""
    x = np.asarray(scores, float)
    n = graph.weight.shape[0]
    if x.shape != (n,) or not np.isfinite(x).all():
        raise ValueError(f"scores: shape {x.shape}, expected ({n},) finite numbers")
    largest = np.abs(x).max(initial=0.0)
    return None if np.isnan(graph.sigma) or largest == 0 else x / largest


def _roughness(x: np.ndarray, graph: Graph) -> np.ndarray:
    """Of scaled scores, (..., n) -> (...): x' L x is the sum over edges of w_ij (x_i - x_j)^2."""
    columns = x.reshape(-1, x.shape[-1]).T  # (n, samples)
    smooth = (columns * (laplacian(graph.weight) @ columns)).sum(0)
    return np.maximum(smooth, 0.0).reshape(x.shape[:-1]) / (graph.weight.sum() / 2)
