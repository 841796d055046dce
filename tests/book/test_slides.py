"""Slides: made from the chapters by one rule, without solutions, asking no other host."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import browser
import build
import nbformat
import notebooks
import pytest
import slides
from nbformat import NotebookNode
from selenium.webdriver.support.ui import WebDriverWait

CHAPTER = build.ROOT / "book" / "01_records.ipynb"


def shown(deck: NotebookNode) -> str:
    """Return what all slides show, without the notes."""
    cells = [c.source for c in deck.cells if c.metadata.slideshow.slide_type != "notes"]
    return "\n\n".join(cells)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slides of one chapter on disk."""
    return slides.write([CHAPTER], tmp_path_factory.mktemp("slides"))[0]


@pytest.mark.parametrize("path", build.chapters(), ids=lambda path: path.stem)
def test_slides_hold_the_chapter_and_no_solution(path: Path) -> None:
    """Title, sections, figures and exercises are there; solutions, answers and code are not."""
    chapter = nbformat.read(path, as_version=4)
    deck = slides.outline(chapter)
    text = shown(deck)
    assert text.startswith(f"# {notebooks.headings(chapter)[0][1]}\n")
    sections = {title for level, title in notebooks.headings(chapter) if level == 2}
    assert {title for title in sections if f"## {title}" in text} == sections - slides.NOT_SHOWN
    figures = [cell for cell in chapter.cells if notebooks.shows_image(cell)]
    assert text.count("data:image/png") == len(figures)
    assert len(re.findall(r"^### Exercise", text, re.M)) == len(notebooks.exercises(chapter))
    for left_out in ("solution_", "checks.ex", "NotImplementedError", "<summary>", "{cite", ":::"):
        assert left_out not in text
    kinds = [cell.metadata.slideshow.slide_type for cell in deck.cells]
    assert kinds[0] == "slide" and set(kinds) == {"slide", "subslide", "notes"}
    assert ("notes", "notes") not in pairwise(kinds), "one note a slide"


def test_blocks_of_markdown() -> None:
    """Each kind of block is found, also where no empty line stands between two."""
    source = (
        "# T\nText of\ntwo lines\n$$\na\n\nb\n$$\nafter\n\n- one\n  more\n\n- two\n\nend\n\n"
        "| a |\n|---|\n![x](y.svg)\n\n"
        ":::{admonition} Q\nin\n\n<details>\nno\n</details>\n:::\n$$c$$"
    )
    kinds = "heading prose math prose list prose table image box math".split()
    found = list(slides.blocks(source))
    assert [kind for kind, _ in found] == kinds
    assert found[4][1] == "- one\n  more\n\n- two"
    assert found[8][1].endswith("</details>\n:::")


def test_slides_ask_no_other_host(page: Path, driver: browser.Driver) -> None:
    """No address of another host is loaded; the deck turns, and formulas are drawn."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href|import|url)\s*[=(]?\s*[\"'](?:https?:)?//[^\"']*", text) == []
    for log in ("browser", "performance"):
        driver.get_log(log)
    driver.get(page.as_uri())
    drawn = "return document.documentElement.dataset.formulas === 'drawn' && Reveal.isReady()"
    WebDriverWait(driver, 60).until(lambda d: d.execute_script(drawn))
    assert driver.execute_script("Reveal.next(); return Reveal.getProgress()") > 0
    assert driver.execute_script("return document.querySelectorAll('mjx-container').length") > 5
    notes = "return document.querySelectorAll('aside.notes mjx-container').length"
    assert driver.execute_script(notes) == 0, "the speaker's window could not draw them"
    broken = "return [...document.images].filter(i => !i.alt || !i.complete).length"
    assert driver.execute_script(broken) == 0
    assert browser.foreign_requests(driver) == []
    assert browser.console_errors(driver) == []
