"""`python -m lda_lib rlhf ...`: make the small world, train language models, time the scoring."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ..cli import check_same_run, refuse_given
from ..files import write_whole
from ..filters import IIF, RandomDrop
from ..ppo import _check_device
from .bench import SHAPES, scoring_cost
from .config import PRESETS, RLHFConfig
from .filters import Difficulty, released_filter
from .grpo import LanguageGRPO
from .ppo import LanguagePPO
from .pretraining import WorldConfig
from .reward import ClassifierReward
from .scores import METHODS
from .targets import SequenceReturn, TokenReturn
from .world import WORLD, load_world, make_world

CHECKPOINT, RUN = "agent.safetensors", "run.json"


def _iif(drop: float, target: Any) -> IIF:
    return IIF(drop, target=target)


# --keep NAME: how the filter is made from --drop and --target
FILTERS: dict[str, Callable[[float, Any], Any]] = {
    "none": lambda drop, target: None,
    "iif": _iif,
    "random": lambda drop, target: RandomDrop(like=_iif(drop, target)),
    "difficulty": lambda drop, target: Difficulty(like=_iif(drop, target)),  # type: ignore[arg-type]
    "released": lambda drop, target: released_filter(target.held_out or 1024),
}
# options that a filter does not look at
UNUSED = {"none": ("drop", "target", "held_out"), "released": ("drop", "target")}
TRAINERS = {"ppo": LanguagePPO, "grpo": LanguageGRPO}


def _settings(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Turn ("lr=1e-5", "dtype=float32") into settings of `RLHFConfig`."""
    known = {f.name for f in fields(RLHFConfig)}
    found: dict[str, Any] = {}
    for pair in pairs:
        name, given, text = pair.partition("=")
        if not given or name not in known:
            raise click.BadParameter(f"{pair!r}, expected NAME=VALUE with one of {sorted(known)}")
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


@click.command("make-world")
@click.option("--out", type=click.Path(path_type=Path), default=WORLD, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Of pretraining; a quick look needs few.")
@click.option("--force", is_flag=True, help="Replace what is in --out.")
def make(out: Path, seed: int, steps: int | None, force: bool) -> None:
    """Make the small world: tokenizer, language model, two classifiers, prompts (6 minutes)."""
    if (out / "world.json").exists() and not force:
        raise click.UsageError(f"{out} holds a world already: add --force, or choose another --out")
    few = {} if steps is None else {"steps": steps, "classifier_steps": steps}
    told = make_world(out, WorldConfig(seed=seed, **few))
    click.echo(json.dumps(told, indent=1))
    click.echo(f"wrote {out}")


@click.command()
@click.option("--model", help="Causal language model: a folder or a name; the small world's.")
@click.option("--reward", help="Sequence-classification model; the small world's by default.")
@click.option("--label", help="Label whose logit is the reward; 'courteous' in the small world.")
@click.option(
    "--reads", type=click.Choice(["generation", "text"]), default="generation", show_default=True,
    help="What --reward reads: the generation, or prompt and generation.",
)  # fmt: skip
@click.option(
    "--prompts", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Text file, a prompt per line; the small world's by default.",
)  # fmt: skip
@click.option(
    "--validation", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The same for held-out targets.",
)  # fmt: skip
@click.option("--algorithm", type=click.Choice(list(TRAINERS)), default="ppo", show_default=True)
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Settings to begin with.")
@click.option(
    "--set", "settings", multiple=True, callback=_settings, help="NAME=VALUE, any number."
)
@click.option("--keep", type=click.Choice(list(FILTERS)), default="none", show_default=True)
@click.option(
    "--drop", type=click.FloatRange(0, 1), default=1.0, show_default=True,
    help="Share of the records with negative scores that --keep drops.",
)  # fmt: skip
@click.option("--target", type=click.Choice(["seq", "token"]), default="seq", show_default=True)
@click.option(
    "--held-out", type=click.IntRange(0), default=0, show_default=True,
    help="Generations on validation prompts as the target's reference; 0: the round's own "
    "(with --keep released: 1024).",
)  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on where the run in --out stopped.")
def train(out: Path, resume: bool, rounds: int, device: str, **asked: Any) -> None:
    """Train a language model against a reward model.

    After every round --out holds the history (history.csv) and the adapters (agent.safetensors);
    a run that was stopped goes on with --resume. With --resume, --rounds is the total.

    \b
    Examples:
      python -m lda_lib rlhf train --keep iif --out runs/manners
      python -m lda_lib rlhf train --preset paper --keep iif --rounds 109 --device cuda \\
        --model EleutherAI/gpt-neo-2.7B --reward facebook/roberta-hate-speech-dynabench-r4-target \\
        --label nothate --prompts prompts.txt --out runs/paper
    """  # noqa: D301
    _check_device(device)
    refuse_given(UNUSED.get(asked["keep"], ()), f"--keep {asked['keep']}")
    trainer = TRAINERS[asked["algorithm"]]
    RLHFConfig.preset(asked["preset"] or trainer.preset, **asked["settings"])  # told before loading
    asked = {k: str(v) if isinstance(v, Path) else v for k, v in asked.items()}
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise click.UsageError(f"{out} holds a run already: add --resume, or choose another --out")
    if checkpoint.exists():
        check_same_run(out, asked)
    if (asked["reward"] is None) != (asked["label"] is None):
        raise click.UsageError("--reward and --label belong together")
    name, reward, prompts, validation = _world(asked, device)
    target = {"seq": SequenceReturn, "token": TokenReturn}[asked["target"]](asked["held_out"])
    keep = FILTERS[asked["keep"]](asked["drop"], target)
    more = {"keep": keep, "validation": validation, "device": device}
    if checkpoint.exists():
        agent = trainer.load(checkpoint, name, reward, prompts, **more)
        click.echo(f"{checkpoint}: goes on after round {agent.round}")
    else:
        agent = trainer(
            name, reward, prompts, seed=asked["seed"], preset=asked["preset"], **more,
            **asked["settings"],
        )  # fmt: skip
        text = json.dumps(asked, indent=2)
        write_whole(out / RUN, lambda path: path.write_text(text, encoding="utf-8"))

    def save(agent: LanguagePPO, *_: object) -> None:
        agent.save(checkpoint)
        write_history()

    def write_history() -> None:
        table = agent.history
        write_whole(out / "history.csv", lambda path: table.to_csv(path, index=False))

    agent.learn(max(0, rounds - agent.round), callback=save, label=f"{name} seed {agent.seed}")
    write_history()  # a kill can fall between the two files
    last = agent.history.iloc[-1]
    click.echo(
        f"round {agent.round}: reward {last['reward_mean']:.3g} (standard error "
        f"{last['reward_se']:.2g}), KL {last['kl']:.2g}, kept {last['kept']:.0f}; wrote {out}"
    )


def _world(asked: dict[str, Any], device: str) -> tuple[str, Any, list[str], list[str]]:
    """Model, reward, prompts and validation prompts; what is not named is the small world's."""
    world = load_world() if None in [asked[k] for k in ("model", "reward", "prompts")] else None
    reward: Any
    if asked["reward"] is None:
        assert world is not None
        reward = world.reward
        reward.model.to(device)
    else:
        label = int(asked["label"]) if asked["label"].isdigit() else asked["label"]
        reward = ClassifierReward(asked["reward"], label, reads=asked["reads"], device=device)
    found = []
    for kind, option in (("train", "prompts"), ("validation", "validation")):
        if asked[option] is not None:
            text = Path(asked[option]).read_text(encoding="utf-8")
            found.append([line.strip() for line in text.splitlines() if line.strip()])
        else:
            found.append(world.prompts[kind] if world is not None else [])
    model = asked["model"] or (world.lm if world is not None else "")
    return model, reward, found[0], found[1]


@click.command()
@click.option("--shape", type=click.Choice(list(SHAPES)), default="small", show_default=True)
@click.option("--sequences", type=click.IntRange(1), default=256, show_default=True)
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True)
@click.option(
    "--set", "settings", multiple=True, callback=_settings, help="NAME=VALUE, any number."
)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
def bench(shape: str, sequences: int, methods: tuple[str, ...], settings: dict, **how: Any) -> None:
    """What scoring costs at the shape of a GPT-Neo: seconds, forward passes, memory.

    Weights and texts are random, nothing is downloaded; settings begin with the paper's.

    \b
    Examples:
      python -m lda_lib rlhf bench
      python -m lda_lib rlhf bench --shape 2.7B --device cuda --set micro_batch=64
    """  # noqa: D301
    _check_device(how["device"])
    config = RLHFConfig.preset("paper", **settings)
    methods = methods or ("jvp", "ghost")
    table = scoring_cost(shape, n=sequences, methods=methods, config=config, **how)
    click.echo(table.to_string(index=False, float_format="{:.3g}".format))


COMMANDS: dict[str, click.Command] = {"make-world": make, "train": train, "bench": bench}
