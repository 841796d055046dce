"""After the run: the ratios that the README and the book speak of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Every contender runs on one torch thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print each benchmark's median time and its ratio to its group's yardstick."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, list] = {}
    for bench in session.benchmarks if session else []:
        if bench.stats.rounds:
            groups.setdefault(bench.group, []).append(bench)
    if not groups:
        return
    terminalreporter.section("side by side, one thread, warm (medians)")
    for group, benches in groups.items():
        terminalreporter.write_line(group)
        yardstick = next((b for b in benches if b.extra_info.get("yardstick")), benches[0])
        unit = yardstick.stats.median
        for bench in benches:
            t, label = bench.stats.median, bench.extra_info.get("label", bench.name)
            note = "yardstick" if bench is yardstick else _ratio(t / unit)
            terminalreporter.write_line(f"  {label:<52}{1e3 * t:>10.2f} ms   {note}")


def _ratio(r: float) -> str:
    return f"{1 / r:.1f} times as fast" if r < 0.5 else f"{r:.2f} times the yardstick"
