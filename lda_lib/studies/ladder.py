"""All estimators of a record's influence, from the cheapest up, for studies that compare them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from torch import Tensor

from ..attribution import influence
from ..filters import agent_scores
from ..ppo import PPO
from ..rollout import Rollout
from ..scores import by_episode, cross_fitted
from ..step import OptState, Trace, shadow_adam
from ..targets import Return, Target

SNAPSHOT = "theta_k"  # scored once, at the policy that made the records
ESTIMATORS = (  # in the order of figures
    f"{SNAPSHOT}, as released",
    SNAPSHOT,
    f"{SNAPSHOT}, by episode",
    f"{SNAPSHOT}, cross-fitted",
    f"{SNAPSHOT}, Adam-aware",
    "TracIn",
    "TracIn, Adam-aware",
    "unrolled",
    "unrolled, soft clip",
)
CLIP_WIDTH = 0.01  # chosen on seed 1, round 3, of FrozenLake among 0.003, 0.01, 0.03, 0.1


class Estimate(NamedTuple):
    """The scores of one estimator on one target."""

    estimator: str
    target: str  # "buffer": f_return on the records themselves; "outcome": what is measured after
    scores: Tensor  # (n,)
    seconds: float  # of the processor; the update that a trace needs is not counted


def ladder(
    agent: PPO, rollout: Rollout, outcome: Target, shadow: OptState | None = None
) -> Iterator[Estimate]:
    """Score a rollout by every estimator, each on the buffer's own target and on the outcome.

    Args:
        agent: before the update; it stays as it is.
        rollout: n records.
        outcome: the target by which the update will be judged.
        shadow: for an agent that learns with SGD, the state that Adam would have (`shadow_adam`):
            with it the Adam-aware estimators score it too, as a control.
    """
    twin = copy.deepcopy(agent)
    trace = adam_trace = twin.update(rollout, trace=True)
    assert isinstance(trace, Trace)
    adam_state: OptState | None = agent.opt_state
    if agent.config.optimizer == "sgd":
        adam_state = shadow
        adam_trace = trace if shadow is None else shadow_adam(trace, shadow)
    agent_scores(agent, rollout, outcome)  # the first call of a session pays for what it imports
    targets: dict[str, Target] = {"buffer": Return(), "outcome": outcome}
    for name, target in targets.items():
        once = partial(agent_scores, agent, rollout, target, normalize="rollout")
        whole = partial(influence, agent.policy, rollout, target, trace=trace)
        ways: dict[str, Callable[[], Tensor]] = {
            f"{SNAPSHOT}, as released": partial(once, normalize="minibatch"),
            SNAPSHOT: once,
        }
        if name == "buffer":
            ways[f"{SNAPSHOT}, cross-fitted"] = partial(
                cross_fitted, agent.policy, rollout, normalize="rollout"
            )
        if adam_state is not None:
            ways[f"{SNAPSHOT}, Adam-aware"] = partial(once, opt_state=adam_state)
            ways["TracIn, Adam-aware"] = partial(whole, trace=adam_trace, estimator="tracin_adam")
        exact = partial(whole, estimator="unrolled")
        ways |= {"TracIn": whole, "unrolled": exact}
        ways["unrolled, soft clip"] = partial(exact, clip_width=CLIP_WIDTH)
        for estimator, score in ways.items():
            started = time.process_time()
            scores = score()
            yield Estimate(estimator, name, scores, time.process_time() - started)
            if estimator == SNAPSHOT:
                yield Estimate(
                    f"{SNAPSHOT}, by episode", name, by_episode(rollout, scores), float("nan")
                )
