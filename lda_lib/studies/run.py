"""Running a study: trials in processes of their own, each kept as it ends."""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import packages_distributions, version

import gymnasium as gym
import pandas as pd
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

from ..results import PACKAGES, commit, source_hashes
from ..tasks import TASKS
from .store import Finished, Store
from .study import Study, Trial

MOST_KILLS = 3  # of the process of one trial
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
        jobs: processes on this machine, each with one thread; 1: this one.
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
        trials = study.trials(profile, seeds, tasks)
        for other in study.borrows:
            lent = replace(store, name=other).finished()[0]
            for key in {t.key for t in study.trials(profile)} & set(lent) - set(found):
                found[key] = lent[key]
                store.write(lent[key])
        missing = [t for t in trials if t.key not in found]
        again = {f"{t.key}.json" for t in missing}
        for name in damaged:
            fate = "the trial runs again" if name in again else "it is left aside"
            say(f"{name}: cannot be read (a write was cut short?), {fate}")
        say(f"{study.name}: {len(trials)} trials, {len(trials) - len(missing)} finished before")
        try:
            if backend == "ray":
                from .cluster import on_cluster

                ended: Results = on_cluster(study, missing, address)
            else:
                ended = _in_processes(study, missing, jobs, say)
            errors = _keep_all(study.name, missing, ended, store, list(found.values()))
        finally:  # an interrupted run leaves its table complete as far as it came
            store.merge((t.key for t in study.trials(profile)), study.borrows)
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
    """Run trials in processes of this machine, or in this one where `jobs` is 1.

    Each process has a pool of its own, so that one that is killed costs its own trial only; that
    runs again, and is given up after `MOST_KILLS`.
    """
    if jobs == 1:
        yield from (run_trial(study, trial) for trial in trials)
        return
    waiting, kills = deque(trials), Counter[str]()
    pools = [_process() for _ in range(min(jobs, len(trials)))]
    running: dict[Future, tuple[int, Trial]] = {}

    def go_on(slot: int) -> None:
        if not waiting:
            return
        trial = waiting.popleft()
        try:
            future = pools[slot].submit(run_trial, study, trial)
        except TerminatedWorkerError:  # killed between two trials, which costs none
            pools[slot] = _process()
            future = pools[slot].submit(run_trial, study, trial)
        running[future] = slot, trial

    try:
        for slot in range(len(pools)):
            go_on(slot)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, trial = running.pop(future)
                try:
                    result = future.result()
                except TerminatedWorkerError:
                    pools[slot] = _process()
                    kills[trial.key] += 1
                    if kills[trial.key] < MOST_KILLS:
                        say(f"{trial.key}: its process was killed; it runs again, no other is lost")
                        waiting.append(trial)
                        go_on(slot)
                        continue
                    result = trial, f"its process was killed {MOST_KILLS} times"
                go_on(slot)
                yield result
    finally:
        for pool in pools:
            pool.shutdown(wait=False, kill_workers=True)


def _process() -> ProcessPoolExecutor:
    """One process with one thread."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return ProcessPoolExecutor(1, env=dict.fromkeys(names, "1"))


def run_trial(study: Study, trial: Trial) -> tuple[Trial, Finished | str]:
    """Run one trial, in the process it is called in; an error comes back as its text."""
    started, (sources, made_at) = time.perf_counter(), _origin(study)
    try:
        rows = study.run(trial)
    except Exception:
        return trial, traceback.format_exc()
    for place, name in enumerate(("task", "arm", "seed")):
        rows.insert(place, name, getattr(trial, name))
    provenance = {
        "seconds": round(time.perf_counter() - started, 2),
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in (*PACKAGES, *study.needs, *_world(trial.task))},
        "commit": made_at,
        "sources": sources,
        "machine": f"{os.cpu_count()} cores {platform.machine().replace('_', '-')}, "
        f"{platform.system()}",
    }
    return trial, Finished(trial, provenance, rows)


def _origin(study: Study) -> tuple[dict[str, str], str]:
    """Hashes of the sources and the commit, as this process found them when it first asked.

    A process goes on with the modules that it has imported, whatever becomes of the files.
    """
    run = study.run.func if isinstance(study.run, partial) else study.run
    home = sys.modules.get(run.__module__)  # none where a function travelled without its module
    names = vars(home).values() if home else ()
    used = {run.__module__} | {getattr(x, "__module__", "") for x in names}
    ours = f"{__package__}."
    modules = {m.removeprefix(ours) for m in used if isinstance(m, str) and m.startswith(ours)}
    return _found(study.folders, tuple(sorted(modules - _ENGINE)))


_ENGINE = {"study", "store", "run", "reading"}  # how trials are kept, not what they compute


@cache
def _found(folders: tuple[str, ...], studies: tuple[str, ...]) -> tuple[dict[str, str], str]:
    return source_hashes(*folders, studies=studies), commit()


def _world(task: str) -> list[str]:
    """The distributions, beside gymnasium, that a task's environment comes from."""
    known = TASKS.get(task)
    if known is None or known.env_id is None:
        return []
    entry = str(gym.spec(known.env_id).entry_point) if known.env_id in gym.registry else ""
    module = known.module or ("Box2D" if "box2d" in entry else "")
    module = "ale_py" if known.env_id.startswith("ALE/") else module.split(".")[0]
    return sorted(set(packages_distributions().get(module, [])))


def _estimate(known: list[Finished], left: dict[str, Trial]) -> float:
    """Seconds of trials to go: what the same task took, or any task where it is not known yet."""
    spent = pd.Series(
        [f.provenance["seconds"] for f in known], index=[f.trial.task for f in known], dtype=float
    )
    by_task, overall = spent.groupby(level=0).mean(), spent.mean() if len(spent) else 0.0
    return sum(by_task.get(t.task, overall) for t in left.values())
