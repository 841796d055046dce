"""Does filtering teach a language model manners in fewer rounds? On the small world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ..filters import IIF, RandomDrop
from ..metrics import runtime_saving, sample_efficiency
from ..plots import learning_curves, use_style
from .learning_tables import with_interval
from .study import Study, Trial

if TYPE_CHECKING:  # the extra `rlhf` is needed to run this study, not to list or show it
    from ..rlhf import LanguagePPO

# "x3": three times the learning rate. What does filtering gain that a larger step does not?
ARMS = {
    "PPO": ("PPO", "PPO x3", "IIF f_seq", "IIF f_seq 50%", "IIF f_seq 25%", "IIF f_return",
            "IIF held-out", "random drop", "difficulty", "IIF f_seq x3"),
    "GRPO": ("GRPO", "IIF", "IIF, baseline of the kept", "random drop"),
}  # fmt: skip
# The paper's rate. On seed 900, looked at before, PPO was done after 12 rounds at 3e-5 and after 8
# at 1e-4, so that this one leaves room for an arm to be faster, and x3 says what tuning does.
LR = 1e-5
PROMPTS = 96  # of each kind, at which the model is probed


def grid(profile: str) -> list[Trial]:
    """Three seeds, 40 rounds of 128 generations, minibatches of 8."""
    rounds, sequences, seeds = {"full": (40, 128, 3), "quick": (4, 64, 1), "smoke": (1, 16, 1)}[
        profile
    ]
    settings = {"rounds": rounds, "n_sequences": sequences, "lr": LR, "probe_every": 4}
    return [
        Trial(task, arm, seed, settings)
        for task, arms in ARMS.items()
        for seed in range(seeds)
        for arm in (arms if profile != "smoke" else arms[:1])
    ]


def _keep(arm: str, sequences: int) -> Any:
    from ..rlhf import Difficulty, SequenceReturn, TokenReturn

    iif: Any = IIF(1.0)

    held_out: Any = SequenceReturn(held_out=sequences)
    token: Any = TokenReturn()
    return {
        "IIF": lambda: IIF(1.0),
        "IIF, baseline of the kept": lambda: IIF(1.0),
        "IIF f_seq": lambda: IIF(1.0),
        "IIF f_seq x3": lambda: IIF(1.0),
        "IIF f_seq 50%": lambda: IIF(0.5),
        "IIF f_seq 25%": lambda: IIF(0.25),
        "IIF f_return": lambda: IIF(1.0, target=token),
        "IIF held-out": lambda: IIF(1.0, target=held_out),
        "random drop": lambda: RandomDrop(like=IIF(1.0)),
        "difficulty": lambda: Difficulty(like=iif),
    }.get(arm, lambda: None)()


def run(trial: Trial) -> pd.DataFrame:
    """The history of one run; see `probe` for the columns beside the trainer's own."""
    import torch

    from ..rlhf import LanguageGRPO, LanguagePPO, load_world

    torch.set_num_threads(1)
    s, world = trial.settings, load_world()
    trainer = LanguageGRPO if trial.task == "GRPO" else LanguagePPO
    more = {"group_baseline": "kept"} if trial.arm == "IIF, baseline of the kept" else {}
    agent = trainer(
        world.lm,
        world.reward,
        world.prompts["train"],
        validation=world.prompts["validation"],
        seed=trial.seed,
        keep=_keep(trial.arm, s["n_sequences"]),
        n_sequences=s["n_sequences"],
        lr=s["lr"] * (3 if trial.arm.endswith("x3") else 1),
        **more,
    )

    def probed(agent: LanguagePPO) -> dict[str, float]:
        return probe(agent, world)

    return agent.learn(s["rounds"], probe=probed, probe_every=s["probe_every"], progress=False)


def probe(agent: LanguagePPO, world: Any) -> dict[str, float]:
    """What the model writes after held-out prompts of both kinds.

    Columns, for "test" (scenes as in training) and "elsewhere" (messages): `rude_*`, the rude share
    of the rude and courteous sentences by the grammar itself; `judge_*`, the independent judge's
    logit of "courteous"; `strange_*`, the share of sentences that are none of the grammar's;
    `distinct_*`, distinct texts per text.
    """
    from ..rlhf.corpus import registers

    found: dict[str, float] = {}
    for kind in ("test", "elsewhere"):
        prompts = world.prompts[kind][:PROMPTS]
        texts = agent.write(prompts)
        every = [r for text in texts for r in registers(text)]
        marked = sum(r in ("rude", "courteous") for r in every)
        found |= {
            f"rude_{kind}": every.count("rude") / marked if marked else float("nan"),
            f"judge_{kind}": float(world.judge(prompts, texts).mean()),
            f"strange_{kind}": every.count("other") / len(every) if every else float("nan"),
            f"distinct_{kind}": len(set(texts)) / len(texts),
        }
    return found


def _seconds(rows: pd.DataFrame) -> pd.Series:
    """Seconds of each round without the probes."""
    return rows[[c for c in _phases(rows) if c != "seconds_probe"]].sum(axis=1)


def _phases(rows: pd.DataFrame) -> list[str]:
    return [str(c) for c in rows.columns if str(c).startswith("seconds_")]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per arm: final reward, rudeness elsewhere, rounds and time saved on the way to PPO's best.

    Savings are in percent of the plain arm's of the same seed, with 95 % confidence intervals over
    seeds; `censored` counts seeds that never reached the plain arm's best reward. Seconds are
    those of the process, per round.
    """
    out = []
    for task, arms in ARMS.items():
        mine = rows[rows.task == task].sort_values("round")
        plain = dict(tuple(mine[mine.arm == arms[0]].groupby("seed")))
        for arm in arms:
            own = dict(tuple(mine[mine.arm == arm].groupby("seed")))
            if not own:
                continue
            ends = pd.DataFrame([x.iloc[-1] for x in own.values()])
            row: dict[str, object] = {"task": task, "arm": arm, "seeds": len(own)}
            values: dict[str, Any] = {
                "reward": [x.reward_mean.iloc[-4:].mean() for x in own.values()],
                "rude_elsewhere": ends.rude_elsewhere,
                "judge_elsewhere": ends.judge_elsewhere,
            }
            pairs = [(plain[s], own[s]) for s in own if s in plain]
            if pairs:
                effects = [sample_efficiency(a.reward_mean, b.reward_mean) for a, b in pairs]
                times = [
                    runtime_saving(a.reward_mean, b.reward_mean, _seconds(a), _seconds(b))
                    for a, b in pairs
                ]
                values |= {
                    "se_ave": [100 * e.se_ave for e in effects],
                    "se_peak": [100 * e.se_peak for e in effects],
                    "rt_like": [100 * t.like_for_like for t in times],
                }
                row["censored"] = sum(t.censored for t in times)
            for name, x in values.items():
                row |= with_interval(name, x)
            whole = pd.concat(own.values())
            row |= {
                "kl": ends.kl.mean(),
                "kept": whole.kept.mean(),
                "steps": ends.optimizer_steps.mean(),
            }
            row |= {c: whole[c].mean() for c in _phases(whole)}
            out.append(row)
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame) -> Figure:
    """Training reward and out-of-distribution rudeness by round."""
    use_style()
    mine = rows[rows.task == "PPO"]
    arms = [a for a in ARMS["PPO"] if a in set(mine.arm)]
    fig, axes = plt.subplots(1, 2, figsize=(10.0, 3.8))
    learning_curves(mine, arms=arms, y="reward_mean", ylabel="reward (logit)", ax=axes[0])
    probed = mine[mine.rude_elsewhere.notna()]
    learning_curves(probed, arms=arms, y="rude_elsewhere", ylabel="rude share", ax=axes[1])
    for ax, title in zip(axes, ("training prompts", "held-out messages"), strict=True):
        ax.set(title=title, xlabel="round (128 generations each)")
    axes[1].legend().set_visible(False)
    fig.tight_layout()
    return fig


RLHF = Study(
    "rlhf",
    "Does IIF teach a language model manners in fewer rounds than PPO, and than random drop?",
    grid,
    run,
    table,
    figure,
    folders=("rlhf",),
    needs=("transformers", "peft"),
)
