"""Each chapter of ``_toc.yml`` runs, and is written as the reader and the build expect it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import build
import nbformat
import notebooks
import outputs
import papermill
import pytest

CHAPTERS = build.chapters()
pytestmark = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    """Return a notebook as committed."""
    return nbformat.read(path, as_version=4)


def test_smoke_run_passes(path: Path, smoke_runs: dict[str, build.Run]) -> None:
    """Every chapter runs through in its smallest size."""
    assert smoke_runs[path.stem].error is None, smoke_runs[path.stem].error


def test_runs_anywhere_and_stays_light(path: Path) -> None:
    """A kernelspec that everyone has, no widget state, no papermill stamps, under 500 kB."""
    notebook = read(path)
    assert notebook.metadata.get("kernelspec", {}).get("name") == "python3"
    assert "widgets" not in notebook.metadata, "widget state is committed: strip it"
    assert "papermill" not in notebook.metadata, "commit the source, not papermill's copy"
    assert path.stat().st_size < 500_000
    nbformat.validate(notebook)


def test_parameters(path: Path) -> None:
    """One cell tagged ``parameters``, with a PROFILE whose default is what readers run."""
    tagged = [cell for cell in read(path).cells if "parameters" in notebooks.tags(cell)]
    assert len(tagged) == 1
    declared = papermill.inspect_notebook(str(path))
    assert declared["PROFILE"]["default"].strip("'\"") == "quick"
    assert all(value["help"] for value in declared.values()), "explain each parameter in a comment"


def test_headings_in_order(path: Path) -> None:
    """One title first, and no level skipped: what a screen reader navigates by."""
    levels = [level for level, _ in notebooks.headings(read(path))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels)), notebooks.headings(
        read(path)
    )


def test_figures_are_described(path: Path, smoke_executed: Path) -> None:
    """Each cell that shows an image carries caption, name and alternative text."""
    executed = smoke_executed / path.name
    cells = read(executed).cells if executed.exists() else []
    figures = [cell for cell in (*read(path).cells, *cells) if notebooks.shows_image(cell)]
    missing = {cell.source[:60]: lack for cell in figures if (lack := notebooks.described(cell))}
    assert not missing


def test_figures_keep_their_colours(path: Path, smoke_executed: Path) -> None:
    """No line of a figure is lost to how the committed notebook stores it."""
    executed = smoke_executed / path.name
    drawn = notebooks.figures(read(executed)) if executed.exists() else {}
    shown = notebooks.figures(read(path))
    lost = {key: outputs.lost_colours(shown[key], drawn[key]) for key in shown.keys() & drawn}
    assert not {key: colours for key, colours in lost.items() if colours}


def test_numbers_in_exercises(path: Path) -> None:
    """Exercises carry the chapter's number and count from 1."""
    found = [(int(n), int(k)) for n, k, _ in notebooks.exercises(read(path))]
    assert len(found) >= 3
    assert found == [(int(path.stem[:2]), k + 1) for k in range(len(found))]


def test_the_card_adds_up(path: Path) -> None:
    """The card promises at most 45 minutes, and the minutes of the core exercises as they are."""
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    card = re.search(
        r"\*\*Time:\*\* (\d+) minutes to read, (\d+) for the (\w+) core exercises", text
    )
    assert card, "the card says: N minutes to read, M for the three core exercises"
    core = [
        int(minutes) for minutes in re.findall(r"^### Exercise .*\(core, (\d+) minutes", text, re.M)
    ]
    assert int(card.group(1)) <= 45
    assert abs(sum(core) - int(card.group(2))) <= 3
    assert card.group(3) == {2: "two", 3: "three", 4: "four"}[len(core)]


def test_exercises_are_complete(path: Path) -> None:
    """Each exercise has a stub, a check and a folded solution, in this order."""
    for chapter, number, cells in notebooks.exercises(read(path)):
        name = f"{chapter}.{number}"
        code = [cell for cell in cells if cell.cell_type == "code"]
        call = re.compile(rf"\bex{int(chapter):02d}_{number}\(")
        solutions = [k for k, cell in enumerate(code) if notebooks.is_solution(cell, name)]
        plain = [(k, cell.source) for k, cell in enumerate(code) if k not in solutions]
        stubs = [k for k, source in plain if "raise NotImplementedError" in source]
        checks = [k for k, source in plain if call.search(source)]
        assert len(solutions) == 1, f"Exercise {name}: one folded solution cell, see the metadata"
        assert stubs, f"Exercise {name}: a stub that raises NotImplementedError"
        assert checks, f"Exercise {name}: a cell that calls checks.ex{int(chapter):02d}_{number}"
        assert stubs[0] <= checks[0] < solutions[0], f"Exercise {name}: stub, check, solution"
