"""Running a study: trials in processes of their own, each kept as it ends."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import version

import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

from ..results import PACKAGES, commit, source_hashes
from .store import Finished, Store
from .study import Study, Trial

MOST_RESTARTS = 3  # of the processes, without a single trial finished in between
BACKENDS = ("local", "ray")

Results = Iterable[tuple[Trial, "Finished | str"]]  # as they end; an error is its text


class Failed(RuntimeError):
    """Some trials ended with an error; the others are kept."""


def run_study(
    study: Study,
    *,
    profile: str = "full",
    seeds: list[int] | None = None,
    tasks: list[str] | None = None,
    jobs: int = 2,
    backend: str = "local",
    address: str | None = None,
    store: Store | None = None,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Run what is missing of a study and merge it.

    Args:
        study: which.
        profile: "smoke", "quick" or "full".
        seeds: only these.
        tasks: only these.
        jobs: processes on this machine, each with one torch thread.
        backend: "local" (joblib) or "ray", where the cluster decides how many run at once.
        address: of the Ray cluster's head; see `cluster.on_cluster`.
        store: where the files lie; the project's folders by default.
        say: what to do with messages.

    Returns:
        The rows of the trials asked for.

    Raises:
        Busy: another runner works on the study.
        Failed: trials ended with an error, which is said; all others were run and kept.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: {backend!r}, expected one of {BACKENDS}")
    store = store or Store(study.name, profile)
    with store.lock():
        found, damaged = store.finished()
        for name in damaged:
            say(f"{name}: cannot be read (a write was cut short?), the trial runs again")
        trials = study.trials(profile, seeds, tasks)
        for other in study.borrows:
            lent = replace(store, name=other).finished()[0]
            for key in {t.key for t in study.trials(profile)} & set(lent) - set(found):
                found[key] = lent[key]
                store.write(lent[key])
        missing = [t for t in trials if t.key not in found]
        say(f"{study.name}: {len(trials)} trials, {len(trials) - len(missing)} finished before")
        try:
            if backend == "ray":
                from .cluster import on_cluster

                ended: Results = on_cluster(study, missing, address)
            else:
                ended = _in_processes(study, missing, jobs, say)
            errors = _keep_all(study.name, missing, ended, store, list(found.values()))
        finally:  # an interrupted run leaves its table complete as far as it came
            store.merge(t.key for t in study.trials(profile))
    for key, error in errors.items():
        say(f"{key} failed:\n{error}")
    if errors:
        raise Failed(f"study: {len(errors)} of {len(trials)} trials of {study.name!r} failed")
    return store.rows(t.key for t in trials)


def _keep_all(
    name: str,
    missing: list[Trial],
    ended: Results,
    store: Store,
    known: list[Finished],
) -> dict[str, str]:
    """Keep each trial as it ends; return the errors by key."""
    left = {t.key: t for t in missing}
    errors: dict[str, str] = {}
    started, spent = time.perf_counter(), 0.0
    quiet = not missing or os.environ.get("LDA_PROGRESS") == "none"
    with tqdm(total=len(missing), desc=name, disable=quiet) as bar:
        for trial, result in ended:
            del left[trial.key]
            if isinstance(result, str):
                errors[trial.key] = result
            else:
                store.write(result)
                known.append(result)
                spent += result.provenance["seconds"]
            bar.update()
            if spent:  # the more run at once, on whatever machines, the less is left to wait for
                at_once = spent / (time.perf_counter() - started)
                bar.set_postfix_str(f"about {_estimate(known, left) / at_once / 60:.0f} min left")
    return errors


def _in_processes(
    study: Study, trials: list[Trial], jobs: int, say: Callable[[str], None]
) -> Results:
    """Run trials in processes of this machine; those of a process that was killed run again."""
    left = {t.key: t for t in trials}
    restarts = 0
    while left and restarts <= MOST_RESTARTS:
        work = (delayed(run_trial)(study, trial) for trial in list(left.values()))
        try:
            for trial, result in Parallel(jobs, return_as="generator_unordered", batch_size=1)(
                work
            ):
                del left[trial.key]
                restarts = 0
                yield trial, result
        except TerminatedWorkerError:
            restarts += 1
            say("a process was killed: its trials run again, nothing finished is lost")
    for trial in left.values():
        yield trial, "its process was killed again and again"


def run_trial(study: Study, trial: Trial) -> tuple[Trial, Finished | str]:
    """Run one trial, in the process it is called in; an error comes back as its text."""
    started, sources = time.perf_counter(), source_hashes(*study.folders)
    try:
        rows = study.run(trial)
    except Exception:
        return trial, traceback.format_exc()
    for place, name in enumerate(("task", "arm", "seed")):
        rows.insert(place, name, getattr(trial, name))
    provenance = {
        "seconds": round(time.perf_counter() - started, 2),
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in (*PACKAGES, *study.needs)},
        "commit": commit(),
        "sources": sources,
        "machine": f"{os.cpu_count()} cores {platform.machine().replace('_', '-')}, "
        f"{platform.system()}",
    }
    return trial, Finished(trial, provenance, rows)


def _estimate(known: list[Finished], left: dict[str, Trial]) -> float:
    """Seconds of trials to go: what the same task took, or any task where it is not known yet."""
    spent = pd.Series(
        [f.provenance["seconds"] for f in known], index=[f.trial.task for f in known], dtype=float
    )
    by_task, overall = spent.groupby(level=0).mean(), spent.mean() if len(spent) else 0.0
    return sum(by_task.get(t.task, overall) for t in left.values())
