"""The book is executed (smoke) and built once for all tests, into a folder of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book"), str(Path(__file__).parent)]

import browser  # noqa: E402
import build  # noqa: E402

NO_BROWSER = "no browser to open them in"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of this test run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def smoke_runs(shared: Path) -> dict[str, build.Run]:
    """What became of each chapter, by name: the first process to ask runs them all."""
    told = shared / "runs.json"
    with FileLock(shared / "runs.lock"):
        if not told.exists():
            runs = build.execute(build.chapters(), shared / "executed", "smoke")
            told.write_text(json.dumps([asdict(run) for run in runs]), encoding="utf-8")
    return {x["name"]: build.Run(**x) for x in json.loads(told.read_text(encoding="utf-8"))}


@pytest.fixture(scope="session")
def smoke_executed(shared: Path, smoke_runs: dict[str, build.Run]) -> Path:
    """The folder that holds the executed chapters."""
    return shared / "executed"


@pytest.fixture(scope="session")
def site(shared: Path, smoke_runs: dict[str, build.Run], smoke_executed: Path) -> Path:
    """The built pages: the first process to ask builds them."""
    broken = [run.name for run in smoke_runs.values() if run.error]
    assert not broken, f"no pages without these chapters: {broken}"
    html = shared / "site" / "html"
    with FileLock(shared / "site.lock"):
        if not html.exists():
            build.build_html(smoke_executed, shared / "site")
    return html


@pytest.fixture(scope="session")
def driver() -> Iterator[browser.Driver]:
    """A browser that reaches no other host; without one the test is skipped, and said loudly."""
    try:
        started = browser.start()
    except browser.NoBrowserError as exc:
        if browser.required():
            pytest.fail(f"CI must run the page tests: {exc}")
        pytest.skip(f"{NO_BROWSER}: {exc}")
    yield started
    started.quit()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one loud line that the pages were not opened."""
    # from the reports: with several processes the tests themselves ran elsewhere
    told = {str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])}
    if any(NO_BROWSER in text for text in told):
        terminalreporter.write_line("")
        terminalreporter.write_line(f"PAGES NOT TESTED: {NO_BROWSER}", red=True, bold=True)
