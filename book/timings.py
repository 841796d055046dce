"""How long the chapters take to run: ``python book/timings.py``, on a machine left alone.

Each chapter is executed from the start of its kernel to its end, one at a time, and the table of
the page "Timings" is written, with its provenance. With names, only those are measured anew.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

import build
import pandas as pd

from lda_lib.results import DATA, load_or_run

TABLE = DATA / "timings.csv"
PROFILE = "quick"  # what readers run


def processor() -> str:
    """Return what the processor calls itself, how many cores it has, and the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = named[0] if named else platform.processor() or "unknown"
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def measure(names: list[str]) -> pd.DataFrame:
    """Execute chapters and return the table, a row for each of the book; empty: not measured.

    Raises:
        RuntimeError: a chapter failed.
    """
    notebooks = {path.stem: path for path in build.chapters()}
    known = pd.read_csv(TABLE, index_col="chapter") if TABLE.exists() and names else None
    with tempfile.TemporaryDirectory() as folder:
        chosen = [notebooks[name] for name in names or notebooks]
        runs = build.execute(chosen, Path(folder), PROFILE, jobs=1)
    if failed := [run.name for run in runs if run.error]:
        raise RuntimeError(f"these chapters failed, nothing was written: {failed}")
    table = pd.DataFrame(
        {
            "chapter": [run.name for run in runs],
            "seconds": [round(run.seconds, 1) for run in runs],
            "processor seconds": [round(run.processor, 1) for run in runs],
        }
    ).set_index("chapter")
    table = table if known is None else table.combine_first(known)
    return table.reindex(list(notebooks)).reset_index()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure how long the chapters take.")
    parser.add_argument("only", nargs="*", metavar="NAME", help="only these: 01_records ...")
    names = parser.parse_args(argv).only
    known = [path.stem for path in build.chapters()]
    if unknown := [name for name in names if name not in known]:
        print(f"No chapter {unknown} in _toc.yml; there are {known}", file=sys.stderr)
        return 1
    table = load_or_run(
        "timings",
        lambda: measure(names),
        settings={
            "profile": PROFILE,
            "chapters at a time": 1,
            "processor": processor(),
            "measured in the last run": names or known,
        },
        rerun=True,
        command="python book/timings.py",
        needs=("papermill", "jupyterlab"),
    )
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
