"""Exercises of chapter 6: removal by weight, LDS, AUROC, a sweep back through steps, own scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ..attribution import influence
from ..fidelity import lds
from ..groundtruth import FrozenRound, outcomes, random_subsets
from ..ppo import PPO
from ..targets import ExactReturn
from ._result import agree, check, own_scores


@check
def ex06_1(fn: Callable) -> str:
    """`fn(loss, weight) -> scalar`: a minibatch's loss, (b,), (b,) of 0 and 1, by "weight zero"."""
    rng = np.random.default_rng(1)
    for size in (8, 64):
        loss = torch.from_numpy(rng.normal(size=size))
        weight = torch.ones(size, dtype=torch.float64)
        weight[torch.from_numpy(rng.permutation(size)[: size // 4])] = 0.0
        mistakes = {
            "you divide by the number of records that are left: that is re-batching. Here the "
            "divisor stays that of the full minibatch, or every other record would count "
            "more.": loss[weight > 0].mean(),
            "this is a sum: the loss of a minibatch is a mean.": (loss * weight).sum(),
            "the weights are not used.": loss.mean(),
            "these are the records that were removed.": (loss * (1 - weight)).mean(),
        }
        agree(fn(loss.clone(), weight.clone()), (loss * weight).mean(), "the loss", mistakes)
    return "a silent record leaves the weight of all others as it was."


@check
def ex06_2(fn: Callable) -> str:
    """`fn(scores, keep, outcome) -> float`: LDS, (n,), bool (m, n), (m,)."""
    rng = np.random.default_rng(2)
    scores = torch.from_numpy(rng.normal(size=120) ** 3)
    keep = random_subsets(120, 0.7, 60, rng)
    kept = keep.double() @ scores
    outcome = torch.exp(kept / 4) + 0.3 * torch.from_numpy(rng.normal(size=60))
    expected = stats.spearmanr(kept, outcome).statistic
    mistakes = {
        "the sign is turned: sum the scores of the records that are *kept*.": -expected,
        "this is Pearson's correlation: the outcome need not be linear in the sum, compare "
        "ranks.": stats.pearsonr(kept, outcome).statistic,
        "this is Kendall's tau: use Spearman's rank correlation.": stats.kendalltau(
            kept, outcome
        ).statistic,
        "this compares the sum of |score|: negative scores must count against the "
        "outcome.": stats.spearmanr(keep.double() @ scores.abs(), outcome).statistic,
        "you count records with a positive score: sum the scores, not their "
        "signs.": stats.spearmanr(keep.double() @ scores.sign(), outcome).statistic,
    }
    wrong = {hint: torch.tensor(float(value)) for hint, value in mistakes.items()}
    agree(fn(scores.clone(), keep.clone(), outcome.clone()), torch.tensor(expected), "LDS", wrong)
    return "predicted and true order of the subsets, compared by rank."


@check
def ex06_3(fn: Callable) -> str:
    """`fn(scores, planted) -> float`: AUROC of low scores for planted records, (n,), bool (n,)."""
    rng = np.random.default_rng(3)
    planted = torch.from_numpy(rng.random(150) < 0.15)
    scores = torch.from_numpy((rng.normal(size=150) - planted.numpy()).round(1))  # with ties
    u = stats.mannwhitneyu(-scores[planted], -scores[~planted]).statistic
    expected = u / int(planted.sum()) / int((~planted).sum())
    pairs = -scores[planted][:, None] - -scores[~planted][None]
    lowest = scores.argsort()[: int(planted.sum())]
    mistakes = {
        "the sign is turned: harm is planted where scores are *low*.": 1 - expected,
        "ties count half: with many equal scores it matters.": float((pairs > 0).double().mean()),
        "a tie is no success, it counts half.": float((pairs >= 0).double().mean()),
        "this is the share of planted records among the lowest: it depends on how many you "
        "look at. AUROC asks about pairs.": float(planted[lowest].double().mean()),
    }
    wrong = {hint: torch.tensor(value) for hint, value in mistakes.items()}
    agree(fn(scores.clone(), planted.clone()), torch.tensor(float(expected)), "AUROC", wrong)
    return "the chance that a planted record scores below a clean one."


@check
def ex06_4(fn: Callable) -> str:
    """`fn(theta, x, y, v, lr, steps) -> (n,)`: d (v . theta_T) / d weights, through all steps.

    Full-batch descent on mean_i w_i (x_i . theta - y_i)^2 / 2 from `theta`, (d,); x (n, d), y (n,).
    """
    rng = np.random.default_rng(4)
    n, d, lr, steps = 12, 3, 0.3, 6
    x, y = torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(size=n))
    theta, v = torch.from_numpy(rng.normal(size=d)), torch.from_numpy(rng.normal(size=d))

    def descend(weight: Tensor) -> list[Tensor]:
        path = [theta]
        for _ in range(steps):
            error = x @ path[-1] - y
            path.append(path[-1] - lr * (weight * error) @ x / n)
        return path

    weight = torch.ones(n, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(v @ descend(weight)[-1], weight)
    path = [p.detach() for p in descend(weight)]
    grads = [(x @ p - y)[:, None] * x for p in path[:-1]]  # (n, d) of each step
    tracin = -lr / n * torch.stack([g @ v for g in grads]).sum(0)
    hessian = x.T @ x / n
    forward, costate = torch.zeros(n, dtype=torch.float64), v.clone()
    for g in grads:  # the sweep in the wrong direction
        forward -= lr / n * (g @ costate)
        costate = costate - lr * hessian @ costate
    mistakes = {
        "this is TracIn: the costate stays `v`. It has to change on its way back: "
        "W becomes W - lr H W at each step.": tracin,
        "only the last step is here: the weights enter every step.": -lr / n * (grads[-1] @ v),
        "the sign is turned: a step goes against the gradient.": -expected,
        "the mean over n records is missing: divide by n.": expected * n,
        "the sweep runs forwards: start from the last step.": forward,
    }
    got = fn(theta.clone(), x.clone(), y.clone(), v.clone(), lr, steps)
    agree(got, expected, "the derivative", mistakes, atol=1e-8)
    return "exact, step by step from the end: what backpropagation does to a training run."


@check
def ex06_5(fn: Callable) -> str:
    """`fn(agent, rollout) -> scores`, (n,): a score of one's own, held against retraining."""
    agent = PPO("FrozenLake", seed=6, n_steps=512, compile=False)
    agent.learn(3, progress=False)
    rollout = agent.collect()
    scores = own_scores(fn, agent, rollout)
    keep = random_subsets(len(rollout), 0.8, 40, np.random.default_rng(6))
    outcome = outcomes(FrozenRound.of(agent, rollout), keep, ExactReturn(), critic=False)
    yours = lds(scores, keep, outcome)
    plain = lds(influence(agent.policy, rollout, normalize="rollout"), keep, outcome)
    return (
        f"LDS at 80 % kept: {yours.mean:.2f} [{yours.low:.2f}, {yours.high:.2f}]; the snapshot "
        f"score has {plain.mean:.2f} [{plain.low:.2f}, {plain.high:.2f}] on the same 40 subsets."
    )
