"""The experiments of the book: each a declared grid of trials and what becomes of it."""

from .diagnosis import DIAGNOSIS
from .sb3_parity import SB3_PARITY
from .six_environments import SIX_ENVIRONMENTS
from .study import Study, Trial

STUDIES: dict[str, Study] = {
    study.name: study for study in (DIAGNOSIS, SB3_PARITY, SIX_ENVIRONMENTS)
}

__all__ = ["STUDIES", "Study", "Trial"]
