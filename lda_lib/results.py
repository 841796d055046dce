"""Results on disk: tables with their provenance, loaded or made again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from .files import write_whole

DATA = Path(__file__).resolve().parent.parent / "data"
# The modules that do not decide what a run computes: a change in them leaves results valid.
ASIDE = set("__init__ __main__ _version checkpoint cli files metrics plots progress".split())
ASIDE |= {"cost", "explorer", "results", "widgets"}
_ASIDE_IN_FOLDERS = {"__init__", "bench", "checkpoint", "cli"}
PACKAGES = ("torch", "gymnasium", "numpy", "pandas")


def load_or_run(
    name: str,
    run: Callable[[], pd.DataFrame],
    *,
    settings: dict[str, Any],
    rerun: bool = False,
    command: str = "",
    folder: Path = DATA,
    folders: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Return the table `name`, from disk if it is there, and say where it came from.

    Made anew, the table is written to `folder/name.csv` and its provenance to `folder/name.json`:
    settings, command, versions, commit, hashes of the sources and of the table, seconds, machine,
    date.

    Args:
        name: path below `folder` without suffix, such as "iif_live/frozenlake".
        run: makes the table; called only where there is none, or to `rerun`.
        settings: what the table depends on (seeds, rounds, arms), as plain JSON values.
        rerun: make the table again.
        command: how to make the table again from a shell, for the provenance.
        folder: where tables lie.
        folders: parts of the package beside its own modules that decide what the table holds, such
            as "rlhf".
        needs: distributions beside the usual ones whose versions belong to the provenance.

    Raises:
        ValueError: the table on disk was made with other settings, or is not the one that its
            provenance describes.
    """
    table, about = folder / f"{name}.csv", folder / f"{name}.json"
    settings = json.loads(json.dumps(settings))
    if table.exists() and not rerun:
        started = time.perf_counter()
        rows, told = _load(table, about, settings)
        print(f"{name}: loaded in {time.perf_counter() - started:.2f} s\n  {describe(told)}")
        return rows
    print(f"{name}: computing ...", flush=True)
    before, started = source_hashes(*folders), time.perf_counter()
    rows = run()
    told = {
        "settings": settings,
        "command": command,
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in (*PACKAGES, *needs)},
        "commit": commit(),
        "sources": before,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": f"{os.cpu_count()} cores {platform.machine().replace('_', '-')}, "
        f"{platform.system()}",
        "date": datetime.now(UTC).date().isoformat(),
        "rows": len(rows),
    }
    write_whole(table, lambda path: rows.to_csv(path, index=False, lineterminator="\n"))
    told["sha256"] = _sha256(table)
    text = json.dumps(told, indent=1) + "\n"
    write_whole(about, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"{name}: computed in {told['seconds']} s\n  {describe(told)}")
    return pd.read_csv(table)  # what a later reader gets, digit for digit


def describe(provenance: dict[str, Any]) -> str:
    """Provenance in two lines, with the sources that have changed since."""
    folders = {name.split("/")[0] for name in provenance["sources"] if "/" in name}
    now = source_hashes(*folders)
    changed = [name for name, known in provenance["sources"].items() if now.get(name) != known]
    since = "by these very sources"
    if changed:
        some = ", ".join(changed) if len(changed) < 4 else f"{len(changed)} modules"
        since = f"since then changed: {some}"
    return (
        f"{provenance['rows']} rows, made {provenance['date']} in {provenance['seconds']:.0f} s on "
        f"{provenance['machine']}\n  commit {provenance['commit'] or 'unknown'}, {since}"
    )


def source_hashes(*folders: str, studies: Iterable[str] = ()) -> dict[str, str]:
    """First digits of the sha256 of each module that decides what a run computes.

    Args:
        folders: parts of the package, such as "rlhf", whose modules count too.
        studies: modules of `lda_lib.studies` that count too.
    """
    here = Path(__file__).parent
    found = {p.stem: p for p in sorted(here.glob("*.py")) if p.stem not in ASIDE}
    for folder in folders:
        modules = sorted((here / folder).glob("*.py"))
        found |= {f"{folder}/{p.stem}": p for p in modules if p.stem not in _ASIDE_IN_FOLDERS}
    found |= {f"studies/{name}": here / "studies" / f"{name}.py" for name in studies}
    return {name: _sha256(path)[:12] for name, path in found.items()}


def _load(table: Path, about: Path, settings: dict) -> tuple[pd.DataFrame, dict[str, Any]]:
    if not about.exists():
        raise ValueError(f"name: {table.name} has no {about.name} beside it to say how it was made")
    told = json.loads(about.read_text(encoding="utf-8"))
    if told["sha256"] != _sha256(table):
        raise ValueError(f"name: {table.name} is not the table that {about.name} describes")
    if other := sorted(
        key for key in settings | told["settings"] if settings.get(key) != told["settings"].get(key)
    ):
        raise ValueError(
            f"settings: {table.name} was made with other {other}: "
            f"{ {key: told['settings'].get(key) for key in other} }, asked for "
            f"{ {key: settings.get(key) for key in other} }; pass rerun=True to make it again"
        )
    return pd.read_csv(table), told


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def commit() -> str:
    """Short hash of the commit checked out, with a + where the package differs from it."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".")  # untracked modules count
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        print("commit: unknown, this is no git checkout", file=sys.stderr)
        return ""
