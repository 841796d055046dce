"""Slides from the chapters: ``python book/slides.py`` (or ``make slides``).

Nobody marks cells by hand. One rule reads every notebook: headings begin slides; formulas, tables,
figures, lists, exercises, summaries and questions are shown; prose and answers become the speaker's
notes (key S); code and solutions are left out. nbconvert's slides exporter does the rest, with a
template that asks no other host. Results are those committed with the chapters.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
from build import ROOT, chapters
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from pybtex.database import parse_file

HERE = Path(__file__).resolve().parent / "slides"
FENCES = (  # kind, first line, last line
    ("box", re.compile(r":{3,}\{"), re.compile(r":{3,}\s*$")),
    ("code", re.compile(r"```"), re.compile(r"```\s*$")),
    ("answer", re.compile(r"<details>"), re.compile(r".*</details>\s*$")),
    ("math", re.compile(r"\$\$"), re.compile(r".*\$\$\s*$")),
)
LINES = (
    ("heading", re.compile(r"#{1,4} ")),
    ("image", re.compile(r"!\[")),
    ("table", re.compile(r"\|")),
    ("list", re.compile(r"- |\d+\. ")),
)
NOT_SHOWN = {"Next", "References"}  # sections
IN_FULL = {"Exercises", "What you can now do"}  # sections whose prose is shown
PROGRESS = re.compile(r"\b(done|loaded|computed) in \d")


@dataclass
class Slide:
    """What one slide shows and what its speaker reads, both as Markdown."""

    kind: str  # "slide" begins a column, "subslide" goes on in it
    shown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    full: bool = False  # holds a figure or table


@cache
def _authors() -> dict[str, tuple[str, str]]:
    """Return (names, year) of each reference by its key."""
    found = {}
    for key, entry in parse_file(str(ROOT / "book" / "references.bib")).entries.items():
        last = [" ".join(person.last_names) for person in entry.persons.get("author", [])]
        names = " and ".join(last) if len(last) < 3 else f"{last[0]} et al."
        found[key] = names, entry.fields.get("year", "")
    return found


def _cited(match: re.Match[str]) -> str:
    pairs = [_authors()[key.strip()] for key in match[2].split(",")]
    if match[1] == "t":
        return ", ".join(f"{names} ({year})" for names, year in pairs)
    return "(" + "; ".join(f"{names}, {year}" for names, year in pairs) + ")"


def plain(text: str) -> str:
    """Return Markdown without what only Sphinx understands: citations and links between pages."""
    text = re.sub(r"\{cite:([tp])\}`([^`]+)`", _cited, text)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!figures/)[^)]*\)", r"\1", text)


def blocks(source: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of the blocks of a Markdown cell in order."""
    kind, held, close = "", list[str](), None

    def taken() -> Iterator[tuple[str, str]]:
        if text := "\n".join(held).strip():
            yield kind, text
        held.clear()

    for line in source.splitlines():
        if close is None:
            fence = next((f for f in FENCES if f[1].match(line)), None)
            said = next((k for k, first in LINES if first.match(line)), "prose")
            goes_on = said == kind != "heading" or (kind == "list" and line.startswith(" "))
            if fence or (line.strip() and not goes_on) or (not line.strip() and kind != "list"):
                yield from taken()
                kind, close = (fence[0], fence[2]) if fence else (said, None)
        held.append(line)
        if close and close.match(line) and (len(held) > 1 or len(line.strip()) > 4):
            close = None
            yield from taken()
    yield from taken()


class Outline:
    """Collects slides while it reads a chapter from top to bottom."""

    def __init__(self) -> None:
        self.slides: list[Slide] = []
        self.section = ""

    def begin(self, kind: str, *shown: str) -> None:
        """Begin a slide; a figure or table goes on the slide that is open where there is room."""
        if kind == "figure":
            slide = self.slides[-1]
            if slide.full or sum(map(len, slide.shown)) > 300:
                slide = Slide("subslide", [f'<p class="where">{html.escape(self.section)}</p>'])
                self.slides.append(slide)
            slide.shown += shown
            slide.full = True
        else:
            self.slides.append(Slide(kind, list(shown)))

    def show(self, text: str) -> None:
        """Add to the slide that is open."""
        self.slides[-1].shown.append(text)

    def note(self, text: str) -> None:
        """Add to the speaker's notes of the slide that is open."""
        self.slides[-1].notes.append(text)

    def heading(self, text: str) -> None:
        """Begin a slide with a heading."""
        marks, title = text.split(" ", 1)
        if len(marks) <= 2:
            self.section = title
        self.begin("slide" if len(marks) <= 2 else "subslide", text)

    def box(self, text: str) -> None:
        """Show a box: its title and what is in it; the answer to a question goes to the notes."""
        head, *body = text.splitlines()[:-1]
        title = re.sub(r"^:+\{\w+\} *", "", head)
        inner = "\n".join(line for line in body if not re.match(r":\w+:", line))
        if ":class: card-box" in body:
            return self.note(inner)
        answer = re.search(r"<details>.*?</details>", inner, re.DOTALL)
        self.begin(
            "subslide",
            f"### {title or 'Warning'}",
            inner.replace(answer[0], "") if answer else inner,
        )
        if answer:
            self.answer(answer[0])

    def answer(self, text: str) -> None:
        """Note an answer that the page has folded."""
        self.note(re.sub(r"</?details>|<summary>.*?</summary>", "", text).strip())

    def prose(self, text: str) -> None:
        """Show the promise, questions, captions of images and tasks; note everything else."""
        slide = self.slides[-1]
        after_image = slide.shown[-1].startswith("![") and text.startswith("*")
        if text.startswith("**Check yourself.**"):
            self.begin("subslide", "### Check yourself", text.removeprefix("**Check yourself.**"))
        elif text == "**After this chapter you can**":
            self.begin("subslide", "### After this chapter you can")
        elif after_image or slide.shown[-1].startswith("# ") or self.section in IN_FULL:
            self.show(text)
        else:
            self.note(text)

    def markdown(self, source: str) -> None:
        """Read a Markdown cell."""
        for kind, text in blocks(plain(source)):
            if kind == "heading":
                self.heading(text)
            elif kind in ("box", "answer", "prose"):
                getattr(self, kind)(text)
            elif not text.startswith("```{"):  # a directive: it shows a file
                self.show(text)

    def output(self, output: NotebookNode, cell: NotebookNode) -> None:
        """Show a figure, a table, a computed sentence or a printed line; widgets are left out."""
        data = output.get("data", {})
        meta = cell.metadata.get("mystnb", {})
        if "application/vnd.jupyter.widget-view+json" in data:
            return
        if "image/png" in data:
            alt = html.escape(meta.get("image", {}).get("alt", ""))
            caption = html.escape(meta.get("figure", {}).get("caption", ""))
            source = data["image/png"].replace("\n", "")
            image = f'<img alt="{alt}" src="data:image/png;base64,{source}">'
            self.begin("figure", f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
        elif "text/html" in data:
            table = re.sub(r"<style scoped>.*?</style>", "", data["text/html"], flags=re.DOTALL)
            self.begin("figure", re.sub(r"\n\s*\n", "\n", table))
        elif "text/markdown" in data:
            sentence = plain(data["text/markdown"])
            if len(sentence) < 80:  # it names what follows
                self.begin("figure")
                self.slides[-1].full = False
            self.show(sentence)
        elif output.get("name") == "stdout" and not PROGRESS.search(output.text):
            self.show(f"<pre>{html.escape(output.text.strip())}</pre>".replace("\n\n", "\n \n"))


def outline(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook of Markdown cells, marked as slides and notes, from a chapter."""
    read = Outline()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            read.markdown(cell.source)
        elif read.section not in IN_FULL:
            for output in cell.outputs:
                read.output(output, cell)
    cells, dropped = [], False
    for slide in read.slides:
        dropped = slide.shown[0].lstrip("# ") in NOT_SHOWN if slide.kind == "slide" else dropped
        for kind, texts in ((slide.kind, slide.shown), ("notes", slide.notes)):
            if texts and not dropped:
                cells.append(nbformat.v4.new_markdown_cell("\n\n".join(texts)))
                cells[-1].metadata["slideshow"] = {"slide_type": kind}
    title = read.slides[0].shown[0].removeprefix("# ")
    return nbformat.v4.new_notebook(cells=cells, metadata={"title": title})


def write(notebooks: list[Path], into: Path) -> list[Path]:
    """Write the slides of chapters, an index and what they need; return their paths."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(ROOT / "book" / "figures", into / "figures")
    shutil.copytree(HERE / "reveal", into / "assets")
    shutil.copy2(HERE / "slides.css", into / "assets")
    shutil.copytree(ROOT / "book" / "_static" / "vendor" / "mathjax", into / "assets" / "mathjax")
    exporter = SlidesExporter(
        template_name="slides",
        extra_template_basedirs=[str(HERE.parent)],
        exclude_anchor_links=True,
    )
    written, links = [], []
    for path in notebooks:
        slides = outline(nbformat.read(path, as_version=4))
        text, _ = exporter.from_notebook_node(slides)
        written.append(into / f"{path.stem}.slides.html")
        written[-1].write_text(text, encoding="utf-8")
        links.append(
            f'<li><a href="{written[-1].name}">{html.escape(slides.metadata.title)}</a></li>'
        )
    head = (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Slides</title><h1>Slides</h1>'
    )
    (into / "index.html").write_text(f"{head}<ol>{''.join(links)}</ol>", encoding="utf-8")
    return written


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Write slides of the chapters.")
    parser.add_argument("only", nargs="*", metavar="NAME", help="only these: 01_records ...")
    names = parser.parse_args(argv).only
    known = {path.stem: path for path in chapters()}
    if unknown := [name for name in names if name not in known]:
        print(f"No chapter {unknown} in _toc.yml; there are {list(known)}", file=sys.stderr)
        return 1
    into = ROOT / "_build" / "slides"
    write([known[name] for name in names or known], into)
    print(f"Open {(into / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
