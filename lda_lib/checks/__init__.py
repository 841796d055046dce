"""What an exercise verifies: one function per exercise, `exNN_k(fn) -> Result`; none raises."""

from ._result import Result
from .ch01 import ex01_1, ex01_2, ex01_3, ex01_4, ex01_5
from .ch08 import ex08_1, ex08_2, ex08_3, ex08_4
from .ch09 import ex09_1, ex09_2, ex09_3, ex09_4
from .ch10 import ex10_1, ex10_2, ex10_3, ex10_4, ex10_5, ex10_6

__all__ = [
    "Result",
    "ex01_1",
    "ex01_2",
    "ex01_3",
    "ex01_4",
    "ex01_5",
    "ex08_1",
    "ex08_2",
    "ex08_3",
    "ex08_4",
    "ex09_1",
    "ex09_2",
    "ex09_3",
    "ex09_4",
    "ex10_1",
    "ex10_2",
    "ex10_3",
    "ex10_4",
    "ex10_5",
    "ex10_6",
]
