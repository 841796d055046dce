"""Exercises of chapter 2: effects by retraining, scores, noise and harm, LDS, moved minima."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ._result import Hint, agree, check, numbers


def _data(seed: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Examples of logistic regression: x (n, d), y (n,) of 0 and 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = (x @ rng.normal(size=d) + 0.7 * rng.normal(size=n) > 0).astype(float)
    return torch.from_numpy(x), torch.from_numpy(y)


@check
def ex02_1(fn: Callable) -> str:
    """`fn(outcome, n) -> effects`, (n,); `outcome(weight)` trains with weights (n,)."""
    n, (x, y) = 7, _data(1, 7, 3)
    star, calls = x.sum(0), [0]

    def outcome(weight: Tensor) -> Tensor:
        calls[0] += 1
        w = torch.zeros(3, dtype=torch.float64)
        for _ in range(5):
            push = torch.as_tensor(weight).to(x) * (y - torch.sigmoid(x @ w))
            w = w + 0.3 * push @ x
        return torch.sigmoid(star @ w).log()

    one = torch.eye(n, dtype=torch.float64)
    f_all, f_none = outcome(torch.ones(n)), outcome(torch.zeros(n))
    f_without = torch.stack([outcome(1 - one[i]) for i in range(n)])
    f_alone = torch.stack([outcome(one[i]) for i in range(n)])
    expected = f_all - f_without
    mistakes = {
        "the sign is turned: an example that helped must come out positive, so it is with minus "
        "without.": -expected,
        "these are outcomes without the example: subtract them from the outcome with all.": (
            f_without
        ),
        "you train on each example *alone*. Its effect is what is missing when it alone is left "
        "out.": f_alone - f_none,
        "you train on each example *alone*: the weight of i must be 0 and all others 1.": f_alone,
        "this compares all with one alone: leave out example i and keep the others.": (
            f_all - f_alone
        ),
        "this is divided by n: an effect is a difference of two targets, no mean.": expected / n,
    }
    calls[0] = 0
    got = fn(outcome, n)
    agree(got, expected, "effects", mistakes, atol=1e-9)
    if calls[0] > n + 1:
        raise Hint(
            f"the effects are right, but you train {calls[0]} times: the training with all "
            f"examples is always the same, {n + 1} are enough."
        )
    return f"{n} effects from {n + 1} trainings."


@check
def ex02_2(fn: Callable) -> str:
    """`fn(w, x, y, x_star, y_star) -> scores`, (n,)."""
    x, y = _data(2, 12, 4)
    w, star = x[0] - 0.4 * x[3], x[5] + x[7]
    for y_star in (1.0, 0.0):
        p, p_star = torch.sigmoid(x @ w), torch.sigmoid(star @ w)
        push, grad_f = (y - p)[:, None] * x, (y_star - p_star) * star
        half = ((y - 0.5)[:, None] * x) @ ((y_star - 0.5) * star)
        expected = push @ grad_f
        norms = push.norm(dim=1) * grad_f.norm()
        mistakes = {
            "the sign is turned: the score takes *minus* the gradient of the loss, because a step "
            "goes down the loss.": -expected,
            "these are scores at w = 0: compute the probabilities at `w`.": half,
            "the factor (y_star - p_star) is missing: the target is the log-probability of "
            "x_star's own label, not the log-odds that it is poisonous.": push @ star,
            "the examples' labels are missing: the push is (y - p) x.": -(p[:, None] * x) @ grad_f,
            "this is similarity alone: the factors (y - p) are missing.": x @ star,
            "this is a cosine: a score is a plain inner product, long gradients count for more.": (
                expected / norms
            ),
            "this is a mean over examples: nothing is divided by n.": expected / len(x),
        }
        agree(fn(w, x, y, star, y_star), expected, f"scores (y_star={y_star:.0f})", mistakes, 1e-9)
    return "two gradients, one product; right for both labels and any w."


@check
def ex02_3(fn: Callable) -> str:
    """`fn(effects, z) -> harmful`, bool (n,); effects are (K, n)."""
    rng = np.random.default_rng(3)
    centre = np.array([-1.0, -0.6, -0.3, -0.1, 0.0, 0.0, 0.0, 0.0, 0.2, 1.0])
    spread = np.array([0.3, 2.0, 0.05, 0.05, 1.0, 1.0, 1.0, 2.0, 0.1, 0.3])
    for k, z in ((16, 2.0), (9, 3.0)):
        effects = torch.from_numpy(centre + spread * rng.normal(size=(k, 10)))
        mean, sd = effects.mean(0), effects.std(0)
        expected = mean < -z * sd / k**0.5
        lowest = mean.argsort().argsort() < int(expected.sum())
        mistakes = {
            "turned round: these are examples that *help* beyond noise.": mean > z * sd / k**0.5,
            "every example with a mean below zero is called harmful: half of those that do nothing "
            "at all lie below zero.": mean < 0,
            "this looks at the first training only: use all repetitions.": effects[0] < 0,
            "this compares with the standard deviation of one training. The mean of K trainings is "
            "surer: its standard error is sd / sqrt(K).": mean < -z * sd,
            "these are examples whose effect differs from zero: harm is the negative side "
            "only.": mean.abs() > z * sd / k**0.5,
            "`z` is not used.": mean < -sd / k**0.5,
            "these are the lowest means: an example with a low mean may only be a noisy one. "
            "Compare each with its own standard error.": lowest,
        }
        wrong = {hint: m for hint, m in mistakes.items() if not torch.equal(m, expected)}
        agree(fn(effects.clone(), z), expected, f"harmful (z={z:.0f})", wrong)
    quiet = torch.from_numpy(rng.normal(size=(16, 10)))
    quiet = quiet - quiet.mean(0) + 0.01
    if numbers(fn(quiet, 2.0), (10,), "harmful").any():
        raise Hint("where no example harms, none should be named: there need not be a worst one.")
    return "low once is noise until it is low again."


@check
def ex02_4(fn: Callable) -> str:
    """`fn(values, kept, outcome) -> LDS`, a number."""
    rng = np.random.default_rng(4)
    n, m = 20, 40
    values = torch.from_numpy(rng.normal(size=n) + 0.5)
    size = rng.integers(5, n, size=m)
    kept = torch.from_numpy(np.stack([rng.permutation(n) < s for s in size]))
    total = kept.double() @ values
    outcome = (total + torch.from_numpy(rng.normal(size=m))).exp()  # monotone, far from straight
    means = total / kept.sum(1)

    def rank(a: Tensor) -> Tensor:
        return torch.tensor(stats.spearmanr(a, outcome).statistic)

    expected = rank(total)
    mistakes = {
        "this is Pearson's correlation: LDS compares ranks, so that a bent relation "
        "costs nothing.": torch.tensor(np.corrcoef(total, outcome)[0, 1]),
        "the sign comes out turned: do you add the scores of the examples *left out*? The subset "
        "holds those where `kept` is True.": -expected,
        "this is a mean over the subset: scores are to be added, a larger subset has more of "
        "them.": rank(means),
        "you count the examples: the size of the subset is no score. (It is a good control, "
        "though.)": rank(kept.sum(1).double()),
    }
    agree(fn(values, kept, outcome), expected, "LDS", mistakes, atol=1e-6)
    return f"LDS is {float(expected):.2f} here."


@check
def ex02_5(fn: Callable) -> str:
    """`fn(H, grad_loss, grad_f) -> effects`, (n,), at a minimum with Hessian H (d, d)."""
    n, (x, y) = 40, _data(5, 40, 3)
    c, star = 0.1, x[0] + x[1]

    def curvature(w: Tensor, weight: Tensor) -> Tensor:
        p = torch.sigmoid(x @ w)
        return (x.T * (weight * p * (1 - p))) @ x / n + c * torch.eye(3, dtype=x.dtype)

    def minimum(weight: Tensor) -> Tensor:
        w = torch.zeros(3, dtype=x.dtype)
        for _ in range(20):  # Newton
            slope = -(weight * (y - torch.sigmoid(x @ w))) @ x / n + c * w
            w = w - torch.linalg.solve(curvature(w, weight), slope)
        return w

    def f(w: Tensor) -> Tensor:
        return torch.sigmoid(star @ w).log()

    everyone = torch.ones(n, dtype=x.dtype)
    w = minimum(everyone)
    H, grad_loss = curvature(w, everyone), -(y - torch.sigmoid(x @ w))[:, None] * x
    grad_f = (1 - torch.sigmoid(star @ w)) * star
    one = torch.eye(n, dtype=x.dtype)
    real = f(w) - torch.stack([f(minimum(everyone - one[i])) for i in range(n)])
    expected = -torch.linalg.solve(H, grad_loss.T).T @ grad_f / n
    assert (expected - real).abs().max() < 0.15 * real.abs().max()
    mistakes = {
        "the sign is turned: leaving i out moves the minimum by + H^-1 grad_loss_i / n, and the "
        "effect is with *minus* without.": -expected,
        "the 1/n is missing: example i is one of n in the mean loss.": n * expected,
        "the sign is turned and the 1/n is missing.": -n * expected,
        "the Hessian is missing: this is the plain score over n. At a minimum, moving costs "
        "something, and H says how much in which direction.": -grad_loss @ grad_f / n,
        "H itself instead of its inverse: a stiff direction moves less, not more.": (
            -(grad_loss @ H) @ grad_f / n
        ),
    }
    agree(fn(H, grad_loss, grad_f), expected, "effects", mistakes, atol=1e-7)
    gap = float((expected - real).abs().max() / real.abs().max())
    return f"within {100 * gap:.0f} % of the largest effect of {n} real retrainings."
