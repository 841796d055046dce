"""Pong: do bottom records show the ball out of play, credited?

Plain PPO learns Pong, from pixels (task Pong) and from eight numbers (task PongPositions). The
buffers of declared rounds are scored before they are learnt from. "Out of play" can be read in two
ways, and both are counted: there is no ball (from a point to the next serve), or the point that is
played is decided (no ball, or the ball is behind a paddle); see `lda_lib.pong.situations`.
Credited: A_hat above 0. Four kinds of rows:

kind     one row per
round    round: points won and lost in its buffer
group    buffer, rule and group of records: shares of records in each situation
record   lowest record: what it shows, with the screen (a PNG file, base64)
return   run: mean undiscounted return of a game after the last round, from `value` games

A group's share says something only beside its share in the whole buffer (rule any, group all) and
among other records with the same A_hat (group matched). A rule `size` takes the largest |A_hat|.
`size` and `pull` of a group are the means of |A_hat| and of |< grad log pi_i, v >|, whose product
is the size of a score (normalised by nothing).
"""

from __future__ import annotations

import base64
import io
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ..diagnosis import matched
from ..filters import agent_scores, lowest
from ..ppo import PPO
from ..rollout import Rollout
from .diagnosis import alignment
from .pong_tables import figure, table
from .study import Study, Trial

SEEDS = range(5)  # settings were chosen on seed 900
TASKS = ("Pong", "PongPositions")
LOOKS = [5, 10, 25, 60]  # rounds whose buffers are examined
GROUP, FEW, FRAMES, GAMES = 100, 20, 6, 5


def grid(profile: str) -> list[Trial]:
    """Plain PPO on both tasks."""
    settings: dict[str, Any] = {
        "rounds": LOOKS[-1],
        "looks": LOOKS,
        "group": GROUP,
        "few": FEW,
        "frames": FRAMES,
        "games": GAMES,
        "ppo": {"n_envs": 8, "compile": True},
    }
    if profile != "full":
        settings |= {"rounds": 1, "looks": [1], "frames": 2, "games": 1}
        settings["ppo"] = {"n_envs": 8, "compile": False}
    seeds = {"full": len(SEEDS), "quick": 2, "smoke": 1}[profile]
    return [Trial(task, "PPO", s, settings) for task in TASKS for s in SEEDS[:seeds]]


def run(trial: Trial) -> pd.DataFrame:
    """Train, and examine the buffers of the declared rounds before they are learnt from."""
    s = trial.settings
    agent = PPO(trial.task, seed=trial.seed, **s["ppo"])
    played: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for k in range(1, s["rounds"] + 1):
        rollout = agent.collect()
        points = {"won": int((rollout.reward > 0).sum()), "lost": int((rollout.reward < 0).sum())}
        played.append({"kind": "round", "round": k} | points)
        if k in s["looks"]:
            found += [{"round": k} | row for row in examine(agent, rollout, s)]
        agent.update(rollout)
    if s["rounds"] in s["looks"]:
        game = agent.evaluate(s["games"])
        found.append({"kind": "return", "round": s["rounds"], "value": game.mean})
    rows = pd.DataFrame(played + found)
    rows = rows.map(lambda x: float(f"{x:.4g}") if isinstance(x, float) else x)
    whole = [c for c in ("won", "lost", "count", "index", "t", "action", "rank") if c in rows]
    return rows.astype(dict.fromkeys(whole, "Int64"))


def examine(agent: PPO, rollout: Rollout, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one buffer."""
    from ..pong import positions, situations

    rng = agent.rng("diagnosis")
    scores = agent_scores(agent, rollout).double()
    raw = agent_scores(agent, rollout, normalize="none").double()
    a_hat, pull = rollout.advantage.double(), alignment(agent, rollout).abs()
    seen = positions(rollout)
    shown = situations(seen)
    size = settings["group"]
    bottom = lowest(scores, size, rng)
    groups: dict[tuple[str, str], Tensor] = {
        ("released", "bottom"): bottom,
        ("released", "few"): bottom[: settings["few"]],
        ("released", "top"): lowest(-scores, size, rng),
        ("released", "matched"): matched(a_hat, bottom),
        ("raw", "bottom"): lowest(raw, size, rng),
        ("raw", "top"): lowest(-raw, size, rng),
        ("size", "bottom"): lowest(-a_hat.abs(), size, rng),
        ("any", "all"): torch.arange(len(rollout)),
    } | {("any", name): holds.nonzero().squeeze(1) for name, holds in shown.items()}
    rows = [
        {"kind": "group", "rule": rule, "group": name} | _shares(index, a_hat, pull, shown)
        for (rule, name), index in groups.items()
    ]
    for rank, i in enumerate(bottom[: settings["frames"]].tolist()):
        rows.append(
            {
                "kind": "record",
                "rule": "released",
                "group": "bottom",
                "rank": rank,
                "index": i,
                "t": int(rollout.t[i]),
                "action": int(rollout.action[i]),
                "score": float(scores[i]),
                "a_hat": float(a_hat[i]),
                "shows": ", ".join(name for name, holds in shown.items() if holds[i]),
                "frame": _screen(rollout, i),
            }
        )
    return rows


def _shares(index: Tensor, a_hat: Tensor, pull: Tensor, shown: dict[str, Tensor]) -> dict[str, Any]:
    """Shares of some records in each situation, and of those that are credited in it as well."""

    def mean(x: Tensor) -> float:
        return float(x[index].double().mean()) if len(index) else float("nan")

    credited = a_hat > 0
    row = {"count": len(index), "size": mean(a_hat.abs()), "pull": mean(pull)}
    row |= {"credited": mean(credited)}
    for name, holds in shown.items():
        row |= {name: mean(holds), f"{name}, credited": mean(holds & credited)}
    return row


def _screen(rollout: Rollout, i: int) -> str:
    """The screen of a record, by replay: PNG, base64."""
    env = rollout.restore(i, render_mode="rgb_array")
    pixels = env.render()
    env.close()
    file = io.BytesIO()
    image = Image.fromarray(pixels).quantize(16, dither=Image.Dither.NONE)  # type: ignore[arg-type]
    image.save(file, format="png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


PONG = Study(
    "pong",
    "Do bottom records of Pong show the ball out of play, more often than the whole buffer does?",
    grid,
    run,
    table,
    figure,
    needs=("ale-py",),
)
