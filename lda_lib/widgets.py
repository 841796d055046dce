"""Widgets that live without a kernel: everything they show is inside the page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

MOST_FRAMES = 12
MOST_BYTES = 60_000  # of one frame


def picture(figure: Figure, dpi: int = 90, colours: int = 64) -> bytes:
    """A figure as a small PNG; the figure is closed."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi)
    plt.close(figure)
    image = Image.open(raw).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def scrubber(
    frames: Sequence[Figure | bytes], labels: Sequence[str], alts: Sequence[str], name: str
) -> widgets.VBox:
    """A slider that leafs through pictures, on a published page too.

    Args:
        frames: figures (they are closed) or PNG files as bytes, at most 12 of at most 60 kB.
        labels: a line under each frame.
        alts: what each frame shows, for those who cannot see it.
        name: of the slider; it counts from 0.

    Raises:
        ValueError: too many frames, one too large, or not one label and one text for each.
    """
    stack = _stack(frames, labels, alts)
    slider = _slider(name, len(stack.children))
    widgets.jslink((slider, "value"), (stack, "selected_index"))
    return widgets.VBox([slider, stack])


def switchboard(
    frames: Mapping[str, Sequence[Figure | bytes]],
    labels: Mapping[str, Sequence[str]],
    alts: Mapping[str, Sequence[str]],
    *,
    choice: str,
    name: str,
) -> widgets.VBox:
    """Two controls: a dropdown that chooses a row of pictures, a slider that leafs through it.

    The slider keeps its place when the row changes, so that two rows can be compared frame by
    frame.

    Args:
        frames: row -> its frames, as for `scrubber`; all rows of equal length.
        labels: row -> a line under each frame.
        alts: row -> what each frame shows.
        choice: name of the dropdown.
        name: of the slider; it counts from 0.

    Raises:
        ValueError: fewer than two rows, rows of unequal length, labels or texts for other rows, or
            frames that `scrubber` would refuse.
    """
    lengths = {row: len(pictures) for row, pictures in frames.items()}
    if len(lengths) < 2 or len(set(lengths.values())) != 1:
        raise ValueError(f"frames: rows of lengths {lengths}, expected two or more of equal length")
    for what, texts in (("labels", labels), ("alts", alts)):
        if set(texts) != set(frames):
            raise ValueError(f"{what}: for {sorted(texts)}, expected {sorted(frames)}")
    rows = [_stack(frames[row], labels[row], alts[row]) for row in frames]
    slider = _slider(name, len(rows[0].children))
    for row in rows:
        widgets.jslink((slider, "value"), (row, "selected_index"))
    dropdown = widgets.Dropdown(
        options=list(frames),
        description=choice,
        style={"description_width": "initial"},
        layout={"width": "max-content", "max_width": "100%"},
    )
    stack = widgets.Stack(rows, selected_index=0)
    widgets.jslink((dropdown, "index"), (stack, "selected_index"))
    return widgets.VBox([dropdown, slider, stack])


def _stack(
    frames: Sequence[Figure | bytes], labels: Sequence[str], alts: Sequence[str]
) -> widgets.Stack:
    """The frames with their labels, one of them shown; see `scrubber`."""
    if not 2 <= len(frames) <= MOST_FRAMES:
        raise ValueError(f"frames: {len(frames)}, expected 2 to {MOST_FRAMES}")
    for what, texts in (("labels", labels), ("alts", alts)):
        if len(texts) != len(frames) or not all(text.strip() for text in texts):
            raise ValueError(f"{what}: expected one text for each of the {len(frames)} frames")
    files = [picture(f) if isinstance(f, Figure) else f for f in frames]
    if (largest := max(map(len, files))) > MOST_BYTES:
        raise ValueError(f"frames: the largest has {largest} bytes, expected up to {MOST_BYTES}")
    pages = [
        widgets.HTML(
            f'<img alt="{html.escape(alt)}" style="max-width: 100%; height: auto" '
            f'src="data:image/png;base64,{base64.b64encode(file).decode()}">'
            f"<div>{html.escape(label)}</div>"
        )
        for file, label, alt in zip(files, labels, alts, strict=True)
    ]
    return widgets.Stack(pages, selected_index=0)


def _slider(name: str, frames: int) -> widgets.IntSlider:
    return widgets.IntSlider(
        min=0,
        max=frames - 1,
        description=name,
        style={"description_width": "initial"},
        layout={"width": "100%", "max_width": "26rem"},
    )
