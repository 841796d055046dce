"""Renew the outputs committed with chapters: ``python book/outputs.py 10_iif 15_luck``.

Each chapter is executed as it stands. A cell's outputs are taken over where its text or its figures
changed, so that a commit shows what did and no more. Figures are stored with few colours, as a
chapter stays under 500 kB, and with so many that no line of the book's colours is lost. A cell that
raises keeps its old outputs and is named: where a number changed, an assert says which sentence to
write anew.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
from build import KERNEL, ROOT, SETTINGS, chapters
from matplotlib.colors import to_rgb
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from lda_lib.plots import COLOURS

TIMES = re.compile(r"\b(done|loaded|computed) in \d|\d (s|ms|µs) ±")  # differ from run to run
WIDGET = "application/vnd.jupyter.widget-view+json"
KINDS = ("text/html", "text/markdown", "text/plain")
FEW = (32, 64, 128, 256)  # colours of a stored figure


def _image(png: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(png))).convert("RGBA").convert("RGB")


def figures(outputs: list[NotebookNode]) -> list[str]:
    """Return the images among a cell's outputs, each the base64 of a PNG."""
    return [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]


def text(outputs: list[NotebookNode]) -> list[str]:
    """Return the lines that a cell's outputs show as text, without those that give times."""
    bundles = [out.get("data", {}) for out in outputs if "image/png" not in out.get("data", {})]
    shown = [str(out.get("text", "")) for out in outputs]
    shown += [str(data.get(kind, "")) for data in bundles for kind in KINDS]
    return [line for line in "\n".join(shown).splitlines() if line and not TIMES.search(line)]


def same_figure(one: str, other: str) -> bool:
    """Return whether two figures look alike: one may have fewer colours."""
    a, b = _image(one), _image(other)
    if a.size != b.size:
        return False
    away = np.abs(np.asarray(a, int) - np.asarray(b, int)).max(axis=-1)
    return float((away > 48).mean()) < 5e-4


def lost_colours(shown: str, drawn: str) -> list[str]:
    """Return the book's colours that the figure as drawn has, and the figure as shown has not.

    A figure that was stored with too few colours loses whole lines, each to a neighbour's colour.
    """
    book = 255 * np.array([to_rgb(colour) for colour in COLOURS])

    def shares(png: str, near: float) -> np.ndarray:
        found, count = np.unique(np.asarray(_image(png)).reshape(-1, 3), axis=0, return_counts=True)
        away = np.linalg.norm(found[:, None] - book, axis=-1)
        own = (away == away.min(axis=1, keepdims=True)) & (away < near)
        return count @ own / count.sum()

    there = shares(drawn, 12)
    gone = (there > 2e-4) & (shares(shown, 60) < there / 4)
    return [colour for colour, missing in zip(COLOURS, gone, strict=True) if missing]


def stored(drawn: str) -> str:
    """Return a figure with the fewest colours of FEW that keep every line."""
    for colours in FEW:
        raw = BytesIO()
        few = _image(drawn).quantize(colours, method=Image.Quantize.MAXCOVERAGE)
        few.save(raw, "PNG", optimize=True)
        smaller = b64encode(raw.getvalue()).decode()
        if not lost_colours(smaller, drawn):
            return smaller
    return drawn


def renew(old: NotebookNode, new: NotebookNode) -> tuple[list[int], list[int]]:
    """Take over the changed outputs of an executed copy of a notebook.

    Outputs with a widget stay: no page can show one without its state.

    Returns:
        The positions of cells whose outputs changed, and of those that raised an error.
    """
    taken, broken = [], []
    for k, (cell, run) in enumerate(zip(old.cells, new.cells, strict=True)):
        if cell.cell_type != "code":
            continue
        if any(out.output_type == "error" for out in run.outputs):
            broken.append(k)
            continue
        if any(WIDGET in out.get("data", {}) for out in [*cell.outputs, *run.outputs]):
            continue
        was, now = figures(cell.outputs), figures(run.outputs)
        alike = len(was) == len(now) and all(map(same_figure, was, now))
        if alike and text(cell.outputs) == text(run.outputs):
            continue
        for out in run.outputs:
            if "image/png" in out.get("data", {}):
                out.data["image/png"] = stored(out.data["image/png"])
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
        taken.append(k)
    return taken, broken


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 1 if a cell raised an error."""
    known = {path.stem: path for path in chapters(ROOT)}
    parser = argparse.ArgumentParser(description="Renew the outputs committed with chapters.")
    parser.add_argument("chapters", nargs="+", choices=list(known), metavar="NAME")
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    status = 0
    for name in parser.parse_args(argv).chapters:
        path: Path = known[name]
        old, new = (nbformat.read(path, as_version=4) for _ in range(2))
        where = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(new, timeout=600, allow_errors=True, resources=where, config=KERNEL)
        client.execute()
        taken, broken = renew(old, new)
        nbformat.write(old, path)
        print(f"{name}: new outputs in cells {taken}, {path.stat().st_size // 1000} kB", flush=True)
        for k in broken:
            error = next(out for out in new.cells[k].outputs if out.output_type == "error")
            print(f"  cell {k} raised {error.ename}: {error.evalue}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
