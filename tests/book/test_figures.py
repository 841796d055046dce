"""What the chapter tests look for in a figure is noticed when it is there."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import matplotlib.pyplot as plt
import notebooks
from PIL import Image

from lda_lib.plots import COLOURS


def png(image: Image.Image) -> str:
    raw = BytesIO()
    image.save(raw, "PNG")
    return b64encode(raw.getvalue()).decode()


def test_a_line_lost_to_too_few_colours_is_noticed() -> None:
    figure, ax = plt.subplots()
    for k, colour in enumerate(COLOURS[:4]):
        ax.plot([0, 1], [k, k], color=colour, lw=3)
    raw = BytesIO()
    figure.savefig(raw, dpi=80)
    plt.close(figure)
    drawn = Image.open(raw).convert("RGB")
    assert notebooks.lost_colours(png(drawn.quantize(64)), png(drawn)) == []
    pale = drawn.copy()
    pale.paste((252, 252, 252), (0, 0, drawn.width, drawn.height // 2))  # the upper lines gone
    assert set(notebooks.lost_colours(png(pale), png(drawn))) == set(COLOURS[2:4])
