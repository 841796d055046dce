"""Reading studies: what is there, best against best, and figures with intervals."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lda_lib.studies import STUDIES, drop_fraction, rivals, step_size, variants
from lda_lib.studies.learning_tables import intervals
from lda_lib.studies.reading import as_text, coverage, interval, rows_of, told
from lda_lib.studies.step_size import MATCHED, areas, best_against_best, factor, method_of

matplotlib.use("agg")


def runs(level: dict[str, float], task: str = "FrozenLake", seeds: int = 6) -> pd.DataFrame:
    """Flat learning curves: a level per arm, a common shift per seed."""
    return pd.DataFrame(
        [
            {
                "task": task,
                "arm": arm,
                "seed": s,
                "round": k,
                "return_mean": x + 0.01 * s + 0.001 * k,
            }
            for arm, x in level.items()
            for s in range(seeds)
            for k in (1, 2, 3)
        ]
    )


def test_coverage_counts_what_is_declared_and_finished():
    table = coverage("six_environments")
    trials = STUDIES["six_environments"].trials()
    assert table.trials.sum() == len(trials)
    assert list(table.index) == list(dict.fromkeys(t.task for t in trials))
    assert 0 < table.finished["FrozenLake"] == table.trials["FrozenLake"]
    assert "FrozenLake (20 seeds, 3 arms)" in told("six_environments")


def test_rows_hold_whole_seeds_only():
    rows = rows_of("six_environments")
    arms = rows.groupby(["task", "seed"]).arm.nunique()
    assert len(rows) and (arms == 3).all()


def test_a_study_that_has_not_run_says_so(tmp_path, monkeypatch):
    for name in ("RUNS", "DATA"):
        monkeypatch.setattr(f"lda_lib.studies.store.{name}", tmp_path)
    blank = STUDIES["adam"].name
    store = __import__("lda_lib.studies.store", fromlist=["Store"]).Store
    monkeypatch.setattr(
        "lda_lib.studies.reading.Store",
        lambda name, profile: store(name, profile, tmp_path, tmp_path),
    )
    assert len(rows_of(blank)) == 0
    assert "nothing finished yet" in told(blank) and "MiniGrid" in told(blank)


def test_intervals_as_text():
    assert interval(1.0, 0.5, 1.5) == "+1.0 [+0.5, +1.5]"
    assert interval(1.0, float("nan"), float("nan")) == "+1.0"
    table = pd.DataFrame({"a": [1.0], "a_low": [0.0], "a_high": [2.0], "b": [3]})
    assert as_text(table, {"a": ".0f", "b": "d"}).iloc[0].tolist() == ["1 [0, 2]", "3"]


def test_arms_are_read_as_method_and_factor():
    names = {"PPO": ("PPO", 1), "IIF x4": ("IIF", 4), "PPO Adam x16": ("PPO Adam", 16)}
    assert {a: (method_of(a), factor(a)) for a in names} == names
    assert method_of(MATCHED) == MATCHED
    declared = {t.arm for t in STUDIES["step_size"].trials()}
    assert {method_of(a) for a in declared} == {"PPO", "IIF", "PPO Adam", "IIF Adam", MATCHED}


def test_areas_have_a_row_per_rate():
    rows = runs({"PPO": 0.1, "PPO x2": 0.2, "IIF": 0.3, "IIF x2": 0.25, MATCHED: 0.15})
    found = areas(rows, "FrozenLake", "PPO")
    assert found.index.tolist() == [1, 2] and found.shape == (2, 6)
    assert np.allclose(found.loc[2] - found.loc[1], 0.1)


def test_best_against_best_reports_seeds_that_did_not_choose():
    rows = runs({"PPO": 0.1, "PPO x2": 0.2, "IIF": 0.3, "IIF x2": 0.25})
    lucky = (rows.arm == "PPO") & (rows.seed % 2 == 0)  # the even seeds would choose x1
    rows.loc[lucky, "return_mean"] += 0.5
    found = best_against_best(rows, "FrozenLake").set_index("seed")
    assert found["factor PPO"].tolist() == [2, 1] * 3  # odd seeds choose for even ones
    assert (found["factor IIF"] == 1).all()
    assert np.allclose(found.gain[::2], 0.1) and np.allclose(found.gain[1::2], 0.2)
    with pytest.raises(ValueError, match="two or more"):
        best_against_best(rows[rows.seed == 0], "FrozenLake")


def test_figures_draw_a_panel_per_task_and_every_arm():
    level = {a: 0.1 * k for k, a in enumerate(rivals.ARMS["FrozenLake"])}
    fig = rivals.figure(pd.concat([runs(level), runs(level, "MiniGrid")]))
    assert [ax.get_title() for ax in fig.axes] == ["FrozenLake", "MiniGrid"]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == list(level)[1:]
    level = {a: 0.1 * k for k, a in enumerate(drop_fraction.arms("FrozenLake"))}
    fig = drop_fraction.figure(runs(level))
    assert len(fig.axes) == 2 and len(fig.axes[0].containers) == 2
    level = {a: 0.1 for a in ("PPO", "IIF", "PPO x2", "IIF x2", "PPO Adam x1", MATCHED)}
    fig = step_size.figure(runs(level, "LunarLander"))
    assert [ax.get_title() for ax in fig.axes] == ["LunarLander", "LunarLander, Adam"]
    labels = [f"{a}, {v}" if v else a for v in variants.CONFOUND for a in variants.ARMS]
    fig = STUDIES["confounds"].figure(runs(dict.fromkeys(labels, 0.1)))
    assert len(fig.axes[0].get_yticks()) == len(variants.CONFOUND)
    plt.close("all")


def test_an_interval_is_drawn_from_low_to_high():
    table = pd.DataFrame(
        {"task": "FrozenLake", "arm": ["IIF"], "x": [1.0], "x_low": [0.5], "x_high": [3.0]}
    )
    fig = intervals(table, "x", "x")
    (bar,) = fig.axes[0].containers[0].lines[2]
    assert np.allclose(np.sort(bar.get_segments()[0][:, 0]), [0.5, 3.0])
    plt.close(fig)


def test_each_arm_has_one_row():
    level = {a: 0.1 * k for k, a in enumerate(drop_fraction.arms("FrozenLake"))}
    table = drop_fraction.table(runs(level))
    assert sorted(table.arm) == sorted(level)
