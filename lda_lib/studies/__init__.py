"""The experiments of the book: each a declared grid of trials and what becomes of it."""

from .fidelity import FIDELITY
from .planted_harm import PLANTED_HARM
from .sb3_parity import SB3_PARITY
from .six_environments import SIX_ENVIRONMENTS
from .study import Study, Trial

STUDIES: dict[str, Study] = {
    study.name: study for study in (SB3_PARITY, SIX_ENVIRONMENTS, FIDELITY, PLANTED_HARM)
}

__all__ = ["STUDIES", "Study", "Trial"]
