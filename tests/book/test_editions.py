"""The student edition: every exercise, no solution."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import build
import nbformat
import notebooks
import pytest

ROOT = Path(build.__file__).parent.parent


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_students_get_stubs_and_checks_but_no_solutions() -> None:
    """One command strips what is tagged as a solution and leaves all else as it is."""
    done = subprocess.run(
        ["make", "-s", "student"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for path in build.chapters():
        full = nbformat.read(path, as_version=4)
        copy = nbformat.read(ROOT / "_build" / "student" / path.name, as_version=4)
        left = [cell.source for cell in copy.cells]
        assert left == [c.source for c in full.cells if "solution" not in notebooks.tags(c)]
        assert not [source for source in left if "def solution_" in source]
        assert len(notebooks.exercises(copy)) == len(notebooks.exercises(full)) > 0
