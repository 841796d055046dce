"""The table of durations: a row for each chapter, and how a row is measured."""

from __future__ import annotations

import os
from pathlib import Path

import build
import nbformat
import pandas as pd
import pytest
import timings

from lda_lib.results import load_or_run


def test_every_chapter_has_its_row() -> None:
    """In reading order, and every chapter measured."""
    table = pd.read_csv(timings.TABLE)
    assert list(table.columns) == ["chapter", "seconds", "processor seconds"]
    assert list(table["chapter"]) == [path.stem for path in build.chapters()]
    assert (table[["seconds", "processor seconds"]] > 0).all(axis=None)


def test_a_chapter_measured_alone_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a chapter that fails leaves everything as it was."""
    first, second = (path.stem for path in build.chapters()[:2])
    runs = {first: build.Run(first, 20.0, None, 15.0), second: build.Run(second, 9.0, None, 8.0)}
    monkeypatch.setattr(build, "execute", lambda paths, *_, jobs: [runs[p.stem] for p in paths])
    monkeypatch.setattr(timings, "TABLE", tmp_path / "timings.csv")
    for names in ([first], [second]):
        load_or_run(
            "timings", lambda n=names: timings.measure(n), settings={}, rerun=True, folder=tmp_path
        )
    table = pd.read_csv(timings.TABLE, index_col="chapter")
    assert list(table.loc[first]) == [20.0, 15.0] and list(table.loc[second]) == [9.0, 8.0]
    assert table["seconds"].notna().sum() == 2 and len(table) == len(build.chapters())
    runs[second] = build.Run(second, 1.0, "an error", 1.0)
    with pytest.raises(RuntimeError, match=second):
        timings.measure([second])


@pytest.mark.skipif(os.name != "posix", reason="the system does not tell")
def test_processor_time_is_that_of_the_kernel(tmp_path: Path) -> None:
    """Work in the kernel counts, sleep does not."""
    source = (
        "import time\nend = time.process_time() + 1.0\n"
        "while time.process_time() < end: pass\ntime.sleep(1)"
    )
    cells = [nbformat.v4.new_code_cell('PROFILE = "quick"', metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell(source))
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    nbformat.write(notebook, tmp_path / "short.ipynb")
    run = build.run_chapter(tmp_path / "short.ipynb", tmp_path / "out", "quick")
    assert run.error is None
    assert 1.0 < run.processor < run.seconds - 0.5
