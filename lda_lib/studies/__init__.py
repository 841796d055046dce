"""The experiments of the book: each a declared grid of trials and what becomes of it."""

from .six_environments import SIX_ENVIRONMENTS
from .study import Study, Trial

STUDIES: dict[str, Study] = {study.name: study for study in (SIX_ENVIRONMENTS,)}

__all__ = ["STUDIES", "Study", "Trial"]
