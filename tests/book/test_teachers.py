"""The teachers' guide has a plan for every chapter, and its marks are those of the exercises."""

from __future__ import annotations

import re
from pathlib import Path

import build
import nbformat
import notebooks
import pytest

from lda_lib import checks

GUIDE = (Path(build.__file__).parent / "teachers.md").read_text(encoding="utf-8")
PARTS = ["Aims", "Board plan", "Usual errors", "Discussion", "Marks"]
SECTIONS = {
    int(number): body
    for number, body in re.findall(
        r"^## Chapter (\d+): .+?$(.+?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL
    )
}


def test_every_exercise_it_names_exists() -> None:
    """Names in backticks are those of `lda_lib.checks`, each in its own chapter's section."""
    assert set(re.findall(r"\bex\d+_\d+", GUIDE)) <= set(checks.__all__)
    for number, body in SECTIONS.items():
        assert {int(n) for n in re.findall(r"\bex(\d+)_", body)} == {number}


@pytest.mark.parametrize("path", build.chapters(), ids=lambda path: path.stem)
def test_every_chapter_has_its_plan(path: Path) -> None:
    """Five headings; every exercise has its marks: its minutes, or ten where it is open."""
    body = SECTIONS[int(path.stem[:2])]
    found = re.findall(r"^(\w[\w ]*)\n: +(.+?)(?=^\w|\Z)", body, re.MULTILINE | re.DOTALL)
    assert [term for term, _ in found] == PARTS
    given = {name: int(m) for name, m in re.findall(r"`(ex\d+_\d+)`\s+(\d+)", dict(found)["Marks"])}
    wanted = {}
    for chapter, k, cells in notebooks.exercises(nbformat.read(path, as_version=4)):
        kind, minutes = re.findall(r"\((core|stretch|open), (\d+) min", cells[0].source)[0]
        wanted[f"ex{int(chapter):02d}_{k}"] = 10 if kind == "open" else int(minutes)
    assert given == wanted
