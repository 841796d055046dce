"""Lake figures and the scrubber: they draw what they are given and refuse what cannot be shown."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt
from ipywidgets.widgets.widget import _instances
from ipywidgets.widgets.widget_link import Link
from matplotlib.quiver import Quiver

from lda_lib import PPO
from lda_lib.plots import lake_arrows, lake_records
from lda_lib.widgets import MOST_BYTES, picture, scrubber, switchboard


def arrows(ax: plt.Axes) -> tuple[np.ndarray, np.ndarray]:
    """Where the drawn arrows begin and how they go."""
    drawn = [child for child in ax.get_children() if isinstance(child, Quiver)]
    start = np.concatenate([q.get_offsets() for q in drawn])
    return start, np.concatenate([np.stack([q.U, q.V], 1) for q in drawn])


def test_four_arrows_on_each_tile_of_ice() -> None:
    _, go = arrows(lake_arrows(np.full((16, 4), 0.25), plt.subplots()[1], full=1.0))
    assert len(go) == 4 * 11  # four holes and the goal have none
    assert np.allclose(np.abs(go).sum(1), 0.1)
    plt.close("all")


def test_a_negative_change_points_inwards() -> None:
    change = np.zeros((16, 4))
    change[0, 2], change[0, 3] = 1.0, -1.0  # right more, up less
    start, go = arrows(lake_arrows(change, plt.subplots()[1], signed=True))
    long = np.abs(go).sum(1) > 0.1
    right, up = (np.abs(go[:, 0]) > 0.1) & long, (np.abs(go[:, 1]) > 0.1) & long
    assert go[right][0, 0] > 0 and start[right][0, 0] > 0  # outwards, to the right
    assert go[up][0, 1] > 0 and start[up][0, 1] < 0  # from the upper edge down (y points down)
    plt.close("all")


def test_records_of_both_lakes_are_drawn() -> None:
    for task in ("FrozenLake", "FrozenLakeSlippery8x8"):
        rollout = PPO(task, seed=0, n_steps=16, batch_size=16).collect()
        ax = lake_records(rollout[rollout.episode == 0], plt.subplots()[1], title="first")
        assert ax.get_title() == "first"
    plt.close("all")


def test_scrubber_holds_its_frames_and_is_linked() -> None:
    figures = [plt.subplots(figsize=(2, 2))[0] for _ in range(3)]
    box = scrubber(figures, ["a", "b", "c"], ["<one>", "two", "three"], name="round")
    slider, stack = box.children
    assert (slider.description, slider.max, len(stack.children)) == ("round", 2, 3)
    assert 'alt="&lt;one&gt;"' in stack.children[0].value
    assert "data:image/png;base64," in stack.children[2].value
    assert not plt.get_fignums()


def test_scrubber_refuses_what_a_page_cannot_carry() -> None:
    frame = picture(plt.subplots(figsize=(1, 1))[0])
    assert frame.startswith(b"\x89PNG") and len(frame) < 5_000
    with pytest.raises(ValueError, match="frames: 13"):
        scrubber([frame] * 13, ["x"] * 13, ["x"] * 13, name="n")
    with pytest.raises(ValueError, match="alts"):
        scrubber([frame] * 2, ["x"] * 2, ["x", " "], name="n")
    with pytest.raises(ValueError, match="labels"):
        scrubber([frame] * 2, ["x"], ["x"] * 2, name="n")
    with pytest.raises(ValueError, match="largest"):
        scrubber([frame, b"0" * (MOST_BYTES + 1)], ["x"] * 2, ["x"] * 2, name="n")


def test_switchboard_links_the_slider_to_every_row_and_the_dropdown_to_the_rows() -> None:
    frame = picture(plt.subplots(figsize=(1, 1))[0])
    texts = {"a": ["a0", "a1", "a2"], "b": ["b0", "b1", "b2"]}
    frames = {row: [frame] * 3 for row in texts}
    board = switchboard(frames, texts, texts, choice="target", name="round")
    dropdown, slider, stack = board.children
    assert (dropdown.description, dropdown.options) == ("target", ("a", "b"))
    assert (slider.description, slider.max) == ("round", 2)
    assert [len(row.children) for row in stack.children] == [3, 3]
    assert 'alt="b2"' in stack.children[1].children[2].value
    linked = {
        (link.source[0].model_id, link.target[0].model_id)
        for link in _instances.values()
        if isinstance(link, Link)
    }
    assert {(slider.model_id, row.model_id) for row in stack.children} <= linked
    assert (dropdown.model_id, stack.model_id) in linked


def test_switchboard_refuses_rows_that_do_not_fit() -> None:
    frame = picture(plt.subplots(figsize=(1, 1))[0])
    two, three = ["x", "y"], ["x", "y", "z"]

    def build(frames: dict, labels: dict, alts: dict) -> None:
        switchboard(frames, labels, alts, choice="target", name="round")

    good = {"a": two, "b": two}
    with pytest.raises(ValueError, match="frames: rows of lengths"):
        build({"a": [frame] * 2, "b": [frame] * 3}, {"a": two, "b": three}, good)
    with pytest.raises(ValueError, match="two or more"):
        build({"a": [frame] * 2}, {"a": two}, {"a": two})
    with pytest.raises(ValueError, match="alts: for"):
        build({"a": [frame] * 2, "b": [frame] * 2}, good, {"a": two})
    with pytest.raises(ValueError, match="labels: expected one text"):
        build({"a": [frame] * 2, "b": [frame] * 2}, {"a": two, "b": three}, good)
