"""Scores and filters for Stable-Baselines3, the unmodified package: PPO, A2C and their like.

    model = SB3PPO("MlpPolicy", "LunarLander-v3", rollout_buffer_class=FilterableRolloutBuffer)
    model.learn(300_000, callback=IIFCallback(drop=0.125))  # scores are in callback.scores

    rollout = fresh_rollout(model)  # or rollout_from(model), inside a callback
    scores = influence(policy_from(model), rollout)  # (n,)

A model that was made without the buffer class gets it on loading:
`SB3PPO.load(path, env, custom_objects={"rollout_buffer_class": FilterableRolloutBuffer})`.
In reading order: buffer, records, fresh, callback. Needs the extra `sb3`.
"""

try:
    import stable_baselines3  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"lda_lib.sb3 needs stable-baselines3 ({error}); install it with pip install 'lda-lib[sb3]'"
    ) from error

from .buffer import FilterableDictRolloutBuffer, FilterableRolloutBuffer
from .callback import FilterCallback, IIFCallback, agent_from
from .fresh import fresh_rollout, load_model
from .records import SB3Policy, policy_from, rollout_from

__all__ = [
    "FilterCallback",
    "FilterableDictRolloutBuffer",
    "FilterableRolloutBuffer",
    "IIFCallback",
    "SB3Policy",
    "agent_from",
    "fresh_rollout",
    "load_model",
    "policy_from",
    "rollout_from",
]
