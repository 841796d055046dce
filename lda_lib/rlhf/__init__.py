"""RLHF: attribution and filtering when the agent is a language model.

Needs the extra `rlhf` (transformers, peft); the rest of the package does not. In reading order:
config, models, rollout, reward, agent, loss, ppo, grpo, targets, scores, filters, checkpoint; the
small world: phrases, corpus, world.
"""

from __future__ import annotations

from importlib.util import find_spec

if lacking := [name for name in ("transformers", "peft") if find_spec(name) is None]:
    raise ImportError(
        f"lda_lib.rlhf needs {' and '.join(lacking)}, which is not installed: pip install "
        "'lda-lib[rlhf]'"
    )

from .agent import LanguageAgent
from .config import RLHFConfig
from .filters import Difficulty, released_filter
from .grpo import LanguageGRPO
from .models import LanguagePolicy
from .ppo import LanguagePPO
from .reward import ClassifierReward
from .rollout import TextRollout
from .scores import text_influence
from .targets import SequenceReturn, TokenReturn, Writing
from .world import WORLD, World, load_world

__all__ = [
    "WORLD",
    "ClassifierReward",
    "Difficulty",
    "LanguageAgent",
    "LanguageGRPO",
    "LanguagePPO",
    "LanguagePolicy",
    "RLHFConfig",
    "SequenceReturn",
    "TextRollout",
    "TokenReturn",
    "World",
    "Writing",
    "load_world",
    "released_filter",
    "text_influence",
]
