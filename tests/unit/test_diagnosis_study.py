"""The study of diagnosis: its rows repeat, and say what they count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from lda_lib import PPO, exact_advantage, influence
from lda_lib.loss import standardise
from lda_lib.results import DATA
from lda_lib.studies import STUDIES, Trial
from lda_lib.studies.diagnosis import alignment, rules, run
from lda_lib.studies.diagnosis_tables import measures

STUDY = STUDIES["diagnosis"]
LAKE = {"rounds": [2], "group": 100, "k": 0, "sample": 0, "preset": "paired"}


@pytest.fixture(scope="module")
def lake() -> pd.DataFrame:
    rows = run(Trial("FrozenLake", "PPO", 310, LAKE))
    return rows.assign(task="FrozenLake", arm="PPO", seed=310)


def test_a_committed_buffer_comes_out_again(lake):
    committed = pd.read_csv(DATA / "results" / "diagnosis.csv.gz")
    mine = committed.query("task == 'FrozenLake' and seed == 310 and round == 2")
    again = lake[mine.columns.drop("trial")].convert_dtypes()
    pd.testing.assert_frame_equal(
        again.reset_index(drop=True),
        mine.drop(columns="trial").convert_dtypes().reset_index(drop=True),
        check_dtype=False,
        rtol=1e-3,
    )


def test_rows_say_what_they_count(lake):
    agent = PPO("FrozenLake", seed=310, compile=False)
    agent.update(agent.collect())
    rollout = agent.collect()
    a_hat, truth = rollout.advantage.double(), exact_advantage(agent.policy, rollout)
    groups = lake[lake.kind == "group"].set_index(["rule", "group"])
    everyone = groups.loc["any", "all"]
    assert everyone["count"] == 2048
    assert everyone.flips == pytest.approx(float((a_hat * truth < 0).double().mean()), rel=1e-3)
    pushed = (standardise(a_hat) * truth < 0).double().mean()
    assert everyone.push_flips == pytest.approx(float(pushed), rel=1e-3)
    size = a_hat.abs().sort(descending=True).indices[:100]
    error = (a_hat - truth)[size].square().mean().sqrt()
    assert groups.loc[("size", "bottom")].rms_error == pytest.approx(float(error), rel=1e-3)
    assert groups.loc[("peers", "bottom")].outvoted == 1
    shown = lake[(lake.kind == "record") & (lake.group == "bottom")]
    i = int(shown["index"].iloc[0])
    assert shown.a_hat.iloc[0] == pytest.approx(float(a_hat[i]), rel=1e-3)
    assert shown.a_true.iloc[0] == pytest.approx(float(truth[i]), rel=1e-3)
    assert shown.score.is_monotonic_increasing and len(shown) == 20


def test_rules_and_alignment():
    agent = PPO("FrozenLake", seed=3, n_steps=512, compile=False)
    rollout = agent.collect()
    values = rules(agent, rollout)
    assert list(values) == ["released", "raw", "crossfit", "estimate", "size", "peers"]
    raw = influence(agent.policy, rollout, normalize="none").double()
    torch.testing.assert_close(values["raw"], raw)
    product = alignment(agent, rollout) * rollout.advantage.double()
    torch.testing.assert_close(product, raw, atol=1e-6, rtol=1e-3)
    assert not torch.allclose(values["crossfit"], raw)
    assert (values["size"] <= 0).all()


def test_the_lander_is_sampled():
    trial = next(t for t in STUDY.trials("smoke") if t.task == "LunarLander")
    rows = run(trial)
    records = rows[rows.kind == "record"]
    groups = rows[rows.kind == "group"].set_index(["rule", "group"])
    assert records.group.value_counts().to_dict() == {"all": 8, "bottom": 4, "top": 4}
    assert (records.a_se > 0).any() and records.a_true.notna().all()
    everyone = records[records.group == "all"]
    assert groups.loc[("any", "all")].agreement == pytest.approx(
        float((np.sign(everyone.a_hat) * everyone.a_true).mean()), rel=1e-2
    )
    resolved = (everyone.a_true.abs() > 2 * everyone.a_se.clip(lower=1e-9)).mean()
    assert groups.loc[("any", "all")].resolved == pytest.approx(resolved)


def test_table_and_figure(lake):
    two = pd.concat([lake, lake.assign(seed=311, value=lake.value + 0.1)])
    table = STUDY.table(two).set_index("measure")
    rho = lake[(lake.kind == "correlation") & (lake.rule == "released")].value.iloc[0]
    row = table.loc["rho, released"]
    assert (row.seeds, row["mean"]) == (2, pytest.approx(rho + 0.05))
    assert row.low < row["mean"] < row.high
    seen = measures(lake).set_index("measure").x
    gap = seen["flips, released bottom"] - seen["flips, any all"]
    assert seen["flips, released bottom - any all"] == pytest.approx(gap)
    figure = STUDY.figure(two)
    assert figure.axes[0].get_title() == "FrozenLake"
    plt.close("all")
