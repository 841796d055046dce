"""What a computation costs, counted and not timed: operations and peak memory.

Seconds differ from machine to machine and from minute to minute. These counts do not, so that a
test can hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions that `call()` makes.

    A multiplication and the addition after it count as two. What works number by number (tanh,
    sums, the product of a gradient with a direction) is not counted; nor is what numpy does.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return int(counter.get_total_flops())


def peak_bytes(call: Callable[[], Any]) -> int:
    """Largest number of bytes that tensors made inside `call()` held at one time.

    What was there before, such as parameters and records, is not counted; nor is what single
    operations need while they run.
    """
    with _PeakMemory() as memory:
        result = call()
    del result
    return memory.peak


class _PeakMemory(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: dict[int, tuple[Any, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and not x._is_zerotensor():  # those hold nothing
                storage = x.untyped_storage()
                self._live[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._live = {k: v for k, v in self._live.items() if not v[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return out
