"""A language-model run on disk: adapters, value head and Adam's moments, not the frozen weights."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoint import describe_keep
from ..files import CheckpointError, load_tensors, save_tensors
from .models import Model
from .reward import RewardFunction

if TYPE_CHECKING:
    from .ppo import LanguagePPO

FORMAT = 1


def _digest(prompts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:16]


def save_agent(agent: LanguagePPO, path: str | os.PathLike) -> None:
    """Write everything the agent's next round depends on but model, reward and prompts.

    Raises:
        OSError: the file could not be written; an earlier checkpoint at `path` is intact.
    """
    names = list(agent.policy.trainable())
    tensors: dict[str, torch.Tensor] = {f"p.{k}": p for k, p in agent.policy.trainable().items()}
    for i, state in agent.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{key}.{names[i]}": x for key, x in state.items()}
    info = {
        "kind": "language agent",
        "format": FORMAT,
        "algorithm": type(agent).__name__,
        "config": asdict(agent.config),
        "keep": describe_keep(agent.keep),
        "prompts": _digest(agent.prompts),
        "seed": agent.seed,
        "round": agent.round,
        "collected": agent.collected,
        "optimizer_steps": agent.optimizer_steps,
        "kl_coef": agent.kl_coef,
        "history": agent.rows,
    }
    save_tensors(path, tensors, info)


def load_agent(
    kind: type[LanguagePPO],
    path: str | os.PathLike,
    model: Model,
    reward: RewardFunction,
    prompts: Sequence[str],
    **more: Any,
) -> LanguagePPO:
    """Read a checkpoint back; the run goes on bit for bit.

    Args:
        kind: the trainer's class.
        path: what its `save` wrote.
        model: the model the run began with.
        reward: its reward function.
        prompts: its prompts.
        **more: keep, validation, tokenizer, device of the run.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: the file is damaged, foreign, of another format, trainer, model or prompts.
    """
    tensors, info = load_tensors(path, "language agent")
    if (info.get("format"), info.get("algorithm")) != (FORMAT, kind.__name__):
        raise CheckpointError(
            f"path: {str(path)!r} holds a {info.get('algorithm')} of format {info.get('format')}, "
            f"expected a {kind.__name__} of format {FORMAT}"
        )
    if info["prompts"] != _digest(prompts):
        raise CheckpointError(f"prompts: not those that the run in {str(path)!r} began with")
    if info["keep"] != describe_keep(more.get("keep")):
        warnings.warn(
            f"keep: the agent in {str(path)!r} was trained with {info['keep']}, it goes on with "
            f"{describe_keep(more.get('keep'))}",
            stacklevel=3,
        )
    agent = kind(model, reward, prompts, seed=info["seed"], **info["config"], **more)
    trainable = agent.policy.trainable()
    stored = {k.removeprefix("p."): x for k, x in tensors.items() if k.startswith("p.")}
    shapes = {k: p.shape for k, p in trainable.items()}
    if {k: x.shape for k, x in stored.items()} != shapes:
        raise CheckpointError(
            f"model: its adapters are not those of {str(path)!r}, expected the model the run began "
            "with"
        )
    with torch.no_grad():
        for k, p in trainable.items():
            p.copy_(stored[k])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, x in tensors.items():
        if name.startswith("adam."):
            key, of = name.removeprefix("adam.").split(".", 1)
            state.setdefault(list(trainable).index(of), {})[key] = x
    agent.optimizer.load_state_dict(agent.optimizer.state_dict() | {"state": state})
    for name in ("round", "collected", "optimizer_steps", "kl_coef"):
        setattr(agent, name, info[name])
    agent.rows = info["history"]
    return agent
