"""Widgets that live without a kernel: everything they show is inside the page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

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
    stack = widgets.Stack(pages, selected_index=0)
    slider = widgets.IntSlider(
        min=0,
        max=len(files) - 1,
        description=name,
        style={"description_width": "initial"},
        layout={"width": "100%", "max_width": "26rem"},
    )
    widgets.jslink((slider, "value"), (stack, "selected_index"))
    return widgets.VBox([slider, stack])
