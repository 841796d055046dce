"""The command line does what its help says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from lda_lib import IIF, PPO, Repair
from lda_lib.cli import FILTERS, load, main

from .test_ppo import same_history


def lda(*args: object, ok: bool = True) -> str:
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert (result.exit_code == 0) == ok, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "x"
    os.environ["LDA_PROGRESS"] = "line"
    text = lda("train", "CartPole", "--keep", "iif", "--drop", 0.25, "--rounds", 2, "--out", out)
    return out, text


def test_train_writes_history_and_checkpoint(run):
    out, text = run
    assert sorted(p.name for p in out.iterdir()) == ["agent.safetensors", "history.csv", "run.json"]
    history = pd.read_csv(out / "history.csv")
    assert history["round"].tolist() == [1, 2] and (history["kept"] < 2048).all()
    assert "CartPole seed 0: 2 done in" in text and "round 2: return" in text


def test_a_run_is_not_overwritten_and_its_settings_are_kept(run):
    out, _ = run
    text = lda("train", "CartPole", "--keep", "iif", "--out", out, ok=False)
    assert "holds a run already" in text
    text = lda("train", "CartPole", "--keep", "random", "--out", out, "--resume", ok=False)
    assert "--keep is 'random'" in text and "began with 'iif'" in text


def test_a_paced_run_writes_its_rates(tmp_path):
    out = tmp_path / "paced"
    lda("train", "FrozenLake", "--desired-kl", 0.005, "--rounds", 2, "--out", out)
    assert pd.read_csv(out / "history.csv")["lr"].tolist() == [0.005, 0.01]
    text = lda("train", "FrozenLake", "--rounds", 3, "--out", out, "--resume", ok=False)
    assert "--desired-kl is None, but the run" in text


def test_a_stretched_run_is_that_of_the_library(tmp_path):
    out = tmp_path / "stretched"
    lda("train", "FrozenLake", "--stretch", 30, "--compile", "no", "--rounds", 2, "--out", out)
    whole = PPO("FrozenLake", stretch=30.0, compile=False)
    same_history(pd.read_csv(out / "history.csv"), whole.learn(2, progress=False))


def test_a_repaired_run_is_that_of_the_library_and_stays_repaired(tmp_path):
    out = tmp_path / "repaired"
    args = ("train", "FrozenLake", "--repair", "--compile", "no", "--out", out)
    lda(*args, "--rounds", 1)
    lda(*args, "--rounds", 2, "--resume")
    whole = PPO("FrozenLake", repair=Repair(), compile=False)
    same_history(pd.read_csv(out / "history.csv"), whole.learn(2, progress=False))
    text = lda("train", "FrozenLake", "--rounds", 3, "--out", out, "--resume", ok=False)
    assert "--repair is False, but the run" in text


def test_scores_of_a_repaired_run_are_those_of_the_advantages_it_learns_from(tmp_path):
    out = tmp_path / "repaired"
    lda("train", "FrozenLake", "--repair", "--compile", "no", "--rounds", 1, "--out", out)
    lda("score", out, "--out", tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv").sort_values("index")
    agent = PPO.load(out / "agent.safetensors", repair=Repair())
    rollout = agent.repair(agent, agent.collect())
    assert table["advantage"].to_numpy() == pytest.approx(rollout.advantage.numpy(), abs=1e-5)
    with pytest.warns(UserWarning, match="repair:"):
        load(out / "agent.safetensors")


def test_a_run_from_before_an_option_was_known_goes_on(tmp_path):
    out = tmp_path / "old"
    args = ("train", "FrozenLake", "--compile", "no", "--out", out)
    lda(*args, "--rounds", 1)
    began = json.loads((out / "run.json").read_text())
    del began["repair"]
    (out / "run.json").write_text(json.dumps(began))
    assert "goes on after round 1" in lda(*args, "--rounds", 2, "--resume")
    assert "--repair is True" in lda(*args, "--rounds", 3, "--repair", "--resume", ok=False)


@pytest.mark.parametrize("text", ["[1]", "{", "\xff"])
def test_a_damaged_run_json_is_named(text, run, tmp_path):
    (tmp_path / "agent.safetensors").write_bytes((run[0] / "agent.safetensors").read_bytes())
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    told = lda("train", "CartPole", "--out", tmp_path, "--resume", ok=False)
    assert f"--resume: {tmp_path / 'run.json'} cannot be read" in told
    told = lda("evaluate", tmp_path, ok=False)
    assert f"{tmp_path / 'run.json'} cannot be read" in told


def test_evaluate(run):
    assert "20 episodes" in lda("evaluate", run[0], "--episodes", 20)
    assert "CartPole after 2 rounds: return" in lda("evaluate", run[0] / "agent.safetensors")


def test_score_shows_and_writes_highest_and_lowest_first(run, tmp_path):
    text = lda("score", run[0], "--out", tmp_path / "scores.csv", "--top", 3)
    assert "top 3 records" in text and "bottom 3 records" in text
    table = pd.read_csv(tmp_path / "scores.csv")
    assert list(table.columns[:4]) == ["index", "score", "episode", "t"] and len(table) == 2048
    assert table["score"].abs().is_monotonic_decreasing and (table["score"] < 0).any()
    other = lda("score", run[0], "--target", "action", "--record", 5, "--top", 3)
    assert other != text
    assert "--record" in lda("score", run[0], "--target", "action", ok=False)


@pytest.mark.parametrize("keep", list(FILTERS))
def test_every_filter_trains(keep, tmp_path):
    out = tmp_path / keep
    lda("train", "FrozenLake", "--keep", keep, "--rounds", 1, "--out", out)
    assert len(pd.read_csv(out / "history.csv")) == 1
    assert "exact" in lda("evaluate", out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "Nowhere", "--out", "x"], "neither a task of the course"),
        (["train", "CartPole", "--drop", "2", "--out", "x"], "--drop"),
        (["train", "CartPole", "--lr", "-1", "--out", "x"], "lr: -1.0, expected a number above 0"),
        (["train", "CartPole"], "--out"),
        (["evaluate", "nowhere"], "no file 'nowhere'"),
        (["train", "CartPole", "--keep", "best", "--out", "x"], "best"),
        (["train", "nomod:Env-v0", "--out", "x"], "No module named 'nomod'"),
        (["train", "CartPole", "--drop", "0.3", "--out", "x"], "--drop 0.3 means nothing"),
        (
            ["train", "CartPole", "--keep", "td-error", "--drop", "0.9", "--out", "x"],
            "--drop 0.9 means nothing with --keep td-error",
        ),
        (["score", "x", "--record", "3"], "--record 3 means nothing with --target return"),
        (["score", "x", "--action", "2"], "--action 2 means nothing with --target return"),
    ],
)
def test_bad_input_is_said_in_one_line(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in lda(*args, ok=False)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    """SIGKILL at any moment; --resume; the history of an uninterrupted run."""
    out = tmp_path / "run"
    args = ["train", "LunarLander", "--keep", "iif", "--rounds", "5", "--episodes", "2"]
    args += ["--compile", "no", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "lda_lib", *args], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 1 <= len(pd.read_csv(out / "history.csv")) < 5, "killed too late to tell"
    assert "goes on after round" in lda(*args, "--resume")
    whole = PPO("LunarLander", seed=0, keep=IIF(0.125), compile=False)
    expected = whole.learn(5, episodes=2, progress=False)
    same_history(pd.read_csv(out / "history.csv"), expected)


def test_help_is_helpful():
    assert "train" in lda("--help") and "evaluate" in lda("--help") and "score" in lda("--help")
    text = lda("train", "--help")
    assert "python -m lda_lib train LunarLander --keep iif" in text and "--resume" in text


def test_examples_in_the_help_stand_alone():
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from lda_lib.rlhf.cli import COMMANDS

    found = 0

    def walk(command: click.Command, path: tuple[str, ...]) -> None:
        nonlocal found
        text = lda(*path, "--help")
        assert "\\b" not in text
        if "\b" in (command.help or ""):
            found += 1
            example = command.help.split("\b\n")[1]
            assert {*map(str.strip, example.splitlines())} <= {*map(str.strip, text.splitlines())}
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*path, name))

    walk(main, ())
    for name, child in COMMANDS.items():
        walk(child, ("rlhf", name))
    assert found == 4  # train, score, rlhf train, rlhf bench


def test_a_resumed_run_stays_on_its_device(tmp_path, monkeypatch):
    args = ["train", "FrozenLake", "--rounds", "1", "--out", str(tmp_path / "r")]
    assert CliRunner().invoke(main, args).exit_code == 0
    asked, load = [], PPO.load
    monkeypatch.setattr(PPO, "load", lambda path, **kw: asked.append(kw) or load(path, **kw))
    assert CliRunner().invoke(main, [*args, "--resume"]).exit_code == 0
    assert asked[0]["device"] == "cpu"
