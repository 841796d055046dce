"""The book is executed (smoke) and built once for all tests, into a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book"), str(Path(__file__).parent)]

import browser  # noqa: E402
import build  # noqa: E402

WHY_NOT = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def smoke_executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the executed chapters."""
    return tmp_path_factory.mktemp("executed")


@pytest.fixture(scope="session")
def smoke_runs(smoke_executed: Path) -> dict[str, build.Run]:
    """What became of each chapter, by name."""
    return {run.name: run for run in build.execute(build.chapters(), smoke_executed, "smoke")}


@pytest.fixture(scope="session")
def site(
    smoke_runs: dict[str, build.Run],
    smoke_executed: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The built pages."""
    broken = [run.name for run in smoke_runs.values() if run.error]
    assert not broken, f"no pages without these chapters: {broken}"
    return build.build_html(smoke_executed, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def driver(request: pytest.FixtureRequest) -> Iterator[browser.Driver]:
    """A browser that reaches no other host; without one the test is skipped, and said loudly."""
    try:
        started = browser.start()
    except browser.NoBrowserError as exc:
        request.config.stash[WHY_NOT] = str(exc)
        if browser.required():
            pytest.fail(f"CI must run the page tests: {exc}")
        pytest.skip(str(exc))
    yield started
    started.quit()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say in one loud line that the pages were not opened."""
    if why := config.stash.get(WHY_NOT, None):
        terminalreporter.write_line("")
        terminalreporter.write_line(f"PAGES NOT TESTED: {why}", red=True, bold=True)
