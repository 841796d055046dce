"""A2C (Mnih et al. 2016): one step on the whole rollout, and then it is thrown away."""

from __future__ import annotations

from typing import Any

from ..ppo import PPO


def a2c(task: Any, *, n_steps: int = 512, lr: float = 0.5, **settings: Any) -> PPO:
    """An agent that makes one step of plain SGD on all records of a round.

    It is PPO with one epoch of one minibatch: at the first step the ratio is 1 and the clip has
    nothing to do, so what is left of PPO's loss is -A_hat log pi, plus the critic's. The score is
    therefore exact to first order in the learning rate; optimizer="adam" gives that up.

    Args:
        task: as for `PPO`.
        n_steps: records of a round.
        lr: learning rate; the step is long, for there is only one.
        **settings: further arguments of `PPO` but for `epochs` and `batch_size`.
    """
    if given := {"epochs", "batch_size"} & set(settings):
        raise ValueError(f"settings: {sorted(given)}, but A2C makes one step on the whole rollout")
    settings = {"optimizer": "sgd"} | settings  # whatever the task's own
    return PPO(task, n_steps=n_steps, batch_size=n_steps, epochs=1, lr=lr, **settings)
