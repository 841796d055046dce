"""What an exercise verifies: one function per exercise, `exNN_k(fn) -> Result`; none raises."""

from ._result import Result
from .ch01 import ex01_1, ex01_2, ex01_3, ex01_4, ex01_5
from .ch06 import ex06_1, ex06_2, ex06_3, ex06_4, ex06_5
from .ch07 import ex07_1, ex07_2, ex07_3, ex07_4, ex07_5
from .ch10 import ex10_1, ex10_2, ex10_3, ex10_4, ex10_5, ex10_6

__all__ = [
    "Result",
    "ex01_1",
    "ex01_2",
    "ex01_3",
    "ex01_4",
    "ex01_5",
    "ex06_1",
    "ex06_2",
    "ex06_3",
    "ex06_4",
    "ex06_5",
    "ex07_1",
    "ex07_2",
    "ex07_3",
    "ex07_4",
    "ex07_5",
    "ex10_1",
    "ex10_2",
    "ex10_3",
    "ex10_4",
    "ex10_5",
    "ex10_6",
]
