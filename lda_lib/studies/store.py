"""Finished trials on disk: one file each as they end, and one table per study to commit.

    runs/studies/PROFILE/NAME/KEY.json  a trial: settings, provenance, rows; written whole
    data/results/NAME.csv.gz            the rows of all finished trials of the full profile
    data/results/NAME.json              their provenance, what trials share of it told once

A trial that a study has from another stays in the other's table, and `borrowed` in the JSON names
it there. A trial counts as finished if it stands in either place, so that a clone, which has only
the tables, resumes too. The tables of the other profiles lie beside their trials. Only clock times
are rounded, to a tenth of a millisecond: where curves saturate, SE_ave counts levels that differ in
the last digits.
"""

from __future__ import annotations

import fcntl
import gzip
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import write_whole
from ..results import DATA
from .study import Trial

RUNS = DATA.parent / "runs" / "studies"


class Busy(RuntimeError):
    """Another runner works on the study."""


@dataclass(frozen=True)
class Finished:
    """A finished trial: what it was, how it was made, what came out."""

    trial: Trial
    provenance: dict[str, Any]
    rows: pd.DataFrame


@dataclass(frozen=True)
class Store:
    """The files of one study."""

    name: str
    profile: str = "full"
    data: Path = DATA / "results"
    runs: Path = RUNS

    @property
    def folder(self) -> Path:
        """Where single trials lie."""
        return self.runs / self.profile / self.name

    @property
    def table(self) -> Path:
        """The merged rows."""
        where = self.data if self.profile == "full" else self.folder.parent
        return where / f"{self.name}.csv.gz"

    @property
    def about(self) -> Path:
        """The merged provenance."""
        return self.table.with_name(f"{self.name}.json")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for one runner. The system frees the lock of a runner that was killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(f"study: another runner works on {self.name!r}") from error
            yield

    def write(self, finished: Finished) -> None:
        """Keep a trial; its file appears whole or not at all."""
        text = json.dumps(
            {
                "trial": asdict(finished.trial),
                "provenance": finished.provenance,
                "rows": finished.rows.to_csv(index=False),
            }
        )
        path = self.folder / f"{finished.trial.key}.json"
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def finished(self) -> tuple[dict[str, Finished], list[str]]:
        """All finished trials by key, and the names of trials' files that cannot be read.

        Raises:
            ValueError: the merged table or its provenance cannot be read.
        """
        found = self._merged()
        damaged = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                rows = pd.read_csv(StringIO(told["rows"]))
                found[path.stem] = Finished(Trial(**told["trial"]), told["provenance"], rows)
            except (ValueError, KeyError, TypeError):
                damaged.append(path.name)
        return found, damaged

    def _merged(self, only: Collection[str] | None = None) -> dict[str, Finished]:
        """The trials of the table and those that others lend, who may have them from others too.

        Args:
            only: their keys, if not all are wanted.
        """
        if not (self.table.exists() and self.about.exists()):
            return {}
        with _readable(self.about):
            told = json.loads(self.about.read_text(encoding="utf-8"))
            own = {
                key: (
                    Trial(**one["trial"]),
                    told["origins"][one["origin"]] | {"seconds": one["seconds"]},
                )
                for key, one in told["trials"].items()
                if only is None or key in only
            }
            borrowed = {
                name: {key for key in keys if only is None or key in only}
                for name, keys in told.get("borrowed", {}).items()
            }
        with _readable(self.table):
            rows = pd.read_csv(self.table)
            rows = rows[rows.trial.isin(own)]
            by_key = dict(tuple(rows.drop(columns="trial").groupby(rows.trial)))
        found = {
            key: Finished(*about, by_key[key].reset_index(drop=True))
            for key, about in own.items()
            if key in by_key
        }
        for name, keys in borrowed.items():
            found |= replace(self, name=name)._merged(keys)
        return found

    def rows(self, keys: Iterable[str]) -> pd.DataFrame:
        """The rows of those of the trials `keys` that are finished, with their trial's key."""
        found, _ = self.finished()
        mine = [found[k] for k in sorted(keys) if k in found]
        if not mine:
            raise ValueError(f"study: {self.name!r} has no finished trial; run it first")
        return together(mine)

    def merge(self, keys: Iterable[str], lenders: Iterable[str] = ()) -> None:
        """Write table and provenance of those of the trials `keys` that are finished, if any.

        Args:
            keys: of trials.
            lenders: other studies; what they have is named and not written again.
        """
        found, _ = self.finished()
        keys = sorted(set(keys) & set(found))
        if not keys:
            return
        own, borrowed = set(keys), {}
        for name in lenders:
            if theirs := sorted(set(replace(self, name=name)._merged(own))):
                borrowed[name] = theirs
                own -= set(theirs)
        rows = together([found[k] for k in keys])
        rows = rows[rows.trial.isin(own)]
        clocks = rows.columns[rows.columns.str.startswith("seconds")]
        rows[clocks] = rows[clocks].round(4)
        text = rows.to_csv(index=False, lineterminator="\n")
        packed = gzip.compress(text.encode(), mtime=0)  # the same rows give the same file
        write_whole(self.table, lambda path: path.write_bytes(packed))
        told = _told_once([found[k] for k in sorted(own)])
        told = {"study": self.name, **told} | ({"borrowed": borrowed} if borrowed else {})
        text = json.dumps(told, indent=1)
        write_whole(self.about, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def together(finished: list[Finished]) -> pd.DataFrame:
    """The rows of all trials, with their trial's key."""
    return pd.concat([f.rows.assign(trial=f.trial.key) for f in finished], ignore_index=True)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise ValueError(
            f"study: {file} cannot be read ({error}); bring it back, as with git checkout"
        ) from error


def _told_once(finished: list[Finished]) -> dict[str, Any]:
    """Trials by key, and the origins they point to: provenance but for the seconds, each once."""
    origins: list[dict[str, Any]] = []
    trials = {}
    for one in finished:
        origin = {k: v for k, v in one.provenance.items() if k != "seconds"}
        if origin not in origins:
            origins.append(origin)
        trials[one.trial.key] = {
            "trial": asdict(one.trial),
            "seconds": one.provenance["seconds"],
            "origin": origins.index(origin),
        }
    return {"origins": origins, "trials": trials}
