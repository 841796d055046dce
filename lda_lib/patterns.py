"""Patterns that a person can see in a record: against a wall, away from the goal, ...

A pattern is a function of a whole rollout that says of each record whether it holds, bool (n,).
Those of the lakes speak of the move that was meant; on slippery ice another may have followed.
"""

from __future__ import annotations

import torch
from gymnasium.envs.toy_text.frozen_lake import MAPS
from torch import Tensor

from .diagnosis import Pattern
from .rollout import Rollout
from .tasks import Task

LAKE_MOVES = torch.tensor([(0, -1), (1, 0), (0, 1), (-1, 0)])  # row, column: left, down, right, up
ROOM_MOVES = torch.tensor([(1, 0), (0, 1), (-1, 0), (0, -1)])  # x, y of MiniGrid's directions


def patterns_of(task: Task) -> dict[str, Pattern]:
    """The patterns known for a task, by name, fixed before any record was looked at.

    Raises:
        ValueError: none are known for it.
    """
    if task.env_id == "FrozenLake-v1":
        return LAKE
    if task.env_id and task.env_id.startswith("MiniGrid-Empty"):
        return ROOM
    if task.env_id == "LunarLander-v3":
        return LANDER
    raise ValueError(f"task: {task.name!r} has no patterns, expected a lake, MiniGrid, LunarLander")


def ends_soon(rollout: Rollout, steps: int = 10) -> Tensor:
    """Whether the record's episode ended within `steps` steps, itself included."""
    soon = torch.zeros(len(rollout), dtype=torch.bool, device=rollout.t.device)
    for i in (rollout.terminated | rollout.truncated).nonzero().squeeze(1).tolist():
        near = (rollout.t[i] - rollout.t < steps) & (rollout.t <= rollout.t[i])
        soon |= near & (rollout.episode == rollout.episode[i])
    return soon


def _lake_step(rollout: Rollout) -> tuple[Tensor, Tensor, list[str]]:
    """Row and column before and after the intended move, each (n, 2), and the map."""
    lake = MAPS[rollout.task.kwargs.get("map_name", "4x4")]
    size = len(lake)
    here = torch.stack([rollout.state // size, rollout.state % size], 1).cpu()
    there = here + LAKE_MOVES[rollout.action.cpu()]
    return here, there.clamp(0, size - 1), lake


def _lake_away(rollout: Rollout) -> Tensor:
    here, there, _ = _lake_step(rollout)
    return there.sum(1) < here.sum(1)  # the goal is the last row and column


def _lake_hole(rollout: Rollout) -> Tensor:
    _, there, lake = _lake_step(rollout)
    return torch.tensor([lake[row][column] == "H" for row, column in there.tolist()])


def _lake_wall(rollout: Rollout) -> Tensor:
    here, there, _ = _lake_step(rollout)
    return (here == there).all(1)


LAKE: dict[str, Pattern] = {
    "against the edge": _lake_wall,
    "away from the goal": _lake_away,
    "into a hole": _lake_hole,
    "last or last but one step": lambda rollout: ends_soon(rollout, 2),
    "estimate above 0": lambda rollout: rollout.advantage > 0,
}


def _room_step(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
    """Cell (n, 2) and step ahead (n, 2), and whether the action goes ahead, in MiniGrid."""
    width = 6 if rollout.task.env_id == "MiniGrid-Empty-8x8-v0" else None
    if width is None:
        raise ValueError(f"task: {rollout.task.env_id!r}, expected MiniGrid-Empty-8x8-v0")
    cell, direction = rollout.state.cpu() // 4, rollout.state.cpu() % 4
    here = torch.stack([cell % width, cell // width], 1)
    return here, ROOM_MOVES[direction], rollout.action.cpu() == 2


def _room_wall(rollout: Rollout) -> Tensor:
    here, move, ahead = _room_step(rollout)
    there = here + move
    return ahead & ((there < 0) | (there > 5)).any(1)


def _room_away(rollout: Rollout) -> Tensor:
    _, move, ahead = _room_step(rollout)
    return ahead & (move.sum(1) < 0) & ~_room_wall(rollout)


ROOM: dict[str, Pattern] = {
    "ahead into a wall": _room_wall,
    "ahead, away from the goal": _room_away,
    "a turn": lambda rollout: rollout.action < 2,
    "an action without effect": lambda rollout: rollout.action > 2,
    "episode ends within 10 steps": ends_soon,
    "estimate above 0": lambda rollout: rollout.advantage > 0,
}


def _tilts_further(rollout: Rollout) -> Tensor:
    """The left engine (1) turns the lander to larger angles, the right one (3) to smaller."""
    angle, a = rollout.obs[:, 4], rollout.action
    return ((a == 1) & (angle > 0.1)) | ((a == 3) & (angle < -0.1))


LANDER: dict[str, Pattern] = {
    "main engine while rising": lambda r: (r.action == 2) & (r.obs[:, 3] > 0),
    "main engine while falling fast": lambda r: (r.action == 2) & (r.obs[:, 3] < -0.5),
    "engines off while falling fast": lambda r: (r.action == 0) & (r.obs[:, 3] < -0.5),
    "side engine that tilts further": _tilts_further,
    "episode ends within 10 steps": ends_soon,
    "estimate above 0": lambda rollout: rollout.advantage > 0,
}
