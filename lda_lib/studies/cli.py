"""`python -m lda_lib study ...`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
import pandas as pd

from ..files import write_whole
from ..results import source_hashes
from . import STUDIES
from .paper import compare
from .run import BACKENDS, run_study
from .store import Store
from .study import PROFILES, Study


def _seeds(_: click.Context, __: click.Parameter, text: str | None) -> list[int] | None:
    """Turn "0-4,7" into [0, 1, 2, 3, 4, 7]."""
    if text is None:
        return None
    try:
        bounds = [[int(x) for x in part.split("-")] for part in text.split(",")]
        if any(len(b) > 2 or b[0] > b[-1] for b in bounds):
            raise ValueError(text)
        return [s for b in bounds for s in range(b[0], b[-1] + 1)]
    except ValueError as error:
        raise click.BadParameter(f"{text!r}, expected numbers and ranges such as 0-4,7") from error


def _words(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")


name = click.argument("name", type=click.Choice(list(STUDIES)))
profile = click.option("--profile", type=click.Choice(PROFILES), default="full", show_default=True)


@click.group()
def study() -> None:
    """The experiments of the book: list, run, status, table, figure."""


@study.command("list")
def list_() -> None:
    """The studies, what they ask and how many trials they have."""
    for one in STUDIES.values():
        click.echo(f"{one.name}: {one.question} ({len(one.trials())} trials)")


@study.command()
@name
@profile
@click.option("--seeds", callback=_seeds, help="Only these, such as 0-4,7.")
@click.option("--tasks", callback=_words, help="Only these, such as FrozenLake,Acrobot.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True)
@click.option("--backend", type=click.Choice(BACKENDS), default="local", show_default=True)
@click.option("--address", help="Head of the Ray cluster, such as 10.0.0.1:6379.")
def run(name: str, **options: Any) -> None:
    """Run what is missing of a study; a killed one goes on where it stopped."""
    rows = run_study(STUDIES[name], say=click.echo, **options)
    click.echo(f"{Store(name, options['profile']).table}: {len(rows)} rows")


@study.command()
@name
@profile
def status(name: str, profile: str) -> None:
    """What is finished, what is missing, and by which sources it was made."""
    store, one = Store(name, profile), STUDIES[name]
    found, damaged = store.finished()
    trials = one.trials(profile)
    done = [found[t.key] for t in trials if t.key in found]
    click.echo(f"{name}: {len(done)} of {len(trials)} trials finished ({profile})")
    for task, count in Counter(t.task for t in trials if t.key not in found).items():
        click.echo(f"  missing: {count} of {task}")
    seconds = sum(f.provenance["seconds"] for f in done)
    click.echo(f"  {seconds / 3600:.2f} core-hours so far")
    again = {f"{t.key}.json" for t in trials if t.key not in found}
    for file in damaged:
        click.echo(
            f"  cannot be read: {file} ({'will run again' if file in again else 'left aside'})"
        )
    makers = Counter(tuple(sorted(f.provenance["sources"].items())) for f in done)
    now = source_hashes(*one.folders, "studies")
    for sources, count in makers.items():
        changed = [m for m, digest in sources if now.get(m) != digest]
        since = f"sources changed since: {', '.join(changed)}" if changed else "by these sources"
        click.echo(f"  {count} trials {since}")
    if len(makers) > 1:
        click.echo("  MIXED: these trials were not all made by the same sources")


@study.command()
@name
@profile
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write.")
def table(name: str, profile: str, out: Path | None) -> None:
    """The study's table, from the finished trials; nothing is run."""
    _show(STUDIES[name].table(_rows(STUDIES[name], profile)), out)


@study.command()
@name
@profile
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG or SVG to write.")
def figure(name: str, profile: str, out: Path) -> None:
    """The study's figure, from the finished trials; nothing is run."""
    drawn = STUDIES[name].figure(_rows(STUDIES[name], profile))
    kind = out.suffix.removeprefix(".") or "png"
    write_whole(out, lambda path: drawn.savefig(path, format=kind))
    click.echo(f"wrote {out}")


@study.command()
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write.")
def paper(out: Path | None) -> None:
    """Each number of the paper beside ours, with a verdict by rule; nothing is run."""
    _show(compare(), out)


def _show(result: pd.DataFrame, out: Path | None) -> None:
    if out is not None:
        write_whole(out, lambda path: result.to_csv(path, index=False))
    with pd.option_context("display.width", 200, "display.max_columns", 60):
        click.echo(result.round(2).to_string(index=False))


def _rows(one: Study, profile: str) -> pd.DataFrame:
    return Store(one.name, profile).rows({t.key for t in one.trials(profile)})
