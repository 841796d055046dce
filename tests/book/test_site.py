"""The built site as files, without a browser: links, order, downloads and weight."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import build
import nbformat
import pytest
import yaml

PAGES = [*build.toc_files(), "search", "genindex", "index"]
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)  # another scheme or host
MB = 1_000_000


class Page(HTMLParser):
    """The anchors of a page, and what it links to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, names, href and src."""
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        self.targets += [found[name] for name in ("href", "src") if name in found]


@cache
def read(path: Path) -> Page:
    """Return a page, parsed once."""
    return Page(path.read_text(encoding="utf-8"))


def html(site: Path, name: str) -> str:
    """Return a page of ``_toc.yml`` as text."""
    return (site / f"{name}.html").read_text(encoding="utf-8")


def leads_nowhere(page: Path, target: str) -> bool:
    """Return whether a link from ``page`` misses: no such file, or no such anchor in it."""
    if ELSEWHERE.match(target):
        return False
    name, _, anchor = unquote(target).partition("#")
    file = page.parent / name.partition("?")[0] if name else page
    if not file.exists():
        return True
    return bool(anchor) and file.suffix == ".html" and anchor not in read(file.resolve()).anchors


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    """Every link and every loaded file of every page exists, with the anchor that is named."""
    missing = {
        name: lost
        for name in PAGES
        if (
            lost := sorted(
                {
                    target
                    for target in read((site / f"{name}.html").resolve()).targets
                    if leads_nowhere((site / f"{name}.html").resolve(), target)
                }
            )
        )
    }
    assert missing == {}


def test_next_follows_the_reading_order(site: Path) -> None:
    """From page to page as `_toc.yml` has them, forwards and back."""
    turns = re.compile(r'<a class="(left-prev|right-next)"\s+href="([^"]+)"')
    for before, after in pairwise(build.toc_files()):
        forwards, back = (dict(turns.findall(html(site, name))) for name in (before, after))
        assert forwards["right-next"] == f"{Path(after).name}.html"
        assert back["left-prev"] == f"{Path(before).name}.html"


def test_chapters_are_found_by_their_number() -> None:
    """The text says "chapter 7"; the list of chapters must say which one that is."""
    toc = yaml.safe_load((build.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    shown = {
        page["file"]: page.get("title", "") for part in toc["parts"] for page in part["chapters"]
    }
    for path in build.chapters():
        number, title = shown[f"book/{path.stem}"].split(". ", 1)
        assert number == str(int(path.stem[:2]))
        assert f"# {title}\n" in nbformat.read(path, as_version=4).cells[0].source + "\n"


def test_each_chapter_can_be_downloaded(site: Path) -> None:
    """Its page links to its notebook, and the file is there."""
    for path in build.chapters():
        targets = read((site / f"book/{path.stem}.html").resolve()).targets
        assert f"../_sources/book/{path.name}" in targets
        assert (site / "_sources" / "book" / path.name).exists()


def test_the_site_is_light(site: Path) -> None:
    """No page over 4 MB, all files together under 60 MB."""
    heavy = {
        name: size for name in PAGES if (size := (site / f"{name}.html").stat().st_size) > 4 * MB
    }
    assert heavy == {}
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 60 * MB


@pytest.mark.parametrize(
    ("target", "lost"),
    [
        ("b.html#here", False),
        ("b.html#there", True),
        ("b.html?q=1", False),
        ("c.html", True),
        ("#top", False),
        ("#nowhere", True),
        ("https://example.org/x", False),
        ("data:,x", False),
    ],
)
def test_a_dead_link_is_noticed(tmp_path: Path, target: str, lost: bool) -> None:
    """The check above fails where it should: a missing file, a missing anchor."""
    (tmp_path / "a.html").write_text('<h1 id="top">a</h1>', encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="here">b</p>', encoding="utf-8")
    assert leads_nowhere(tmp_path / "a.html", target) is lost


def test_an_executed_copy_of_an_older_text_is_not_shown(tmp_path: Path) -> None:
    """Only what was made of the chapter as it stands; parameters may be injected."""
    source = build.chapters()[0]
    notebook = nbformat.read(source, as_version=4)
    stamp = nbformat.v4.new_code_cell(
        'PROFILE = "smoke"', metadata={"tags": ["injected-parameters"]}
    )
    notebook.cells.insert(3, stamp)
    nbformat.write(notebook, tmp_path / source.name)
    assert build.same_text(tmp_path / source.name, source)
    notebook.cells[0].source += " and more"
    nbformat.write(notebook, tmp_path / source.name)
    assert not build.same_text(tmp_path / source.name, source)
    build.stage(tmp_path, tmp_path / "staged")
    shown = nbformat.read(tmp_path / "staged" / "book" / source.name, as_version=4)
    assert shown.cells[0].source == nbformat.read(source, as_version=4).cells[0].source


def test_signatures_are_for_people(site: Path) -> None:
    """An alias stays an alias: numpy's ArrayLike is a page of private names when written out."""
    page = html(site, "book/api")
    assert "ArrayLike" in page and "_NestedSequence" not in page
