"""What the chapter tests read from a notebook: pure functions on its cells."""

from __future__ import annotations

import re

from nbformat import NotebookNode

FENCE = re.compile(r"^(```|~~~|:::).*?^\1", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#{1,6}) +(.+?) *#* *$", re.MULTILINE)
EXERCISE = re.compile(r"Exercise (\d+)\.(\d+)")


def tags(cell: NotebookNode) -> list[str]:
    """Return a cell's tags."""
    return list(cell.metadata.get("tags", []))


def titles(cell: NotebookNode) -> list[tuple[int, str]]:
    """Return (level, text) of a Markdown cell's headings in order, fenced blocks left out."""
    source = FENCE.sub("", cell.source) if cell.cell_type == "markdown" else ""
    return [(len(marks), title) for marks, title in HEADING.findall(source)]


def headings(notebook: NotebookNode) -> list[tuple[int, str]]:
    """Return (level, text) of all headings of a notebook in order."""
    return [heading for cell in notebook.cells for heading in titles(cell)]


def shows_image(cell: NotebookNode) -> bool:
    """Return whether a code cell has an image among its outputs."""
    data = (output.get("data", {}) for output in cell.get("outputs", []))
    return any(kind.startswith("image/") for bundle in data for kind in bundle)


def described(cell: NotebookNode) -> list[str]:
    """Return what a figure cell lacks: a caption, a name, an alternative text, one output.

    Each output would become a figure of that name, and the strict build refuses the second.
    """
    meta = cell.metadata.get("mystnb", {})
    figure, image = meta.get("figure", {}), meta.get("image", {})
    wanted = {
        "mystnb.figure.caption": figure.get("caption"),
        "mystnb.figure.name": figure.get("name"),
        "mystnb.image.alt": image.get("alt"),
    }
    shown = [o for o in cell.outputs if o.output_type in ("display_data", "execute_result")]
    wanted["one output"] = len(shown) == 1 or None
    return [name for name, value in wanted.items() if not str(value or "").strip()]


def figures(notebook: NotebookNode) -> dict[str, str]:
    """Return the image, base64 of a PNG, of each cell that shows one, by the cell's id."""
    return {
        cell.id: output.data["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }


def exercises(notebook: NotebookNode) -> list[tuple[str, str, list[NotebookNode]]]:
    """Return (chapter, number, cells) of each exercise.

    Its cells reach from its heading to the next heading of the same or a higher level.
    """
    found: list[tuple[str, str, list[NotebookNode]]] = []
    level = 0  # of the exercise that is open; 0: none
    for cell in notebook.cells:
        for depth, title in titles(cell):
            named = EXERCISE.match(title)
            level = depth if named else 0 if depth <= level else level
            if named:
                found.append((named.group(1), named.group(2), []))
        if level:
            found[-1][2].append(cell)
    return found


def is_solution(cell: NotebookNode, number: str) -> bool:
    """Return whether a cell is the folded solution of exercise ``number`` ("3.2")."""
    meta = cell.metadata
    return (
        {"solution", "hide-cell"} <= set(tags(cell))
        and meta.get("jupyter", {}).get("source_hidden") is True
        and meta.get("mystnb", {}).get("code_prompt_show") == f"Show solution {number}"
    )
