"""Tables on disk: loaded, made again, and refused where they are not what they say."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lda_lib import results

TABLE = pd.DataFrame({"arm": ["PPO", "IIF"], "return_mean": [0.1234567, 2.0]})
SETTINGS = {"seeds": (1, 2), "drop": 0.5}


class Runs:
    """Counts how often the table was computed."""

    def __init__(self, table: pd.DataFrame = TABLE):
        self.count, self.table = 0, table

    def __call__(self) -> pd.DataFrame:
        self.count += 1
        return self.table


def load(run: Runs, folder: Path, **changed) -> pd.DataFrame:
    arguments = {"settings": SETTINGS, "command": "make it", "folder": folder} | changed
    return results.load_or_run("some/table", run, **arguments)


def test_runs_once_then_loads_the_same(tmp_path, capsys):
    run = Runs()
    made = load(run, tmp_path)
    assert "computed in" in capsys.readouterr().out
    loaded = load(run, tmp_path)
    said = capsys.readouterr().out
    assert run.count == 1
    pd.testing.assert_frame_equal(made, loaded, check_exact=True)
    pd.testing.assert_frame_equal(loaded, TABLE)
    assert "loaded in" in said and "2 rows" in said and "by these very sources" in said


def test_provenance_says_how_it_was_made(tmp_path):
    load(Runs(), tmp_path)
    told = json.loads((tmp_path / "some/table.json").read_text())
    assert told["settings"] == {"seeds": [1, 2], "drop": 0.5}
    assert told["command"] == "make it"
    assert {"attribution", "filters", "policy", "ppo"} <= set(told["sources"])
    assert not {"plots", "results", "cli"} & set(told["sources"])
    assert {"python", "torch", "numpy"} <= set(told["versions"])
    assert told["rows"] == 2 and told["seconds"] >= 0
    assert str(tmp_path) not in json.dumps(told)


def test_rerun_replaces(tmp_path):
    load(Runs(), tmp_path)
    other = Runs(TABLE.assign(return_mean=3.0))
    assert (load(other, tmp_path, rerun=True)["return_mean"] == 3.0).all()
    assert other.count == 1
    assert (load(other, tmp_path)["return_mean"] == 3.0).all()


def test_other_settings_are_refused(tmp_path):
    run = Runs()
    load(run, tmp_path)
    with pytest.raises(ValueError, match=r"settings: .*\['drop'\].*rerun=True"):
        load(run, tmp_path, settings=SETTINGS | {"drop": 0.25})
    assert run.count == 1


def test_a_changed_table_is_refused(tmp_path):
    run = Runs()
    load(run, tmp_path)
    with open(tmp_path / "some/table.csv", "a") as file:
        file.write("PPO,9\n")
    with pytest.raises(ValueError, match=r"not the table that table\.json describes"):
        load(run, tmp_path)


def test_a_table_without_provenance_is_refused(tmp_path):
    run = Runs()
    load(run, tmp_path)
    (tmp_path / "some/table.json").unlink()
    with pytest.raises(ValueError, match=r"no table\.json beside it"):
        load(run, tmp_path)


def test_a_failed_run_leaves_what_was_there(tmp_path):
    load(Runs(), tmp_path)

    def fails():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        load(fails, tmp_path, rerun=True)
    pd.testing.assert_frame_equal(load(Runs(), tmp_path), TABLE)


def test_changed_sources_are_named(tmp_path, capsys, monkeypatch):
    load(Runs(), tmp_path)
    now = results.source_hashes() | {"ppo": "0" * 12}
    monkeypatch.setattr(results, "source_hashes", lambda: now)
    load(Runs(), tmp_path)
    assert "since then changed: ppo\n" in capsys.readouterr().out
    now |= dict.fromkeys(("step", "loss", "policy"), "0" * 12)  # a list of them says little
    load(Runs(), tmp_path)
    assert "since then changed: 4 modules\n" in capsys.readouterr().out


def test_parts_of_the_package_count_where_named(tmp_path, capsys, monkeypatch):
    load(Runs(), tmp_path, folders=("rlhf",), needs=("scipy",))
    told = json.loads((tmp_path / "some/table.json").read_text())
    assert "rlhf/scores" in told["sources"] and "rlhf/cli" not in told["sources"]
    assert "scipy" in told["versions"]
    load(Runs(), tmp_path)
    assert "by these very sources" in capsys.readouterr().out
    hashes = results.source_hashes
    changed = {"rlhf/scores": "0" * 12}
    monkeypatch.setattr(results, "source_hashes", lambda *folders: hashes(*folders) | changed)
    load(Runs(), tmp_path)
    assert "since then changed: rlhf/scores" in capsys.readouterr().out


def test_modules_left_aside_exist():
    package = Path(results.__file__).parent
    assert [name for name in results.ASIDE if not (package / f"{name}.py").exists()] == []
