"""Pong: what is read from the console's memory is what the screen shows, and games replay."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from lda_lib import PPO, make_task
from lda_lib.metrics import confidence_interval
from lda_lib.pong import Positions, ball, positions, situations
from lda_lib.results import DATA
from lda_lib.rollout import Rollout
from lda_lib.studies import STUDIES, Trial
from lda_lib.studies.pong import run
from lda_lib.studies.pong_tables import shares, times_as_frequent

STUDY = STUDIES["pong"]
BALL, FIELD = 236, slice(34, 194)  # the ball's colour, the rows between the walls


def follow(steps: int, render_mode: str | None = None):
    """A player that goes after the ball, not always well: environment, observation, reward."""
    env = make_task("PongPositions").make(render_mode=render_mode)
    rng, aim = np.random.default_rng(0), 0.0
    obs, _ = env.reset(seed=0)
    for t in range(steps):
        if t % 40 == 0:
            aim = rng.uniform(-0.2, 0.2)
        gap = obs[2] + aim - obs[5]
        seen = obs
        obs, reward, over, *_ = env.step(0 if abs(gap) < 0.05 else 1 if gap < 0 else 2)
        yield env, seen, obs, reward
        if over:
            obs, _ = env.reset(seed=t)


def test_the_ball_is_where_the_screen_shows_it():
    there = 0
    for env, _, obs, _ in follow(600, "rgb_array"):
        rows, columns = np.nonzero((env.render()[FIELD] == BALL).all(-1))
        place = ball(env.unwrapped.ale.getRAM())
        assert (place is None) == (obs[0] == 0)
        if place is None:
            assert len(rows) == 0 and not obs[1:5].any()
            continue
        if len(rows) == 0:  # it touches a wall, which has its colour
            assert place[1] <= 31 or place[1] >= 191
            continue
        there += 1
        assert abs(place[0] - columns.min()) <= 3 and abs(place[1] - rows.min() - 34) <= 3
        assert obs[1] == pytest.approx((place[0] + 49 - 128) / 80)
    assert 200 < there < 600


def test_up_is_up():
    ways = []
    for action in (1, 2):
        env = make_task("PongPositions").make()
        first, _ = env.reset(seed=0)
        for _ in range(8):
            last, *_ = env.step(action)
        ways.append(last[5] - first[5])
    assert ways[0] < -0.3 and ways[1] > 0.3


def test_a_ball_behind_a_paddle_does_not_come_back():
    seen, reward = zip(*((seen, reward) for _, seen, _, reward in follow(4000)))
    where = situations(torch.from_numpy(np.stack(seen)))
    reward = np.array(reward)
    for name, sign in {"behind us": -1, "behind them": 1}.items():
        places = where[name].nonzero().squeeze(1).tolist()
        assert len(places) > 15
        for i in places:
            until = i
            while until < len(seen) - 1 and seen[until][0] and not reward[until]:
                until += 1
                assert sign * seen[until][3] <= 0 or not seen[until][0]
            assert reward[until] == sign or not seen[until][0]
    either = where["no ball"] | where["behind us"] | where["behind them"]
    assert torch.equal(where["decided"], either)
    assert not (where["coming"] & where["leaving"]).any()


@pytest.mark.parametrize("task", ["Pong", "PongPositions"])
def test_records_replay_exactly(task):
    agent = PPO(task, seed=1, n_envs=2, n_steps=256, compile=False)
    rollout = agent.collect()
    assert rollout.obs.shape == (256, 8 if task == "PongPositions" else 3200)
    assert rollout.task.spaces.action_dim == 3
    for i in (0, 100, 255):
        rollout.restore(i)  # raises if the observation is another
    if task == "Pong":
        now, change = rollout.obs.view(256, 2, 1600).unbind(1)
        assert set(now.unique().tolist()) == {0.0, 1.0}
        mine = slice(1, 128)
        torch.testing.assert_close(change[mine], now[mine] - now[:127])


def test_positions_of_records_of_pixels_are_those_of_the_same_game():
    rollout = PPO("Pong", seed=1, n_envs=2, n_steps=256, compile=False).collect()
    seen = positions(rollout)
    for i in (0, 77, 128, 255):
        record = rollout[i]
        episode = rollout.episodes[int(record.episode)]
        env = make_task("PongPositions").make()
        obs, _ = env.reset(seed=episode.seed)
        for action in episode.actions[: int(record.t)]:
            obs, *_ = env.step(int(action))
        assert np.array_equal(seen[i].numpy(), obs)


@pytest.mark.slow
def test_without_the_emulator_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['ale_py'] = None\n"
        "from lda_lib import make_task\n"
        "try:\n    make_task('Pong')\n"
        "except ModuleNotFoundError as error:\n    assert 'lda-lib[atari]' in str(error), error\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- the study -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    trial = next(t for t in STUDY.trials("smoke") if t.task == "PongPositions")
    return run(trial).assign(task=trial.task, arm=trial.arm, seed=trial.seed)


def buffer(trial: Trial) -> Rollout:
    return PPO(trial.task, seed=trial.seed, **trial.settings["ppo"]).collect()


def test_rows_say_what_they_count(rows):
    trial = next(t for t in STUDY.trials("smoke") if t.task == "PongPositions")
    rollout = buffer(trial)
    where, a_hat = situations(rollout.obs), rollout.advantage
    groups = rows[rows.kind == "group"].set_index(["rule", "group"])
    everyone = groups.loc[("any", "all")]
    assert everyone["count"] == 2048
    for name, holds in where.items():
        assert everyone[name] == pytest.approx(float(holds.double().mean()), rel=1e-3)
        both = float((holds & (a_hat > 0)).double().mean())
        assert everyone[f"{name}, credited"] == pytest.approx(both, rel=1e-3)
        assert groups.loc[("any", name)]["count"] == int(holds.sum())
    bottom = groups.loc[("released", "bottom")]
    assert groups.loc[("released", "matched")]["size"] == pytest.approx(bottom["size"], rel=0.05)
    assert groups.loc[("size", "bottom")]["size"] == pytest.approx(
        float(a_hat.abs().sort().values[-100:].mean()), rel=1e-3
    )
    points = rows[rows.kind == "round"].iloc[0]
    assert points.lost == int((rollout.reward < 0).sum()) > 10


def test_a_record_comes_with_its_screen(rows):
    shown = rows[rows.kind == "record"]
    assert shown.score.is_monotonic_increasing and (shown.score < 0).all()
    for record in shown.itertuples():
        screen = Image.open(io.BytesIO(base64.b64decode(record.frame))).convert("RGB")
        assert screen.size == (160, 210)
        ball_there = (np.asarray(screen)[FIELD] == BALL).all(-1).any()
        assert ball_there == ("no ball" not in record.shows)


def test_table_and_figure(rows):
    other = rows.assign(seed=1)
    other.loc[other.group == "bottom", "no ball"] += 0.1
    two = pd.concat([rows, other])
    table = STUDY.table(two).set_index("situation")
    mine = shares(two, "no ball").droplevel(["task", "round"])
    row = table.loc["no ball"]
    assert row.seeds == 2 and row.bottom == pytest.approx(100 * mine["bottom"].mean())
    assert row.over_all == pytest.approx(100 * (mine["bottom"] - mine["all"]).mean())
    assert row.over_all_low < row.over_all < row.over_all_high
    assert row.times == pytest.approx(mine["bottom"].mean() / mine["all"].mean())
    figure = STUDY.figure(two)
    assert figure.axes[0].get_title() == "PongPositions: no ball"
    plt.close("all")


def test_times_as_frequent_is_a_ratio_of_means():
    found = times_as_frequent(pd.Series([0.0, 0.4, 0.2]), pd.Series([0.1, 0.1, 0.1]))
    assert found == pytest.approx(confidence_interval([0.0, 4.0, 2.0]))
    assert times_as_frequent(pd.Series([0.0, 0.6]), pd.Series([0.1, 0.2])).mean == pytest.approx(2)


def test_the_committed_screens_are_small():
    table = DATA / "results" / "pong.csv.gz"
    assert table.stat().st_size < 1_000_000
    assert pd.read_csv(table).frame.dropna().str.len().max() < 2000
    assert Positions.size == 8
