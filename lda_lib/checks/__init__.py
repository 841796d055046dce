"""What an exercise verifies: one function per exercise, `exNN_k(fn) -> Result`; none raises."""

from ._result import Result
from .ch01 import ex01_1, ex01_2, ex01_3, ex01_4, ex01_5
from .ch02 import ex02_1, ex02_2, ex02_3, ex02_4, ex02_5
from .ch03 import ex03_1, ex03_2, ex03_3, ex03_4, ex03_5
from .ch04 import ex04_1, ex04_2, ex04_3, ex04_4, ex04_5
from .ch05 import ex05_1, ex05_2, ex05_3, ex05_4, ex05_5
from .ch06 import ex06_1, ex06_2, ex06_3, ex06_4, ex06_5
from .ch07 import ex07_1, ex07_2, ex07_3, ex07_4, ex07_5
from .ch08 import ex08_1, ex08_2, ex08_3, ex08_4
from .ch09 import ex09_1, ex09_2, ex09_3, ex09_4
from .ch10 import ex10_1, ex10_2, ex10_3, ex10_4, ex10_5, ex10_6
from .ch11 import ex11_1, ex11_2, ex11_3, ex11_4, ex11_5
from .ch12 import ex12_1, ex12_2, ex12_3, ex12_4, ex12_5
from .ch13 import ex13_1, ex13_2, ex13_3, ex13_4, ex13_5
from .ch14 import ex14_1, ex14_2, ex14_3, ex14_4, ex14_5
from .ch15 import ex15_1, ex15_2, ex15_3, ex15_4
from .ch16 import ex16_1, ex16_2, ex16_3, ex16_4, ex16_5
from .ch17 import ex17_1, ex17_2, ex17_3, ex17_4
from .ch18 import ex18_1, ex18_2, ex18_3, ex18_4
from .ch19 import ex19_1, ex19_2, ex19_3, ex19_4
from .ch20 import ex20_1, ex20_2, ex20_3, ex20_4, ex20_5

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
    "ex04_1",
    "ex04_2",
    "ex04_3",
    "ex04_4",
    "ex04_5",
    "ex05_1",
    "ex05_2",
    "ex05_3",
    "ex05_4",
    "ex05_5",
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
    "ex11_1",
    "ex11_2",
    "ex11_3",
    "ex11_4",
    "ex11_5",
    "ex12_1",
    "ex12_2",
    "ex12_3",
    "ex12_4",
    "ex12_5",
    "ex13_1",
    "ex13_2",
    "ex13_3",
    "ex13_4",
    "ex13_5",
    "ex14_1",
    "ex14_2",
    "ex14_3",
    "ex14_4",
    "ex14_5",
    "ex15_1",
    "ex15_2",
    "ex15_3",
    "ex15_4",
    "ex16_1",
    "ex16_2",
    "ex16_3",
    "ex16_4",
    "ex16_5",
    "ex17_1",
    "ex17_2",
    "ex17_3",
    "ex17_4",
    "ex18_1",
    "ex18_2",
    "ex18_3",
    "ex18_4",
    "ex19_1",
    "ex19_2",
    "ex19_3",
    "ex19_4",
    "ex20_1",
    "ex20_2",
    "ex20_3",
    "ex20_4",
    "ex20_5",
]
