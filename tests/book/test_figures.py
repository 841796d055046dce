"""What the committed outputs of chapters are renewed by: only changes, and no line lost."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import matplotlib.pyplot as plt
import outputs
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lda_lib.plots import COLOURS


def png(image: Image.Image) -> str:
    raw = BytesIO()
    image.save(raw, "PNG")
    return b64encode(raw.getvalue()).decode()


@pytest.fixture(scope="module")
def drawn() -> Image.Image:
    """A figure with four lines."""
    figure, ax = plt.subplots()
    for k, colour in enumerate(COLOURS[:4]):
        ax.plot([0, 1], [k, k], color=colour, lw=3)
    raw = BytesIO()
    figure.savefig(raw, dpi=80)
    plt.close(figure)
    return Image.open(raw).convert("RGB")


def test_a_line_lost_to_too_few_colours_is_noticed(drawn: Image.Image) -> None:
    assert outputs.lost_colours(png(drawn.quantize(64)), png(drawn)) == []
    pale = drawn.copy()
    pale.paste((252, 252, 252), (0, 0, drawn.width, drawn.height // 2))  # the upper lines gone
    assert set(outputs.lost_colours(png(pale), png(drawn))) == set(COLOURS[2:4])


def test_a_stored_figure_is_smaller_and_looks_the_same(drawn: Image.Image) -> None:
    noisy = drawn.resize((1200, 900), Image.Resampling.BICUBIC)  # in-between colours cost bytes
    small = outputs.stored(png(noisy))
    assert len(small) < len(png(noisy))
    assert outputs.same_figure(small, png(noisy))
    assert not outputs.same_figure(small, png(noisy.rotate(180)))


def notebook(*shown: NotebookNode) -> NotebookNode:
    """A notebook with a note and a code cell for each output."""
    cells = [new_code_cell(str(k), outputs=[out]) for k, out in enumerate(shown)]
    return new_notebook(cells=[new_markdown_cell("a note"), *cells])


def stream(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def test_only_what_changed_is_taken(drawn: Image.Image) -> None:
    def figure(image: Image.Image) -> NotebookNode:
        return new_output("display_data", {"image/png": png(image), "text/plain": "<Figure>"})

    widget = new_output("display_data", {outputs.WIDGET: {}, "text/plain": "a slider"})
    few, turned = drawn.quantize(64), drawn.rotate(180)

    def markdown(text: str) -> NotebookNode:
        return new_output("display_data", {"text/markdown": text, "text/plain": "<Markdown>"})

    old = notebook(
        markdown("1"), stream("a\ndone in 1.0 s"), figure(few), figure(few), widget, stream("old")
    )
    new = notebook(
        markdown("2"),
        stream("a\ndone in 2.0 s"),
        figure(drawn),
        figure(turned),
        stream("no widget"),
        new_output("error", ename="AssertionError", evalue="", traceback=[]),
    )
    taken, broken = outputs.renew(old, new)
    assert (taken, broken) == ([1, 4], [6])
    assert old.cells[1].outputs[0].data["text/markdown"] == "2"
    assert old.cells[2].outputs[0].text == "a\ndone in 1.0 s"
    assert outputs.same_figure(old.cells[4].outputs[0].data["image/png"], png(turned))
    assert "a slider" in old.cells[5].outputs[0].data["text/plain"]
    assert old.cells[6].outputs[0].text == "old"
