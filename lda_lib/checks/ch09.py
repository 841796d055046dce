"""Exercises of chapter 9: twins, optimiser steps, choosing by noise, own interventions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..filters import IIF, RandomDrop
from ..ppo import PPO
from ..step import minibatches
from ..studies.single_round import twin
from ._filter import own_filter
from ._result import Hint, agree, check, numbers


@check
def ex09_1(fn: Callable) -> str:
    """`fn(agent, rollout, keep) -> gain`: J after learning from the kept, minus J after all."""
    agent = PPO("FrozenLake", seed=9, n_steps=512, epochs=2, lr=0.05, compile=False)
    agent.learn(1, progress=False)
    rollout = agent.collect()
    keep = IIF(drop=1.0)(agent, rollout)
    before = agent.evaluate().mean
    part, whole, after = twin(agent), twin(agent), twin(agent)
    part.update(rollout, keep)
    whole.update(rollout)
    after.update(rollout)
    after.update(rollout, keep)  # what an agent that is not copied ends with
    j_part, j_whole = part.evaluate().mean, whole.evaluate().mean
    start = {k: p.clone() for k, p in agent.policy.state_dict().items()}
    clock = agent.round
    got = numbers(fn(agent, rollout, keep), (), "gain")
    moved = any(not torch.equal(p, start[k]) for k, p in agent.policy.state_dict().items())
    if moved or agent.round != clock:
        raise Hint(
            "your function changed the agent: let two twins learn, so that both start from the "
            "same policy and the agent stays where it was."
        )
    scale = 1 / abs(j_part - j_whole)
    mistakes = {
        "this is J with the kept records minus J *before* the update: compare with what the update "
        "with all records would have done.": j_part - before,
        "turned round: a gain is positive if the update without the dropped records ends "
        "higher.": j_whole - j_part,
        "this is what all records gain over the policy before: where does `keep` come in?": j_whole
        - before,
        "a ratio: subtract, since returns may be negative or 0.": j_part / j_whole,
        "one of your twins learnt twice: make a new one for each update.": after.evaluate().mean
        - j_whole,
    }
    scaled = {hint: torch.tensor(scale * wrong) for hint, wrong in mistakes.items()}
    agree(scale * got, torch.tensor(scale * (j_part - j_whole)), "gain", scaled, atol=1e-4)
    return "two twins, one rollout, one order of the records: only the mask differs."


@check
def ex09_2(fn: Callable) -> str:
    """`fn(kept, batch_size, epochs) -> steps` of an update on `kept` records."""
    cases = [(2048, 64, 10), (1000, 64, 10), (130, 64, 4), (64, 64, 3), (63, 64, 10), (1, 64, 2)]

    def real(kept: int, batch_size: int, epochs: int) -> int:
        agent = PPO("FrozenLake", batch_size=batch_size, epochs=epochs, compile=False)
        mask = np.ones(kept, bool)
        return sum(1 for _ in minibatches(mask, agent.config, np.random.default_rng(0)))

    def all_cases(rule: Callable[[int, int, int], float]) -> torch.Tensor:
        return torch.tensor([float(rule(*case)) for case in cases])

    mistakes = {
        "that is one epoch: the kept records are passed over `epochs` times.": all_cases(
            lambda m, b, e: max(1, m // b)
        ),
        "you count the smaller minibatch at the end of each epoch; it is left out.": all_cases(
            lambda m, b, e: -(-m // b) * e
        ),
        "records are not carried over from one epoch to the next: round down in each "
        "epoch.": all_cases(lambda m, b, e: m * e // b),
        "fewer records than a minibatch still make one (small) step in each epoch.": all_cases(
            lambda m, b, e: m // b * e
        ),
        "round down: a step takes whole minibatches.": all_cases(lambda m, b, e: m / b * e),
    }
    got = torch.stack([numbers(fn(*case), (), "steps") for case in cases])
    agree(got, all_cases(real), "steps", mistakes)
    return "and half as many records make half as many steps, whichever records they are."


@check
def ex09_3(fn: Callable) -> str:
    """`fn(before, whole_a, whole_b, part) -> mean gain` where the update with all records hurt."""
    rng = np.random.default_rng(3)
    n = 400
    truth = rng.normal(0.0, 1.0, n)  # what the update with all records really changes
    before = np.zeros(n)
    whole_a, whole_b, part = (truth + rng.normal(0.0, 1.5, n) for _ in range(3))
    hurt_a, hurt_b = whole_a < before, whole_b < before
    both = (whole_a + whole_b) / 2

    def gain(rounds: np.ndarray, whole: np.ndarray) -> torch.Tensor:
        return torch.tensor((part - whole)[rounds].mean())

    expected = gain(hurt_a, whole_b)
    mistakes = {
        "the same evaluation chooses the rounds and is subtracted: a round is then chosen partly "
        "because that evaluation was unlucky, and everything else looks better beside "
        "it.": gain(hurt_a, whole_a),
        "the same evaluation (the second) chooses and is subtracted; choose by the first.": gain(
            hurt_b, whole_b
        ),
        "an average of both evaluations chooses and is subtracted: the luck that chose is still in "
        "it.": gain(both < before, both),
        "you choose by the first and subtract the average of both, in which the first still "
        "counts.": gain(hurt_a, both),
        "choose by the first evaluation, subtract the second; you did the reverse.": gain(
            hurt_b, whole_a
        ),
        "these are all rounds: only those where the update with all records fell below `before` "
        "are asked for.": gain(np.ones(n, bool), whole_b),
        "these are the rounds that rose.": gain(~hurt_a, whole_b),
        "turned round: positive means that the part is better.": -expected,
    }
    got = fn(before.copy(), whole_a.copy(), whole_b.copy(), part.copy())
    agree(got, expected, "mean gain", mistakes, atol=1e-6)
    naive = float(gain(hurt_a, whole_a))
    return (
        f"{float(expected):+.2f}, where one evaluation for both purposes says {naive:+.2f}. In "
        "this world part and whole are equally good."
    )


@check
def ex09_4(fn: Callable) -> str:
    """`fn(agent, rollout) -> keep`, bool (n,): any intervention of one's own."""
    gains: dict[str, list[float]] = {"yours": [], "as many at random": [], "no negatives": []}
    dropped = []
    for seed in (9, 10):
        agent = PPO("FrozenLake", seed=seed, n_steps=1024, epochs=4, lr=0.02, compile=False)
        agent.learn(4, progress=False)
        rollout = agent.collect()
        keep = own_filter(fn, agent, rollout).bool()
        dropped.append(int((~keep).sum()))
        masks = {
            "yours": keep,
            "as many at random": RandomDrop(like=lambda *_: keep)(agent, rollout),  # noqa: B023
            "no negatives": IIF(drop=1.0)(agent, rollout),
        }
        whole = twin(agent)
        whole.update(rollout)
        for name, mask in masks.items():
            part = twin(agent)
            part.update(rollout, mask)
            gains[name].append(part.evaluate().mean - whole.evaluate().mean)
    told = "; ".join(
        f"{name}: {', '.join(f'{x:+.4f}' for x in values)}" for name, values in gains.items()
    )
    return (
        f"an intervention; it drops {dropped[0]} and {dropped[1]} of 1024 records. Gain in J over "
        f"all records, two buffers: {told}. Two buffers prove nothing."
    )
