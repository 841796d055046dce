"""The command line: train, evaluate and score agents, also those of Stable-Baselines3."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import pandas as pd
from click.core import ParameterSource

from . import __version__
from .config import PRESETS
from .files import CheckpointError, write_whole
from .filters import IIF, AdvantageHeuristic, LowestAdvantage, RandomDrop, TDError, agent_scores
from .ppo import PPO, Keep
from .repair import Repair
from .rollout import Rollout
from .scores import score_table
from .studies.cli import study
from .studies.run import Failed
from .studies.store import Busy
from .targets import Action, Return, Target
from .tasks import make_task

CHECKPOINT = "agent.safetensors"
RUN = "run.json"

# --keep NAME: how the filter is made from the share that --drop gives
FILTERS: dict[str, Callable[[float], Keep | None]] = {
    "none": lambda drop: None,
    "iif": lambda drop: IIF(drop),
    "random": lambda drop: RandomDrop(like=IIF(drop)),
    "lowest-advantage": lambda drop: LowestAdvantage(like=IIF(drop)),
    "advantage-1": lambda drop: AdvantageHeuristic(drop, rule=1),
    "advantage-2": lambda drop: AdvantageHeuristic(drop, rule=2),
    "td-error": lambda drop: TDError(),
}
UNUSED = {"none": ("drop",), "td-error": ("drop",)}  # options that a filter does not look at


class _Cli(click.Group):
    """Says what is wrong with the input in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (
            ValueError,
            TypeError,
            ArithmeticError,
            ImportError,
            OSError,
            MemoryError,
            Busy,
            Failed,
        ) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Which experience taught it that? Data attribution for online reinforcement learning."""


main.add_command(study)


class _Rlhf(click.Group):
    """Loads its commands when they are asked for: they need transformers and peft."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["make-world", "train", "bench"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from .rlhf.cli import COMMANDS

        return COMMANDS.get(cmd_name)


@main.command("rlhf", cls=_Rlhf)
def rlhf() -> None:
    """Language models: make the small world, train, time (needs the extra `rlhf`)."""


@main.command()
@click.argument("task")
@click.option("--keep", type=click.Choice(list(FILTERS)), default="none", show_default=True)
@click.option(
    "--drop",
    type=click.FloatRange(0, 1),
    help="Share of the candidates that --keep drops; the paper's for this task by default.",
)
@click.option("--rounds", type=click.IntRange(1), help="The paper's for this task by default.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--lr", type=float, help="Learning rate; the task's by default.")
@click.option("--desired-kl", type=float, help="Nats per update: the policy's rate follows.")
@click.option("--stretch", type=float, help="Steps as long as repair makes them; strength, 30.")
@click.option("--repair", is_flag=True, help="Learn from repaired advantages (see Repair).")
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]), help="The task's by default.")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="paired", show_default=True)
@click.option("--n-envs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option(
    "--compile", "compile_", type=click.Choice(["auto", "yes", "no"]), default="auto",
    show_default=True, help="Compile the optimiser step (repays itself from about 40 rounds on).",
)  # fmt: skip
@click.option(
    "--episodes", type=click.IntRange(0), default=20, show_default=True,
    help="Episodes per evaluation where the return is not exact; 0 for none.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on where the run in --out stopped.")
def train(task: str, out: Path, rounds: int | None, resume: bool, episodes: int, **choices) -> None:
    """Train an agent on TASK, a name of the course or any gymnasium id.

    After every round the folder --out holds the history up to then (history.csv) and a checkpoint
    (agent.safetensors); a run that was stopped, even killed, goes on with --resume as if nothing
    had happened. With --resume, --rounds is the total.

    \b
    Example:
      python -m lda_lib train LunarLander --keep iif --drop 0.125 --rounds 20 --out runs/x
      python -m lda_lib train LunarLander --stretch 30 --rounds 20 --out runs/y
    """  # noqa: D301
    refuse_given(UNUSED.get(choices["keep"], ()), f"--keep {choices['keep']}")
    made = make_task(task)
    rounds = made.rounds if rounds is None else rounds
    if choices["drop"] is None:
        choices["drop"] = made.drop
    settings = {"task": task, "episodes": episodes, **choices}
    checkpoint = out / CHECKPOINT
    if resume and checkpoint.exists():
        check_same_run(out, settings)
        hooks = _hooks(choices["keep"], choices["drop"], choices["repair"])
        agent = PPO.load(checkpoint, device=choices["device"], **hooks)
        click.echo(f"{checkpoint}: goes on after round {agent.round}")
    elif checkpoint.exists():
        raise click.UsageError(f"{out} holds a run already: add --resume, or choose another --out")
    else:
        agent = _new_agent(task, **choices)
        write_whole(out / RUN, lambda path: path.write_text(json.dumps(settings, indent=2)))

    def save(agent: PPO, *_: object) -> None:
        agent.save(checkpoint)
        write_csv(agent.history, out / "history.csv")

    agent.learn(
        max(0, rounds - agent.round), episodes=episodes, callback=save, label=f"{task} seed "
        f"{agent.seed}",
    )  # fmt: skip
    write_csv(agent.history, out / "history.csv")  # a kill can fall between the two files
    last = agent.history.iloc[-1]
    click.echo(
        f"round {agent.round}: return {last['return_mean']:.4g} (standard error "
        f"{last['return_se']:.2g}), kept {last['kept']:.0f} records; wrote {out}"
    )


def _new_agent(
    task: str, *, keep: str, drop: float, repair: bool, compile_: str, **choices: Any
) -> PPO:
    given = {k: v for k, v in choices.items() if v is not None}
    compiling = {"auto": "auto", "yes": True, "no": False}[compile_]
    return PPO(task, compile=compiling, **_hooks(keep, drop, repair), **given)


def _hooks(keep: str, drop: float, repair: bool) -> dict[str, Any]:
    """The filter and the repair of a run; a checkpoint does not hold these functions."""
    return {"keep": FILTERS[keep](drop), "repair": Repair() if repair else None}


def refuse_given(names: Iterable[str], where: str) -> None:
    """Refuse options that were given and mean nothing beside the option `where`."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} {context.params[name]} means nothing with {where}")


def read_run(out: Path, why: str = "") -> dict[str, Any]:
    """Settings that a run's folder began with; `why` it is read, for the message where it fails."""
    path = out / RUN
    try:
        began = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(began, dict):
            raise ValueError(f"it holds a {type(began).__name__}, expected settings by name")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{why}{path} cannot be read ({error})") from error
    return began


def check_same_run(out: Path, asked: dict[str, Any]) -> None:
    """A resumed run keeps its settings: say which one was asked to change."""
    began = read_run(out, "--resume: ")
    for name, value in json.loads(json.dumps(asked)).items():
        if (began.get(name) or None) != (value or None):  # one that it does not know was off
            option = {"compile_": "compile", "settings": "set"}.get(name, name.replace("_", "-"))
            raise click.UsageError(
                f"--{option} is {value!r}, but the run in {out} began with {began.get(name)!r}"
            )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--episodes", type=click.IntRange(1), default=100, show_default=True)
def evaluate(run: Path, episodes: int) -> None:
    """Expected return of a trained agent; RUN is a run's folder or a checkpoint."""
    agent = load(run)
    result = agent.evaluate(episodes)
    how = "exact" if result.exact else f"standard error {result.se:.3g}, {result.n} episodes"
    click.echo(f"{agent.task.name} after {agent.round} rounds: return {result.mean:.4g} ({how})")


@main.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--target", type=click.Choice(["return", "action"]), default="return", show_default=True,
    help="What raises the return from here, or why the agent takes an action in a state.",
)  # fmt: skip
@click.option("--record", type=click.IntRange(0), help="With --target action: this record's state.")
@click.option("--action", type=int, help="With --target action: this action; the record's default.")
@click.option(
    "--method", type=click.Choice(["jvp", "ghost", "vmap", "loop"]), default="jvp",
    show_default=True,
)  # fmt: skip
@click.option("--top", type=click.IntRange(0), default=5, show_default=True, help="Rows shown.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write.")
@click.option(
    "--sb3", type=click.Path(path_type=Path),
    help="Instead of RUN: a PPO or A2C model saved by Stable-Baselines3, which unpickles it. "
    "Only for files that you trust.",
)  # fmt: skip
@click.option("--env", help='With --sb3: gymnasium id, or "module:id" to import the module first.')
@click.option(
    "--vecnormalize", type=click.Path(path_type=Path),
    help="With --sb3: statistics saved by VecNormalize; unpickled too.",
)  # fmt: skip
@click.option(
    "--records", type=click.IntRange(2), help="With --sb3: how many to collect.  [default: 2048]"
)
@click.option("--seed", type=click.IntRange(0), help="With --sb3: of the rollout.  [default: 0]")
def score(
    run: Path | None, target: str, record: int | None, action: int | None, method: str, top: int,
    out: Path | None, **sb3: Any,
) -> None:  # fmt: skip
    """Collect a fresh rollout with the agent in RUN and score its records.

    The CSV holds every record, the highest and the lowest scores first. Positive: learning from
    the record raises the target.

    With --sb3 the agent is a saved model of Stable-Baselines3. Its file format runs code when it is
    loaded: open only files that you trust.

    \b
    Example:
      python -m lda_lib score --sb3 model.zip --env LunarLander-v3 --out scores.csv
    """  # noqa: D301
    if target != "action":
        refuse_given(("record", "action"), f"--target {target}")
    if sb3["sb3"] is None:
        if given := [name for name, value in sb3.items() if value is not None]:
            raise click.UsageError(f"--{given[0]} needs --sb3 MODEL.zip")
        if run is None:
            raise click.UsageError(
                "expected RUN, a run's folder or a checkpoint, or --sb3 MODEL.zip"
            )
        agent: Any = load(run)
        rollout = agent.collect()
        if agent.repair is not None:  # scores of what the run learns from
            rollout = agent.repair(agent, rollout)
    else:
        if run is not None:
            raise click.UsageError(f"RUN {str(run)!r} and --sb3: expected only one of the two")
        agent, rollout = _sb3_rollout(**sb3)
    asked: Target = Return()
    if target == "action":
        if record is None or record >= len(rollout) or rollout.action.ndim != 1:
            raise click.UsageError(
                f"--record: {record}, expected a record below {len(rollout)} of a task with "
                "discrete actions"
            )
        asked = Action(
            rollout.obs[record], int(rollout.action[record]) if action is None else action
        )
    scores = agent_scores(agent, rollout, asked, method=method)
    if out is not None:
        write_csv(score_table(rollout, scores, order="extremes"), out)
        click.echo(f"wrote {out}: {len(rollout)} records")
    table = score_table(rollout, scores)
    with pd.option_context("display.width", 160, "display.max_columns", 20):
        click.echo(f"top {top} records\n{table.head(top)}")
        click.echo(f"bottom {top} records\n{table.tail(top)[::-1]}")


def _sb3_rollout(
    sb3: Path, env: str | None, vecnormalize: Path | None, records: int | None, seed: int | None
) -> tuple[Any, Rollout]:
    """What filters call the agent, and fresh records, of a saved model of Stable-Baselines3."""
    from .sb3 import agent_from, fresh_rollout, load_model

    if env is None:
        raise click.UsageError("--sb3 needs --env, such as --env LunarLander-v3")
    model = load_model(sb3, env, vecnormalize=vecnormalize)
    return agent_from(model), fresh_rollout(model, records or 2048, seed=seed or 0)


def load(run: Path) -> PPO:
    """The agent of a run's folder or checkpoint, without the filter it was trained with.

    The folder also says whether it learns from repaired advantages; of a checkpoint alone that did,
    a warning tells that its advantages are not repaired here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="keep:")
        if not run.is_dir():
            return PPO.load(run)
        mended = (run / RUN).exists() and read_run(run).get("repair")
        return PPO.load(run / CHECKPOINT, repair=Repair() if mended else None)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table whole."""
    write_whole(path, lambda temporary: table.to_csv(temporary, index=False))
