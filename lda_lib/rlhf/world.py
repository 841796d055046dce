"""The small world: a tokenizer, a language model and two classifiers, made by one command.

    python -m lda_lib rlhf make-world

    lm/          GPT-Neo of 1.3 M parameters, pretrained on the corpus, and its tokenizer
    reward/      classifier for training: scenes only, two thirds of the sentences
    judge/       classifier for testing: larger, messages too, other two thirds, another seed
    prompts.json prompts: training, validation, held-out scenes, held-out messages ("elsewhere")

The two classifiers share the sentences that both have seen, a third of them, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files import write_whole
from ..results import DATA
from .corpus import prompts
from .pretraining import (
    WorldConfig,
    accuracies,
    pretrain,
    reading,
    train_classifier,
    train_tokenizer,
)
from .reward import ClassifierReward

WORLD = DATA / "rlhf_world"


@dataclass(frozen=True)
class World:
    """The small world, loaded.

    Attributes:
        lm: folder of the language model and its tokenizer.
        reward: the training reward: its logit of "courteous".
        judge: the independent one for testing.
        prompts: by purpose: "train", "validation", "test" and "elsewhere".
    """

    lm: str
    reward: ClassifierReward
    judge: ClassifierReward
    prompts: dict[str, list[str]]


def load_world(folder: Path = WORLD) -> World:
    """Read the small world.

    Raises:
        FileNotFoundError: it is not there.
    """
    folder = Path(folder)
    if not (folder / "prompts.json").is_file():
        raise FileNotFoundError(
            f"folder: no small world in {str(folder)!r}; make it with python -m lda_lib rlhf "
            "make-world"
        )
    found = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    reward, judge = (ClassifierReward(str(folder / k), "courteous") for k in ("reward", "judge"))
    return World(str(folder / "lm"), reward, judge, found)


def make_world(folder: Path = WORLD, config: WorldConfig | None = None) -> dict[str, Any]:
    """Make everything and write it to `folder`, replacing what is there.

    Returns:
        What the data card quotes: sizes, losses, accuracies, seconds.
    """
    config = config or WorldConfig()
    started = time.process_time()
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with torch.random.fork_rng(devices=[]):
            told = _make(new, config)
        told["core_seconds"] = round(time.process_time() - started)
        text = json.dumps(told, indent=1) + "\n"
        write_whole(new / "world.json", lambda path: path.write_text(text, encoding="utf-8"))
        if (card := folder / "README.md").exists():
            shutil.copy(card, new / card.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.chmod(new, 0o755)
        os.replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return told


def _make(folder: Path, config: WorldConfig) -> dict[str, Any]:
    tokenizer = train_tokenizer(config)
    tokenizer.save_pretrained(folder / "lm")
    lm, loss = pretrain(tokenizer, config)
    _write(lm, folder / "lm")
    told: dict[str, Any] = {"config": asdict(config), "lm": {"loss": loss, **_size(lm)}}
    reader = reading(tokenizer)
    for which, (name, width, elsewhere) in enumerate((("reward", 48, 0.0), ("judge", 96, 0.5))):
        model = train_classifier(reader, config, which, width, elsewhere)
        _write(model, folder / name)
        reader.save_pretrained(folder / name)
        told[name] = {"accuracy": accuracies(model, reader, config), **_size(model)}
    lists = prompt_lists(config.seed)
    text = json.dumps(lists, indent=0)
    write_whole(folder / "prompts.json", lambda path: path.write_text(text, encoding="utf-8"))
    return told


def prompt_lists(seed: int) -> dict[str, list[str]]:
    """Prompts by purpose; none stands in two lists."""
    scenes = prompts(1000 * (seed + 1), 1800)
    messages = prompts(1000 * (seed + 1), 256, elsewhere=True)
    return {
        "train": scenes[:1200],
        "validation": scenes[1200:1600],
        "test": scenes[1600:],
        "elsewhere": messages,
    }


def _size(model: nn.Module) -> dict[str, int]:
    return {"parameters": sum(p.numel() for p in model.parameters())}


def _write(model: Any, folder: Path) -> None:
    """float16, half the size; loaded as float32."""
    model.half().save_pretrained(folder)
    os.chmod(folder / "model.safetensors", 0o644)
    model.float()
