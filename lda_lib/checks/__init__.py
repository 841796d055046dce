"""What an exercise verifies: one function per exercise, `exNN_k(fn) -> Result`; none raises."""

from ._result import Result
from .ch01 import ex01_1, ex01_2, ex01_3, ex01_4, ex01_5
from .ch10 import ex10_1, ex10_2, ex10_3, ex10_4, ex10_5, ex10_6
from .ch19 import ex19_1, ex19_2, ex19_3, ex19_4

__all__ = [
    "Result",
    "ex01_1",
    "ex01_2",
    "ex01_3",
    "ex01_4",
    "ex01_5",
    "ex10_1",
    "ex10_2",
    "ex10_3",
    "ex10_4",
    "ex10_5",
    "ex10_6",
    "ex19_1",
    "ex19_2",
    "ex19_3",
    "ex19_4",
]
