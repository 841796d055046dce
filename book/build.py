"""Execute the chapters and build the book: ``python book/build.py --profile quick``.

The chapters listed in ``_toc.yml`` are executed by papermill into ``_build/executed``; Jupyter
Book then renders these copies, strictly, into ``_build/html``. A finished result is only ever
replaced by another finished one: whatever fails leaves the last good notebooks and pages alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
from sphinx_external_toc.parsing import parse_toc_yaml
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ("smoke", "quick", "full")
# One thread each: two notebooks that both start a thread per core are many times slower than one.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "SDL_VIDEODRIVER": "offscreen",
    "LDA_PROGRESS": "line",  # progress bars leave one line behind, not a widget
}
KERNEL = Config({"KernelManager": {"transport_encryption": "auto"}})  # else each kernel warns
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"  # the package has no __main__
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Run:
    """What became of one chapter: its name, seconds, and the error (None if it passed).

    ``processor`` counts the seconds of processor time of its kernel, which other work on the
    machine does not lengthen (0 where the system does not tell).
    """

    name: str
    seconds: float
    error: str | None
    processor: float = 0.0


def toc_files(root: Path = ROOT) -> list[str]:
    """Return the pages of ``_toc.yml`` in reading order, as written there (without suffix)."""
    return list(parse_toc_yaml(root / "_toc.yml"))


def chapters(root: Path = ROOT) -> list[Path]:
    """Return the notebooks of ``_toc.yml``; a page that is no file raises ``FileNotFoundError``."""
    found = []
    for name in toc_files(root):
        notebook = root / f"{name}.ipynb"
        if notebook.exists():
            found.append(notebook)
        elif not any((root / f"{name}{suffix}").exists() for suffix in (".md", "")):
            raise FileNotFoundError(
                f"_toc.yml lists {name!r}: no {name}.ipynb or {name}.md in {root}"
            )
    return found


def changed(notebook: Path, parameters: dict[str, str]) -> dict[str, str]:
    """Return the parameters that differ from the chapter's own values; raise on an unknown one.

    papermill would only log an unknown name. A value that is the default already is left out, so
    that the published page shows no injected cell.
    """
    declared = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise KeyError(
                f"{notebook.name}: no parameter {name!r} in its cell tagged 'parameters' ({known})"
            )
    return {
        name: value
        for name, value in parameters.items()
        if declared[name]["default"].strip("'\"") != value
    }


def strip_stamps(path: Path) -> None:
    """Remove papermill's stamps: they hold times and paths of the machine that ran the chapter."""
    notebook = nbformat.read(path, as_version=4)
    for holder in (notebook, *notebook.cells):
        holder.metadata.pop("papermill", None)
        holder.metadata.pop("execution", None)
    nbformat.write(notebook, path)


def run_chapter(notebook: Path, into: Path, profile: str) -> Run:
    """Execute one chapter in its own folder; write ``into/NAME.ipynb`` only when it passed."""
    started, before = time.perf_counter(), os.times()
    into.mkdir(parents=True, exist_ok=True)
    partial = into / f"{notebook.stem}.partial.ipynb"
    failed = into / f"{notebook.stem}.failed.ipynb"
    error = None
    try:
        parameters = changed(notebook, {"PROFILE": profile})
        papermill.execute_notebook(
            str(notebook),
            str(partial),
            parameters,
            cwd=str(notebook.parent),
            progress_bar=False,
            config=KERNEL,
        )
        strip_stamps(partial)
        os.replace(partial, into / notebook.name)
        failed.unlink(missing_ok=True)
    except Exception as exc:  # whatever a chapter raises is reported, and the other chapters run on
        error = ANSI.sub("", str(exc)).strip() or repr(exc)
        if partial.exists():
            os.replace(partial, failed)
    after = os.times()
    processor = after.children_user + after.children_system
    processor -= before.children_user + before.children_system
    return Run(notebook.stem, time.perf_counter() - started, error, processor)


def execute(notebooks: list[Path], into: Path, profile: str, jobs: int = 2) -> list[Run]:
    """Execute chapters, ``jobs`` at a time, with a line for each; return runs in book order."""
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    runs: dict[str, Run] = {}
    context = multiprocessing.get_context("spawn")  # papermill runs an event loop: do not fork one
    workers = max(1, min(jobs, len(notebooks)))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = [pool.submit(run_chapter, notebook, into, profile) for notebook in notebooks]
        of = dict(zip(waiting, notebooks, strict=True))
        for done in as_completed(waiting):
            try:
                run = done.result()
            except BrokenProcessPool as error:  # such as one killed for its memory
                run = Run(of[done].stem, 0.0, f"its process was killed: {error}")
            runs[run.name] = run
            state = "ok" if run.error is None else "FAILED"
            count = f"[{len(runs)}/{len(notebooks)}]"
            print(f"  {count} {run.name:<24} {state:<6} {run.seconds:6.1f} s", flush=True)
    return [runs[notebook.stem] for notebook in notebooks]


def same_text(executed: Path, source: Path) -> bool:
    """Return whether an executed copy was made of this chapter as it is, injected cells aside."""
    texts = [
        [
            cell.source
            for cell in nbformat.read(path, as_version=4).cells
            if "injected-parameters" not in cell.metadata.get("tags", [])
        ]
        for path in (executed, source)
    ]
    return texts[0] == texts[1]


def stage(executed: Path | None, into: Path, root: Path = ROOT) -> None:
    """Copy what Sphinx needs into an empty folder, executed chapters in place of the sources.

    A chapter that was never executed (``--only``), or was edited since, is shown with its committed
    outputs.
    """
    shutil.rmtree(into, ignore_errors=True)
    skip = shutil.ignore_patterns("*.py", "__pycache__", ".ipynb_checkpoints", ".virtual_documents")
    shutil.copytree(root / "book", into / "book", ignore=skip)
    if (examples := root / "book" / "examples").exists():  # scripts that pages show
        shutil.copytree(examples, into / "book" / "examples", dirs_exist_ok=True)
    for name in ("_config.yml", "_toc.yml", "README.md", "data/timings.csv", "data/timings.json"):
        if (root / name).exists():  # the last three are read by pages
            (into / name).parent.mkdir(exist_ok=True)
            shutil.copy2(root / name, into / name)
    if executed is not None:
        for notebook in chapters(root):
            copy = executed / notebook.name
            if copy.exists() and same_text(copy, notebook):
                shutil.copy2(copy, into / "book" / notebook.name)


def build_html(executed: Path | None, build: Path, root: Path = ROOT) -> Path:
    """Render strictly into ``build/html``; raise ``CalledProcessError`` on any warning."""
    work = build / "work"
    shutil.rmtree(work, ignore_errors=True)
    stage(executed, work / "source", root)
    jupyter_book = [sys.executable, "-c", JUPYTER_BOOK, "build", str(work / "source")]
    options = ["--path-output", str(work / "out"), *"--all -W --keep-going -n -q".split()]
    # Its own messages name the working folder; its warnings and errors come on stderr.
    subprocess.run([*jupyter_book, *options], check=True, stdout=subprocess.DEVNULL)
    html = build / "html"
    shutil.rmtree(html, ignore_errors=True)
    os.replace(work / "out" / "_build" / "html", html)
    shutil.rmtree(work)
    return html


def execute_or_report(names: list[str], into: Path, profile: str, jobs: int) -> bool:
    """Execute the named chapters (all if none is named); return whether all of them passed."""
    known = {path.stem: path for path in chapters()}
    if unknown := [name for name in names if name not in known]:
        print(f"No chapter {unknown} in _toc.yml; there are {list(known)}", file=sys.stderr)
        return False
    notebooks = [known[name] for name in names or known]
    print(f"Executing {len(notebooks)} chapters, profile {profile}, {jobs} at a time:", flush=True)
    failed = [run for run in execute(notebooks, into, profile, jobs) if run.error]
    for run in failed:
        kept = into / f"{run.name}.failed.ipynb"
        where = f"\nThe notebook up to the error: {kept}" if kept.exists() else ""
        print(f"\n{run.name} failed:\n{run.error}{where}", file=sys.stderr)
    return not failed


def arguments() -> argparse.ArgumentParser:
    """Return the command line of this script."""
    parser = argparse.ArgumentParser(description="Execute the chapters and build the book.")
    add = parser.add_argument
    add("--profile", choices=PROFILES, default="quick", help="how much each chapter computes")
    add("--no-execute", action="store_true", help="render the outputs that are committed")
    add("--only", nargs="+", default=[], metavar="NAME", help="execute only these: 01_records ...")
    add("--jobs", type=int, default=2, help="chapters executed at a time (default 2)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = arguments().parse_args(argv)
    build, started = ROOT / "_build", time.perf_counter()
    executed = None if options.no_execute else build / "executed" / options.profile
    if executed is not None and chapters():
        if not execute_or_report(options.only, executed, options.profile, options.jobs):
            return 1
    print("Building the pages ...", flush=True)
    try:
        page = build_html(executed, build) / "book" / "00_preface.html"
    except subprocess.CalledProcessError:
        print("The pages were not built: each warning above is an error.", file=sys.stderr)
        return 1
    print(f"Done in {time.perf_counter() - started:.0f} s. Open {page.as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
