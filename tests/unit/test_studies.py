"""A study loses nothing, runs nothing twice, and says what went wrong."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from joblib.externals.loky.process_executor import TerminatedWorkerError
from matplotlib import pyplot as plt

from lda_lib import studies
from lda_lib.cli import main
from lda_lib.studies import STUDIES, Study, Trial
from lda_lib.studies import run as engine
from lda_lib.studies.run import Failed, _world, run_study, run_trial
from lda_lib.studies.sb3_parity import policy_of
from lda_lib.studies.store import Busy, Finished, Store

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the processes cannot import tests


def make_study(folder: Path, act: str = "") -> Study:
    """Six trials that note each time they run; `act` is Python for one of them."""

    def run(trial: Trial) -> pd.DataFrame:
        with open(folder / "ran", "a") as file:
            file.write(trial.key + "\n")
        if trial.seed == 1 and trial.arm == "b":
            exec(act, {"folder": folder, "os": os, "signal": signal})
        return pd.DataFrame({"x": [trial.seed + 0.1, 2.5]})

    return Study(
        "tiny",
        "Does it run?",
        lambda profile: [Trial("T", arm, s, {"p": profile}) for arm in "ab" for s in range(3)],
        run,
        lambda rows: rows.groupby("arm", as_index=False).x.mean(),
        lambda rows: plt.figure(),
    )


@pytest.fixture
def store(tmp_path) -> Store:
    return Store("tiny", data=tmp_path / "data", runs=tmp_path / "runs")


def ran(folder: Path) -> list[str]:
    return (folder / "ran").read_text().split()


@pytest.mark.slow
def test_a_study_runs_once_and_merges(tmp_path, store):
    study, said = make_study(tmp_path), []
    rows = run_study(study, store=store, say=said.append)
    assert list(rows.columns) == ["task", "arm", "seed", "x", "trial"] and len(rows) == 12
    assert said == ["tiny: 6 trials, 0 finished before"]
    run_study(study, store=store, say=said.append)
    assert sorted(ran(tmp_path)) == sorted(t.key for t in study.trials())
    told = json.loads(store.about.read_text())
    (origin,), trials = told["origins"], told["trials"]  # six trials, one origin
    assert trials["T_a_0_" + study.trials()[0].key[-8:]]["trial"]["settings"] == {"p": "full"}
    assert {"commit", "sources", "versions", "machine"} == set(origin)
    alone = {key: one.provenance for key, one in store.finished()[0].items()}
    store = replace(store, runs=tmp_path / "none")  # only the table
    assert {key: one.provenance for key, one in store.finished()[0].items()} == alone
    pd.testing.assert_frame_equal(pd.read_csv(store.table), rows)


@pytest.mark.slow
def test_a_clone_that_has_only_the_table_resumes(tmp_path, store):
    study = make_study(tmp_path)
    run_study(study, seeds=[0, 1], store=store, say=lambda text: None)
    clone = Store("tiny", data=store.data, runs=tmp_path / "elsewhere")
    rows = run_study(study, store=clone, say=lambda text: None)
    assert len(ran(tmp_path)) == 6 and len(rows) == 12
    assert len(list(clone.folder.glob("*.json"))) == 2


def test_a_table_is_small_and_the_same_rows_give_the_same_file(tmp_path, store):
    rows = pd.DataFrame({"x": [1 / 3, None], "seconds_update": [1 / 3, 2.0], "n": [12345678, 1]})
    origin = {"commit": "c", "sources": {}, "versions": {}, "machine": "m"}
    one = Finished(Trial("T", "a", 0), origin | {"seconds": 1.5}, rows)
    store.write(one)
    store.merge([one.trial.key])
    first = store.table.read_bytes()
    store.merge([one.trial.key])
    assert store.table.read_bytes() == first
    text = gzip.decompress(first).decode().splitlines()
    assert text[1:] == [f"{1 / 3},0.3333,12345678,{one.trial.key}", f",2.0,1,{one.trial.key}"]


@pytest.mark.slow
def test_a_failed_trial_is_told_and_takes_no_other_down(tmp_path, store):
    said = []
    with pytest.raises(Failed, match="1 of 6 trials of 'tiny' failed"):
        run_study(make_study(tmp_path, "1 / 0"), store=store, say=said.append)
    assert any("ZeroDivisionError" in text and text.startswith("T_b_1") for text in said)
    assert len(pd.read_csv(store.table)) == 10
    run_study(make_study(tmp_path), store=store, say=said.append)  # mended, it alone runs again
    assert len(ran(tmp_path)) == 7


@pytest.mark.slow
def test_a_killed_process_costs_nothing_that_was_finished(tmp_path, store):
    once = "if not (folder / 'died').exists():\n    (folder / 'died').write_text('')\n"
    said = []
    study = make_study(tmp_path, once + "    os.kill(os.getpid(), signal.SIGKILL)")
    assert len(run_study(study, store=store, say=said.append)) == 12
    assert any("its process was killed" in text for text in said)
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_a_trial_that_always_kills_its_process_is_told_and_takes_no_other_down(tmp_path, store):
    study, said = make_study(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"), []
    with pytest.raises(Failed, match="1 of 6 trials"):
        run_study(study, store=store, say=said.append)
    assert any("T_b_1" in text and "killed 3 times" in text for text in said)
    assert len(store.finished()[0]) == 5
    assert len(ran(tmp_path)) == 5 + 3  # nobody else ran twice


@pytest.mark.slow
def test_a_truncated_file_is_told_and_made_again(tmp_path, store):
    study, said = make_study(tmp_path), []
    run_study(study, store=store, say=said.append)
    store.table.unlink()
    victim = next(store.folder.glob("T_a_2*.json"))
    victim.write_text(victim.read_text()[:50])
    rows = run_study(study, store=store, say=said.append)
    assert len(rows) == 12 and any(victim.name in text for text in said)
    assert len(ran(tmp_path)) == 7


def test_a_damaged_file_whose_trial_the_table_holds_is_left_aside(tmp_path, store, lda):
    run = ("run", "six_environments", "--jobs", "1")
    lda(*run)
    victim = next(store.folder.glob("T_a_2*.json"))
    victim.write_text(victim.read_text()[:50])
    assert f"{victim.name}: cannot be read (a write was cut short?), it is left aside" in lda(*run)
    assert f"{victim.name} (left aside)" in lda("status", "six_environments")
    store.table.unlink()
    assert f"{victim.name} (will run again)" in lda("status", "six_environments")
    assert "the trial runs again" in lda(*run) and len(ran(tmp_path)) == 7


@pytest.mark.slow
def test_two_runners_do_not_meet(tmp_path, store):
    with store.lock(), pytest.raises(Busy, match="another runner works on 'tiny'"):
        run_study(make_study(tmp_path), store=store)
    run_study(make_study(tmp_path), store=store, say=lambda text: None)


RUNNER = """
import sys, time
from pathlib import Path
import pandas as pd
from lda_lib.studies import Study, Trial
from lda_lib.studies.sb3_parity import policy_of
from lda_lib.studies.run import run_study
from lda_lib.studies.store import Store
def run(trial):
    time.sleep(0.3)
    return pd.DataFrame({"x": [trial.seed]})
study = Study("slow", "?", lambda p: [Trial("T", "a", s) for s in range(40)], run, None, None)
run_study(study, store=Store("slow", data=Path("data"), runs=Path("runs")))
"""


@pytest.mark.slow
def test_a_killed_runner_resumes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", RUNNER], cwd=tmp_path, stderr=-3, stdout=-3)
    store = Store("slow", data=tmp_path / "data", runs=tmp_path / "runs")
    deadline = time.monotonic() + 60
    while len(list(store.folder.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept, damaged = store.finished()
    assert 3 <= len(kept) < 40 and not damaged
    times = {p.name: p.stat().st_mtime_ns for p in store.folder.glob("*.json")}
    study = Study("slow", "?", lambda p: [Trial("T", "a", s) for s in range(40)],
                  lambda trial: pd.DataFrame({"x": [trial.seed]}), None, None)  # fmt: skip
    assert len(run_study(study, store=store, say=lambda text: None)) == 40
    for name, when in times.items():
        assert (store.folder / name).stat().st_mtime_ns == when, "ran twice"


def test_keys_tell_settings_apart():
    a, b = Trial("T", "a b", 0, {"x": 1}), Trial("T", "a b", 0, {"x": 2})
    assert a.key != b.key and a.key.startswith("T_a-b_0_")
    assert a.key == Trial("T", "a b", 0, {"x": 1}).key


def test_declared_grids_are_complete_and_paired():
    for study in STUDIES.values():
        trials = study.trials()
        assert len({t.key for t in trials}) == len(trials)
        pairs = {(t.task, t.seed): set() for t in trials}
        for t in trials:
            pairs[t.task, t.seed].add(t.arm)
        by_task = {}
        for (task, _), arms in pairs.items():
            assert by_task.setdefault(task, arms) == arms
        with pytest.raises(ValueError, match="profile: 'huge'"):
            study.trials("huge")
        with pytest.raises(ValueError, match="seeds"):
            study.trials(seeds=[999])


def test_six_environments_from_trial_to_table_and_figure():
    study = STUDIES["six_environments"]
    trials = [t for t in study.trials("smoke") if t.task == "FrozenLake" and t.seed == 0]
    rows = pd.concat([run_trial(study, t)[1].rows for t in trials], ignore_index=True)
    table = study.table(rows)
    assert table["arm"].tolist() == ["PPO", "IIF", "random drop"]
    ppo = table.iloc[0]
    assert ppo.se_ave == 0 and ppo.final == rows[rows.arm == "PPO"].return_mean.iloc[-1]
    kept = rows.groupby("arm").kept.sum()
    assert kept["IIF"] < kept["PPO"] == 2 * 512
    assert study.figure(rows).axes[0].get_title() == "FrozenLake, 1 seed"
    plt.close("all")


def test_an_sb3_policy_is_the_same_policy_here():
    """What the parity study evaluates is SB3's own network."""
    sb3 = pytest.importorskip("stable_baselines3")
    model = sb3.PPO("MlpPolicy", "FrozenLake-v1", seed=0, device="cpu")
    states = torch.arange(16)
    with torch.no_grad():
        theirs = model.policy.get_distribution(states).distribution.probs
        ours = policy_of(model)
        torch.testing.assert_close(ours.probs(torch.eye(16)), theirs)
        torch.testing.assert_close(
            ours.value(torch.eye(16)), model.policy.predict_values(states).squeeze(-1)
        )


@pytest.fixture
def lda(monkeypatch, tmp_path):
    """`lda study ...`, where `six_environments` is the tiny study and has folders of its own."""
    monkeypatch.setitem(studies.STUDIES, "six_environments", make_study(tmp_path))
    for module in ("cli", "run"):
        monkeypatch.setattr(f"lda_lib.studies.{module}.Store", lambda name, profile="full": Store(
            "tiny", profile, tmp_path / "data", tmp_path / "runs"))  # fmt: skip
    return lambda *args: CliRunner().invoke(main, ["study", *args]).output


def test_command_line(lda):
    assert "no finished trial; run it first" in lda("table", "six_environments")
    assert "6 trials, 0 finished before" in lda("run", "six_environments", "--seeds", "0-2")
    assert "seeds: [99], expected some of" in lda("run", "six_environments", "--seeds", "0,99")
    assert "Does it run? (6 trials)" in lda("list")


def test_seeds_and_tasks_select(tmp_path):
    study = STUDIES["six_environments"]
    chosen = study.trials(seeds=[0, 1], tasks=["Acrobot", "MiniGrid"])
    assert {(t.task, t.seed) for t in chosen} == {
        (task, seed) for task in ("Acrobot", "MiniGrid") for seed in (0, 1)
    }
    with pytest.raises(ValueError, match=r"tasks: \['Pong'\], expected some of"):
        study.trials(tasks=["Pong"])
    with pytest.raises(ValueError, match=r"seeds: \[12, 99\], expected some of \[0, 1, 2, 3, 4\]"):
        study.trials(seeds=[0, 12, 99], tasks=["MiniGrid"])  # FrozenLake has twenty
    with pytest.raises(ValueError, match=r"seeds: \[\], expected some of"):
        study.trials(seeds=[])


def test_an_interrupted_run_leaves_its_table(tmp_path, store, monkeypatch):
    monkeypatch.setattr("lda_lib.studies.run._in_processes", one_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_study(make_study(tmp_path), store=store, say=lambda text: None)
    assert len(pd.read_csv(store.table)) == 2


def one_then_interrupt(study, trials, jobs, say):
    yield run_trial(study, trials[0])
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_study_borrows_the_same_trials(tmp_path, store):
    first = make_study(tmp_path)
    run_study(first, seeds=[0, 2], store=store, say=lambda text: None)
    second, said = replace(first, name="second", borrows=("tiny",)), []
    other = replace(store, name="second")
    rows = run_study(second, store=other, say=said.append)
    assert said == ["second: 6 trials, 4 finished before"]
    assert len(rows) == 12 and len(ran(tmp_path)) == 6
    assert set(pd.read_csv(other.table).seed) == {1}, "what is lent stands in one table"
    again = run_study(second, store=replace(other, runs=tmp_path / "clone"), say=said.append)
    assert len(ran(tmp_path)) == 6
    pd.testing.assert_frame_equal(again, rows)
    third = replace(other, name="third", runs=tmp_path / "clone")  # borrows what is borrowed
    run_study(replace(second, name="third", borrows=("second",)), store=third, say=said.append)
    assert len(ran(tmp_path)) == 6 and pd.read_csv(third.table).empty
    pd.testing.assert_frame_equal(
        replace(third, runs=tmp_path).rows(t.key for t in first.trials()), rows
    )
    store.table.unlink()  # without the lender's table its trials are missing, and only they
    left = replace(other, runs=tmp_path / "clone").finished()[0]
    assert {one.trial.seed for one in left.values()} == {1}


def test_a_damaged_table_is_named_and_not_replaced(tmp_path, store):
    one = Finished(Trial("T", "a", 0), {"seconds": 1.0}, pd.DataFrame({"x": [1.0, 2.0]}))
    store.write(one)
    store.merge([one.trial.key])
    cut = store.table.read_bytes()[:-12]
    store.table.write_bytes(cut)
    with pytest.raises(ValueError, match=r"tiny\.csv\.gz cannot be read .* git checkout"):
        store.finished()
    with pytest.raises(ValueError, match="cannot be read"):
        run_study(make_study(tmp_path), store=store, say=lambda text: None)
    assert store.table.read_bytes() == cut


@pytest.mark.parametrize("text", ["{", "[1]", '{"trials": []}', '{"trials": {"KEY": {}}}'])
def test_a_damaged_provenance_is_named(text, store):
    one = Finished(Trial("T", "a", 0), {"seconds": 1.0}, pd.DataFrame({"x": [1.0, 2.0]}))
    store.write(one)
    store.merge([one.trial.key])
    store.about.write_text(text.replace("KEY", one.trial.key))
    with pytest.raises(ValueError, match=r"tiny\.json cannot be read .* git checkout"):
        store.finished()


def test_the_origin_knows_the_studys_own_code_and_the_tasks_world():
    study = STUDIES["single_round"]
    done = run_trial(study, study.trials("smoke")[0])[1]
    assert not isinstance(done, str), done
    sources = done.provenance["sources"]
    assert {"studies/single_round", "studies/step_size", "ppo", "scores"} <= set(sources)
    assert "studies/store" not in sources
    assert _world("LunarLander") and _world("MiniGrid") == ["minigrid"] and not _world("Acrobot")


@pytest.mark.slow
def test_a_process_killed_between_two_trials_is_replaced(tmp_path, store, monkeypatch):
    class Dead:
        def submit(self, *_):
            raise TerminatedWorkerError("killed while it waited")

        def shutdown(self, **_):
            pass

    made, real = [], engine._process
    monkeypatch.setattr(
        engine, "_process", lambda: made.append(1) or (real if made[1:] else Dead)()
    )
    assert len(run_study(make_study(tmp_path), store=store, say=lambda text: None)) == 12
    assert len(made) == 3 and len(ran(tmp_path)) == 6
