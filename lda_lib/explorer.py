"""The record explorer: a rollout in JupyterLab, sorted and filtered, one record at a time.

    from lda_lib.explorer import explore
    explore(agent.policy, rollout, {"return": scores, "this action": other_scores})

The functions below `explore` hold what it shows and work without a widget.
"""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from .exact import exact_advantage, finite_model
from .policy import ActorCritic
from .rollout import Rollout

MOST_LISTED = 200


def explore(
    policy: nn.Module,
    rollout: Rollout,
    scores: Mapping[str, Tensor] | Tensor | None = None,
    gamma: float = 0.99,
) -> widgets.VBox:
    """A record explorer over a rollout; needs a live kernel.

    Args:
        policy: who made the rollout, any module with `log_prob(obs, action) -> (n,)`.
        rollout: n records.
        scores: influence scores, (n,), by the name of their target; or one tensor.
        gamma: discount of the true advantage, shown where the task has a finite model.

    Returns:
        The widget. Its `table` is what the list shows, its `chosen` the record on display.

    Raises:
        ValueError: an empty rollout, or scores that are not one number per record.
    """
    return Explorer(policy, rollout, scores, gamma)


class Explorer(widgets.VBox):
    """See `explore`."""

    def __init__(
        self,
        policy: nn.Module,
        rollout: Rollout,
        scores: Mapping[str, Tensor] | Tensor | None,
        gamma: float,
    ):
        self.policy, self.rollout = policy, rollout
        self.records = record_table(policy, rollout, scores, gamma)
        columns = list(self.records.columns)
        self.sort = widgets.Dropdown(options=["index", *columns], description="sort by")
        self.sort.value = columns[0] if scores is not None else "index"
        self.lowest = widgets.Checkbox(value=True, description="lowest first", indent=False)
        self.where = widgets.Text(
            description="where",
            placeholder="such as: action == 2 and advantage < 0",
            continuous_update=False,
        )
        self.said, self.head = widgets.HTML(), widgets.HTML()
        self.list = widgets.Select(rows=14, layout={"width": "100%"})
        self.list.add_class("lda-records")
        self.detail, self.near = widgets.HTML(), widgets.HTML()
        self.frame = widgets.Image(format="png", layout={"max_width": "360px"})
        self.table = self.records
        for control in (self.sort, self.lowest, self.where):
            control.observe(self._relist, "value")
        self.list.observe(self._show, "value")
        mono = (
            "<style>.lda-records select, .lda-head pre {font-family: monospace; font-size: 12px}"
            ".lda-head pre {margin: 0 0 0 5px; line-height: 1.2}</style>"
        )
        self.head.add_class("lda-head")
        top = widgets.HBox([self.sort, self.lowest, self.where])
        middle = widgets.HBox([self.frame, self.detail], layout={"align_items": "flex-start"})
        listed = [self.said, self.head, self.list]
        super().__init__([widgets.HTML(mono), top, *listed, middle, self.near])
        self._relist()

    @property
    def chosen(self) -> int | None:
        """Index of the record on display."""
        return self.list.value

    def _relist(self, _: Any = None) -> None:
        try:
            self.table = select(self.records, self.where.value, self.sort.value, self.lowest.value)
        except ValueError as error:
            self.said.value = f"<strong>{html.escape(str(error))}</strong>"
            return
        shown = self.table.head(MOST_LISTED)
        self.said.value = f"{len(self.table)} of {len(self.records)} records" + (
            f", the first {MOST_LISTED} listed" if len(self.table) > MOST_LISTED else ""
        )
        head, *lines = shown.rename_axis(None).to_string(float_format=_short).splitlines()
        self.head.value = f"<pre>{html.escape(head)}</pre>" if len(shown) else ""
        lines = [line.replace(" ", "\u00a0") for line in lines] if len(shown) else []
        self.list.options = list(zip(lines, shown.index.tolist(), strict=True))
        self.list.index = 0 if len(shown) else None

    def _show(self, _: Any = None) -> None:
        if self.chosen is None:
            self.detail.value = self.near.value = ""
            self.frame.layout.display = "none"
            return
        place = self.records.index.get_loc(self.chosen)
        assert isinstance(place, int)
        picture, why = state_picture(self.rollout, place)
        self.frame.layout.display = "none" if picture is None else ""
        self.frame.value = picture or b""
        actions = action_table(self.policy, self.rollout, place)
        self.detail.value = (
            f"<h4>record {self.chosen}: what the policy would do here</h4>"
            + actions.to_html(index=False, float_format=_short)
            + (f"<p>no picture: {html.escape(why)}</p>" if why else "")
        )
        rows = self.records.iloc[[place, *neighbours(self.rollout, place)]].rename_axis(None)
        self.near.value = (
            "<h4>the record, and those nearest to it</h4>"
            f'<div style="overflow-x: auto">{rows.to_html(float_format=_short)}</div>'
        )


def _short(x: float) -> str:
    return f"{x:.3f}"


def record_table(
    policy: nn.Module,
    rollout: Rollout,
    scores: Mapping[str, Tensor] | Tensor | None = None,
    gamma: float = 0.99,
) -> pd.DataFrame:
    """`rollout.table()` with scores and, where the task has a finite model, true advantages."""
    if len(rollout) == 0:
        raise ValueError("rollout: no records, expected at least one")
    scores = {} if scores is None else scores
    named = dict(scores) if isinstance(scores, Mapping) else {"score": torch.as_tensor(scores)}
    for name, x in named.items():
        if x.shape != (len(rollout),):
            raise ValueError(
                f"scores: {name!r} has shape {tuple(x.shape)}, expected ({len(rollout)},)"
            )
    if isinstance(policy, ActorCritic) and finite_model(rollout.task) is not None:
        named["true advantage"] = exact_advantage(policy, rollout, gamma)
    return rollout.table(**named)


def select(
    table: pd.DataFrame, where: str = "", sort: str = "index", lowest_first: bool = True
) -> pd.DataFrame:
    """Records that fulfil a condition, sorted.

    Args:
        table: from `record_table`.
        where: a condition on its columns, as `DataFrame.query` takes it; empty for all.
        sort: a column, or "index".
        lowest_first: ascending.

    Raises:
        ValueError: the condition cannot be understood, or is none.
    """
    if where.strip():
        try:
            table = table.query(where)
        except Exception as error:
            raise ValueError(f"where: {where!r} is no condition here ({error})") from error
    if sort == "index":
        return table.sort_index(ascending=lowest_first)
    return table.sort_values(sort, ascending=lowest_first, kind="stable")


def action_table(policy: nn.Module, rollout: Rollout, i: int) -> pd.DataFrame:
    """What the policy thinks of each action in the state of record `i`, the record's own marked.

    Discrete actions with their probability now; for continuous ones the record's action with its
    log-density, when it was made and now.
    """
    record = rollout[i]
    spaces = rollout.task.spaces
    with torch.no_grad():
        if spaces.action_kind == "discrete":
            every = torch.arange(spaces.action_dim, device=record.action.device)
            obs = record.obs.expand(len(every), *record.obs.shape[1:])
            p = policy.log_prob(obs, every).exp()  # type: ignore[operator]
            taken = ["◀" if a == int(record.action) else "" for a in range(len(every))]
            return pd.DataFrame({"action": range(len(every)), "probability": p, "taken": taken})
        now = float(policy.log_prob(record.obs, record.action))  # type: ignore[operator]
    told = np.round(record.action[0].cpu().numpy(), 3).tolist()
    return pd.DataFrame({"action": [str(told)], "log-density then": record.logp, "now": now})


def neighbours(rollout: Rollout, i: int, count: int = 5) -> list[int]:
    """Places of the records nearest to record `i` by observation, scaled per component, not `i`."""
    obs = rollout.obs.flatten(1).double().cpu()
    scaled = obs / obs.std(0, correction=0).clamp(min=1e-8)
    distance = (scaled - scaled[i]).pow(2).sum(1)
    distance[i] = torch.inf
    return torch.argsort(distance, stable=True)[: min(count, len(rollout) - 1)].tolist()


def state_picture(rollout: Rollout, i: int) -> tuple[bytes | None, str]:
    """The state of record `i` as a PNG file, by replay; or None and why there is none."""
    try:
        env = rollout.restore(i, render_mode="rgb_array")
        pixels = env.render()
        env.close()
    except Exception as error:  # whatever an environment may do, the record is still worth a look
        return None, f"{type(error).__name__}: {error}"
    if not isinstance(pixels, np.ndarray):
        return None, f"the environment rendered {type(pixels).__name__}, expected an image"
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, format="png")
    return file.getvalue(), ""
