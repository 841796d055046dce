"""Pong, seen as pixels or as eight numbers read from the console's memory.

The eight numbers:

column  name     meaning
0       in play  1 while there is a ball, 0 from a point to the next serve
1, 2    x, y     the ball, 0 where there is none; x grows towards our paddle, y downwards
3, 4    dx, dy   how far it came since the observation before, 0 where there was none
5       own      our paddle (the right one)
6       own dy   how far it came
7       other    the opponent's

Positions are (byte - 128) / 80, distances bytes / 8. There are three actions: stay, up, down. No
chance is involved in the game: what follows from a state follows from the actions alone.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from .rollout import Rollout
from .tasks import make_task

try:
    import ale_py
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "task: Pong needs the package ale_py, which is not installed; "
        "expected `pip install 'lda-lib[atari]'`",
        name="ale_py",
    ) from error

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner

BALL_X, BALL_Y, OTHER, OWN = 49, 54, 50, 51  # addresses in the 128 bytes
COLUMN_OF_X, ROW_OF_Y = 49, 14  # what to take off a byte for a place on the screen of 160 x 210
OUR_SIDE, THEIR_SIDE = 143, 16  # columns of the backs of the two paddles
FIELD, BACKGROUND, CELL = slice(34, 194), 87, 4  # rows of the playing field, its grey, pixels
MEANINGS = ("stay", "up", "down")
ACTIONS = (0, 2, 3)  # as the console counts them: the others press "fire", which does nothing here


def ball(ram: np.ndarray) -> tuple[int, int] | None:
    """Column and row of the ball's upper left corner on the screen; None while there is no ball.

    Args:
        ram: the console's memory, (128,) uint8.
    """
    x, y = int(ram[BALL_X]), int(ram[BALL_Y])
    return (x - COLUMN_OF_X, y - ROW_OF_Y) if y else None


class _Pong(gym.Wrapper):
    """Three actions, and an observation made of what is now and what was before."""

    size: int

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self.size,), np.float32)
        self.action_space = gym.spaces.Discrete(len(ACTIONS))

    @property
    def console(self) -> Any:
        """The emulator."""
        atari: Any = self.env.unwrapped
        return atari.ale

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Begin a game, at its second frame: the first shows a console that is not ready yet."""
        self.env.reset(seed=seed, options=options)
        *_, info = self.env.step(0)
        self._before = self._look()
        return self._observe(), info

    def step(self, action: int):
        """Play one action for four frames."""
        _, reward, terminated, truncated, info = self.env.step(ACTIONS[action])
        return self._observe(), reward, terminated, truncated, info

    def _observe(self) -> np.ndarray:
        now = self._look()
        seen, self._before = self._tell(now, self._before), now
        return seen

    def _look(self) -> np.ndarray:
        raise NotImplementedError

    def _tell(self, now: np.ndarray, before: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Positions(_Pong):
    """`ALE/Pong-v5` with the module's eight numbers as observation."""

    size = 8

    def _look(self) -> np.ndarray:
        return self.console.getRAM().astype(np.float32)

    def _tell(self, now: np.ndarray, before: np.ndarray) -> np.ndarray:
        x, y, own, other = ((now[a] - 128) / 80 for a in (BALL_X, BALL_Y, OWN, OTHER))
        dx, dy, own_dy = ((now[a] - before[a]) / 8 for a in (BALL_X, BALL_Y, OWN))
        if now[BALL_Y] == 0:
            x = y = 0.0
        if now[BALL_Y] == 0 or before[BALL_Y] == 0:
            dx = dy = 0.0
        return np.array([now[BALL_Y] > 0, x, y, dx, dy, own, own_dy, other], np.float32)


class Pixels(_Pong):
    """`ALE/Pong-v5` as 40 x 40 cells of the field: 1 where anything is, and what has changed."""

    size = 2 * 40 * 40

    def _look(self) -> np.ndarray:
        lit = self.console.getScreenGrayscale()[FIELD] != BACKGROUND  # (160, 160)
        return lit.reshape(40, CELL, 40, CELL).any((1, 3)).astype(np.float32).ravel()

    def _tell(self, now: np.ndarray, before: np.ndarray) -> np.ndarray:
        return np.concatenate([now, now - before])


# ---- what is going on ----------------------------------------------------------------------------


def positions(rollout: Rollout) -> Tensor:
    """The eight numbers of every record, (n, 8), whatever the records' own observations are.

    Records of pixels are found by living their episodes again, from seed and actions.
    """
    if rollout.task.name == "PongPositions":
        return rollout.obs
    task = make_task("PongPositions")
    seen = torch.empty(len(rollout), Positions.size)
    env = task.make()
    for number in rollout.episode.unique().tolist():
        mine = rollout.episode == number
        episode, last = rollout.episodes[number], int(rollout.t[mine].max())
        obs, _ = env.reset(seed=episode.seed)
        lived = [obs]
        for action in episode.actions[:last]:
            lived.append(env.step(int(action))[0])
        seen[mine] = torch.from_numpy(np.stack(lived))[rollout.t[mine]]
    env.close()
    return seen


def situations(seen: Tensor) -> dict[str, Tensor]:
    """In which of these situations each record was made, bool (n,) each.

    no ball      from a point to the next serve
    behind us    the ball is behind our paddle: the point is lost, whatever we do
    behind them  the ball is behind the opponent's paddle
    decided      any of the three: no action changes the point that is played
    coming       the ball comes towards us, and is not yet behind our paddle
    leaving      it flies away from us, and is not yet behind theirs

    Args:
        seen: from `positions`, (n, 8).
    """
    column = seen[:, 1] * 80 + 128 - COLUMN_OF_X
    there = seen[:, 0] > 0
    us, them = there & (column > OUR_SIDE), there & (column < THEIR_SIDE)
    return {
        "no ball": ~there,
        "behind us": us,
        "behind them": them,
        "decided": ~there | us | them,
        "coming": ~us & (seen[:, 3] > 0),
        "leaving": ~them & (seen[:, 3] < 0),
    }
