"""Is this PPO the PPO that people know? The same settings in Stable-Baselines3, unmodified."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from ..evaluation import evaluate
from ..exact import finite_model
from ..metrics import confidence_interval
from ..plots import learning_curves, use_style
from ..policy import ActorCritic, Architecture
from ..ppo import PPO
from ..tasks import make_task
from .study import Study, Trial

ARMS = ("lda_lib", "Stable-Baselines3")
DECLARED = {"FrozenLake": (20, 10, 0), "Acrobot": (10, 12, 50)}  # seeds, rounds, episodes


def grid(profile: str) -> list[Trial]:
    """Seeds from 200: the two libraries share no random stream, so they are not paired."""
    trials = []
    for task, (seeds, rounds, episodes) in DECLARED.items():
        if profile != "full":
            seeds, rounds, episodes = 2, 2, min(episodes, 2)
        settings = {"rounds": rounds, "episodes": episodes}
        trials += [Trial(task, arm, 200 + s, settings) for s in range(seeds) for arm in ARMS]
    return trials


def run(trial: Trial) -> pd.DataFrame:
    """Return after each round."""
    rounds, episodes = trial.settings["rounds"], trial.settings["episodes"]
    if trial.arm == "lda_lib":
        agent = PPO(trial.task, seed=trial.seed, compile=False)
        history = agent.learn(rounds, episodes=episodes, progress=False)
        return history[["round", "return_mean"]]
    return _stable_baselines3(trial.task, trial.seed, rounds, episodes)


def _stable_baselines3(name: str, seed: int, rounds: int, episodes: int) -> pd.DataFrame:
    """SB3's PPO with plain SGD and no gradient clipping, its policy evaluated as ours is."""
    import stable_baselines3 as sb3

    torch.set_num_threads(1)
    task = make_task(name)
    model = sb3.PPO(
        "MlpPolicy",
        task.make(),
        seed=seed,
        device="cpu",
        n_steps=2048,
        batch_size=64,
        n_epochs=10,
        learning_rate=task.lr,
        max_grad_norm=1e9,
        policy_kwargs={"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}},
    )
    rows = []
    for k in range(1, rounds + 1):
        model.learn(2048, reset_num_timesteps=k == 1)
        result = evaluate(policy_of(model), task, finite_model(task), episodes)
        rows.append({"round": k, "return_mean": result.mean})
    return pd.DataFrame(rows)


def policy_of(model: Any) -> ActorCritic:
    """The networks of an SB3 MlpPolicy with discrete actions, as an `ActorCritic`."""
    theirs = model.policy
    space = model.observation_space
    size = (int(space.n) if hasattr(space, "n") else int(space.shape[0]),)
    ours = ActorCritic(Architecture(size, "discrete", int(model.action_space.n)))
    parts = {
        "pi.0": theirs.mlp_extractor.policy_net[0],
        "pi.2": theirs.mlp_extractor.policy_net[2],
        "pi.4": theirs.action_net,
        "v.0": theirs.mlp_extractor.value_net[0],
        "v.2": theirs.mlp_extractor.value_net[2],
        "v.4": theirs.value_net,
    }
    ours.load_state_dict(
        {f"{name}.{k}": x for name, layer in parts.items() for k, x in layer.state_dict().items()}
    )
    return ours


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per task and library: return half-way and at the end, and how far the libraries are apart.

    `gap`: Stable-Baselines3 minus lda_lib with Welch's 95 % interval; `p_equal`: of Mann-Whitney's
    test.
    """
    out = []
    for task in [t for t in DECLARED if t in set(rows.task)]:
        mine = rows[rows.task == task]
        for k in sorted({int(mine["round"].max()) // 2, int(mine["round"].max())}):
            at = {a: mine[(mine.arm == a) & (mine["round"] == k)].return_mean for a in ARMS}
            p = float(stats.mannwhitneyu(*at.values()).pvalue)
            theirs, ours = at[ARMS[1]], at[ARMS[0]]
            apart = stats.ttest_ind(theirs, ours, equal_var=False).confidence_interval(0.95)
            gap = {"gap": theirs.mean() - ours.mean(), "gap_low": apart.low, "gap_high": apart.high}
            for arm, x in at.items():
                mean, low, high = confidence_interval(x)
                row = {"task": task, "round": k, "arm": arm, "seeds": len(x)}
                out.append(row | {"mean": mean, "low": low, "high": high, **gap, "p_equal": p})
    return pd.DataFrame(out)


def figure(rows: pd.DataFrame) -> Figure:
    """Learning curves of the two libraries."""
    use_style()
    tasks = [t for t in DECLARED if t in set(rows.task)]
    fig, axes = plt.subplots(1, len(tasks), figsize=(4.6 * len(tasks), 3.4), squeeze=False)
    for ax, task in zip(axes.flat, tasks, strict=True):
        learning_curves(rows[rows.task == task], arms=ARMS, ax=ax)
        ax.set_title(task)
    fig.tight_layout()
    return fig


SB3_PARITY = Study(
    "sb3_parity",
    "Does this PPO learn as fast as Stable-Baselines3's with the same settings?",
    grid,
    run,
    table,
    figure,
)
