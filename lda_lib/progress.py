"""One progress bar for everything that takes a while."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Go through `items` under a progress bar, or, when a program reads along, print one line.

    The environment variable LDA_PROGRESS decides: "bar" (default), "line" (one line at the end, as
    in executed notebooks) or "none".
    """
    style = os.environ.get("LDA_PROGRESS", "bar")
    if style not in ("bar", "line", "none"):
        raise ValueError(f"LDA_PROGRESS: {style!r}, expected 'bar', 'line' or 'none'")
    if style == "bar":
        yield from tqdm(items, desc=label, total=total, leave=True)
        return
    start, count = time.perf_counter(), 0
    for item in items:
        yield item
        count += 1
    if style == "line":
        print(f"{label}: {count} done in {time.perf_counter() - start:.1f} s")
