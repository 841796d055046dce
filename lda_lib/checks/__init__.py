"""What an exercise verifies: one function per exercise, `exNN_k(fn) -> Result`; none raises."""

from ._result import Result
from .ch01 import ex01_1, ex01_2, ex01_3, ex01_4, ex01_5
from .ch02 import ex02_1, ex02_2, ex02_3, ex02_4, ex02_5
from .ch03 import ex03_1, ex03_2, ex03_3, ex03_4, ex03_5
from .ch10 import ex10_1, ex10_2, ex10_3, ex10_4, ex10_5, ex10_6

__all__ = [
    "Result",
    "ex01_1",
    "ex01_2",
    "ex01_3",
    "ex01_4",
    "ex01_5",
    "ex02_1",
    "ex02_2",
    "ex02_3",
    "ex02_4",
    "ex02_5",
    "ex03_1",
    "ex03_2",
    "ex03_3",
    "ex03_4",
    "ex03_5",
    "ex10_1",
    "ex10_2",
    "ex10_3",
    "ex10_4",
    "ex10_5",
    "ex10_6",
]
