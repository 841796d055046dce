"""A study on a Ray cluster: several nodes on this machine, one of them lost on the way."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest

from lda_lib.studies import Study, Trial
from lda_lib.studies.run import run_study
from lda_lib.studies.store import Store

from .test_studies import make_study

os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine takes its time
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def make_training(folder: Path) -> Study:
    """Six short trainings that say where they ran."""

    def run(trial: Trial) -> pd.DataFrame:
        import ray

        from lda_lib import PPO

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"
        (folder / f"{trial.key}-{node}-{time.time_ns()}").touch()
        agent = PPO(trial.task, seed=trial.seed, n_steps=256, compile=False)
        history = agent.learn(2, progress=False)
        time.sleep(1.5)  # long enough to be interrupted
        return history[["round", "return_mean", "kept"]]

    grid = [Trial("FrozenLake", "PPO", s) for s in range(6)]
    return replace(make_study(folder), name="training", grid=lambda profile: grid, run=run)


def test_a_lost_node_costs_nothing_and_changes_nothing(tmp_path, cluster):
    size = {"num_cpus": 1, "object_store_memory": 80_000_000}
    doomed, _ = cluster.add_node(**size), cluster.add_node(**size)
    ray.init(address=cluster.address, log_to_driver=False)
    begun = tmp_path / "begun"
    begun.mkdir()
    study, said = make_training(begun), []
    store = Store("training", data=tmp_path / "cluster", runs=tmp_path / "runs")

    class Losing(Store):
        def write(self, finished):
            super().write(finished)
            if len(list(self.folder.glob("*.json"))) == 1:  # after the first result
                before, deadline = set(begun.iterdir()), time.monotonic() + 60
                while not any(doomed.node_id in p.name for p in set(begun.iterdir()) - before):
                    assert time.monotonic() < deadline, "the doomed node began nothing more"
                    time.sleep(0.05)
                cluster.remove_node(doomed, allow_graceful=False)  # in the middle of a trial

    losing = Losing("training", data=store.data, runs=store.runs)
    rows = run_study(study, backend="ray", store=losing, say=said.append)
    assert said == ["training: 6 trials, 0 finished before"]
    assert len(list(begun.iterdir())) > 6, "the lost node's trial began twice"
    here = Store("training", data=tmp_path / "here", runs=tmp_path / "runs here")
    alone = run_study(study, jobs=1, store=here, say=said.append)
    pd.testing.assert_frame_equal(rows, alone)


def test_unknown_backends_and_clusters_are_told(tmp_path):
    store = Store("tiny", data=tmp_path / "data", runs=tmp_path / "runs")
    with pytest.raises(ValueError, match="backend: 'slurm', expected one of"):
        run_study(make_study(tmp_path), backend="slurm", store=store)
