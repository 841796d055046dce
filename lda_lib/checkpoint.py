"""An agent on disk: one safetensors file with a small JSON in its header."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from weakref import ref

import numpy as np
import torch

from .files import CheckpointError, load_tensors, save_tensors
from .policy import architecture_from, load_weights
from .ppo import PPO, Keep, Mend
from .repair import Past, Repair
from .step import OptState
from .tasks import TASKS, Task

FORMAT = 1
PARTS = set(
    "task task_name arch config keep seed n_envs round collected optimizer_steps compiled counts "
    "history".split()
)


def save_agent(agent: PPO, path: str | os.PathLike) -> None:
    """Write everything the agent's next round depends on, and its history.

    Raises:
        OSError: the file could not be written; an earlier checkpoint at `path` is intact.
    """
    collector = agent.collector
    tensors = {f"policy.{k}": p for k, p in agent.policy.state_dict().items()}
    tensors |= {f"m.{k}": p for k, p in agent.opt_state.m.items()}
    tensors |= {f"v.{k}": p for k, p in agent.opt_state.v.items()}
    tensors["t"] = agent.opt_state.t
    for i, past in enumerate(agent.repair.memory if isinstance(agent.repair, Repair) else []):
        tensors |= {f"past.{i}.{name}": x for name, x in past._asdict().items()}
    tensors["obs"] = torch.from_numpy(collector.obs)
    for e in range(agent.n_envs):
        actions = collector.episode_in_progress(e).actions
        tensors[f"actions.{e}"] = torch.from_numpy(actions)
    task = agent.task
    by_name = task == (TASKS.get(task.name) or Task(task.name, task.name))
    info = {
        "kind": "agent",
        "format": FORMAT,
        "task": task.name if by_name else None,
        "task_name": task.name,
        "arch": asdict(agent.policy.arch),
        "config": asdict(agent.config),
        "keep": describe_keep(agent.keep),
        "repair": describe_keep(agent.repair, "no repair"),
        "seed": agent.seed,
        "n_envs": agent.n_envs,
        "round": agent.round,
        "collected": agent.collected,
        "optimizer_steps": agent.optimizer_steps,
        "compiled": agent.compiled,
        "counts": collector.counts,
        "history": agent.rows,
    }
    save_tensors(path, tensors, info)


def load_agent(
    path: str | os.PathLike,
    *,
    keep: Keep | None = None,
    repair: Mend | None = None,
    task: Any = None,
    device: str | torch.device = "cpu",
) -> PPO:
    """Read a checkpoint back; the run goes on bit for bit where the environment replays.

    Args:
        path: what `PPO.save` wrote.
        keep: the filter of the run (a checkpoint holds its description, not its code).
        repair: likewise; what it remembered of earlier rounds is in the checkpoint.
        task: the environment, where it is neither a task of the course nor a gymnasium id.
        device: where the networks shall live.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: the file is damaged, foreign, of another format or another task's.
    """
    tensors, info = load_tensors(path, "agent")
    if info.get("format") != FORMAT:
        raise CheckpointError(f"path: {str(path)!r} has format {info.get('format')}, not {FORMAT}")
    actions = [f"actions.{e}" for e in range(info.get("n_envs", 1))]
    if missing := [*(PARTS - set(info)), *({"t", "obs", *actions} - set(tensors))]:
        raise CheckpointError(f"path: {str(path)!r} lacks a part of an agent: {min(missing)}")
    return _rebuild(tensors, info, path, keep, repair, task, device)


def _rebuild(
    tensors: dict,
    info: dict,
    path: Any,
    keep: Keep | None,
    repair: Mend | None,
    task: Any,
    device: Any,
) -> PPO:
    if task is None and info["task"] is None:
        raise CheckpointError(
            f"path: the agent in {str(path)!r} was trained in {info['task_name']!r}, which its "
            "name alone does not bring back; pass it as task="
        )
    was = {"keep": info["keep"], "repair": info.get("repair", "no repair")}
    now = {"keep": describe_keep(keep), "repair": describe_keep(repair, "no repair")}
    for name in was:
        if was[name] != now[name]:
            warnings.warn(
                f"{name}: the agent in {str(path)!r} was trained with {was[name]}, it goes on with "
                f"{now[name]}",
                stacklevel=4,
            )
    agent = PPO(
        info["task"] if task is None else task,
        seed=info["seed"],
        keep=keep,
        repair=repair,
        n_envs=info["n_envs"],
        device=device,
        **info["config"],
    )
    if info["task"] not in (None, agent.task.name):
        raise CheckpointError(
            f"path: the agent in {str(path)!r} was trained in {info['task']!r}, not in "
            f"{agent.task.name!r}"
        )
    if agent.policy.arch != architecture_from(info["arch"]):
        raise CheckpointError(
            f"path: the agent in {str(path)!r} was built for {info['task_name']!r} with "
            f"{info['arch']}; task {agent.task.name!r} needs {asdict(agent.policy.arch)}"
        )

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)}

    load_weights(agent.policy, part("policy."), path)
    m, v = ({k: x.to(device) for k, x in part(name).items()} for name in ("m.", "v."))
    agent.opt_state = OptState(m, v, tensors["t"])
    agent.round, agent.collected = info["round"], info["collected"]
    agent.optimizer_steps, agent.compiled = info["optimizer_steps"], info["compiled"]
    agent.rows = info["history"]
    if isinstance(repair, Repair):
        rounds = len({name.split(".")[1] for name in tensors if name.startswith("past.")})
        pasts = (part(f"past.{i}.") for i in range(rounds))
        repair._owner = ref(agent)
        repair.memory = [Past(**{k: x.to(device) for k, x in p.items()}) for p in pasts]
    if agent.task.shared:
        agent.collector.counts = list(info["counts"])
        agent.collector.begin_anew()
        warnings.warn(
            f"task: {agent.task.name!r} is one environment object, whose episode in progress "
            "cannot be lived again; a new one begins, and the history will not be bit-identical "
            "to an uninterrupted run",
            stacklevel=4,
        )
    else:
        actions = [tensors[f"actions.{e}"].numpy() for e in range(agent.n_envs)]
        agent.collector.resume(info["counts"], actions, np.asarray(tensors["obs"]))
    return agent


def describe_keep(keep: Callable | None, nothing: str = "no filter") -> str:
    """A filter or repair in words, to be compared on resuming."""
    told = nothing if keep is None else getattr(keep, "__name__", None) or repr(keep)
    return re.sub(r" at 0x[0-9a-f]+", "", told)  # where a function lay in memory
