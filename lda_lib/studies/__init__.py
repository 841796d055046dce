"""The experiments of the book: each a declared grid of trials and what becomes of it."""

from .adam_aware import ADAM_AWARE, ADAM_AWARE_TUNING
from .algorithms import ALGORITHMS_STUDY
from .confirm import CONFIRM
from .data_channel import DATA_CHANNEL
from .diagnosis import DIAGNOSIS
from .dial import DIAL
from .drop_fraction import DROP_FRACTION
from .fidelity import FIDELITY
from .luck import LUCK
from .pace import PACE, PACE_TUNING
from .phases import PHASES
from .planted_harm import PLANTED_HARM
from .pong import PONG
from .repair import REPAIR, REPAIR_TUNING
from .rivals import RIVALS
from .rlhf import RLHF
from .runtime import RUNTIME
from .sb3_parity import SB3_PARITY
from .single_round import SINGLE_ROUND
from .six_environments import SIX_ENVIRONMENTS
from .slippery import SLIPPERY
from .step_size import STEP_SIZE
from .stretch import STRETCH
from .study import Study, Trial
from .tuned import TUNED
from .variants import ADAM, AS_WRITTEN, CONFOUNDS
from .windy import WINDY

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        SB3_PARITY,
        SIX_ENVIRONMENTS,
        DIAGNOSIS,
        PHASES,
        SINGLE_ROUND,
        DROP_FRACTION,
        ADAM,
        AS_WRITTEN,
        CONFOUNDS,
        RIVALS,
        STEP_SIZE,
        SLIPPERY,
        DIAL,
        WINDY,
        RUNTIME,
        FIDELITY,
        PLANTED_HARM,
        LUCK,
        REPAIR_TUNING,
        REPAIR,
        TUNED,
        PACE_TUNING,
        PACE,
        STRETCH,
        CONFIRM,
        DATA_CHANNEL,
        ALGORITHMS_STUDY,
        RLHF,
        PONG,
        ADAM_AWARE_TUNING,
        ADAM_AWARE,
    )
}

__all__ = ["STUDIES", "Study", "Trial"]
