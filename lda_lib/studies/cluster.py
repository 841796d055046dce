"""The same study on many machines: each trial a Ray task, its result sent back to the runner."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .run import MOST_KILLS, Finished, run_trial
from .study import Study, Trial


def on_cluster(
    study: Study, trials: list[Trial], address: str | None = None
) -> Iterator[tuple[Trial, Finished | str]]:
    """Run trials as tasks of one core on a Ray cluster; yield each as it ends.

    A task whose node or process dies is started again elsewhere, up to `MOST_KILLS` times. Tasks
    write no files: what they return goes to this process.

    Args:
        study: whose trials; workers need the same version of `lda_lib` installed.
        trials: which.
        address: of the cluster's head, such as "10.0.0.1:6379"; None starts Ray on this machine, or
            joins the Ray that the program has started.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: no cluster answers at `address`.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError as error:
        raise ImportError("backend: 'ray' needs Ray, pip install 'lda-lib[cluster]'") from error

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    single = {"env_vars": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}}
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, runtime_env=single, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(num_cpus=1, max_retries=MOST_KILLS)(run_trial)
        shared = ray.put(study)
        waiting = {task.remote(shared, trial): trial for trial in trials}
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            trial = waiting.pop(ready)
            try:
                yield trial, ray.get(ready)[1]
            except RayError as error:
                yield trial, f"its process or node was lost again and again: {error}"
    finally:
        if started:
            ray.shutdown()
