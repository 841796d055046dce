"""PPO in three lines a round: collect, keep, update."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .collect import Collector, check_fit
from .config import PPOConfig, is_function, whole
from .evaluation import Evaluation, evaluate
from .exact import finite_model
from .loss import STATISTICS, Params, Records
from .policy import ActorCritic, Architecture, draw_noise
from .progress import progress as progress_bar
from .repair import lengthened
from .rollout import Rollout
from .step import (
    OptState,
    Trace,
    can_compile,
    check_keep,
    learning_rates,
    make_step,
    minibatches,
)
from .tasks import Task, make_task

Keep = Callable[["PPO", Rollout], "Tensor | np.ndarray"]
Mend = Callable[["PPO", Rollout], Rollout]
Callback = Callable[["PPO", Rollout, "Tensor | None", "Tensor | None"], None]

COMPILE_FROM_ROUNDS = 40  # shorter runs end before compilation has paid for itself


class PPO:
    """A PPO agent whose rounds are open to inspection and filtering.

    Args:
        task: a name from `lda_lib.TASKS`, a gymnasium id, an environment, or a function that makes
            one.
        seed: governs everything random: weights, episodes, actions, minibatches, filters.
        keep: filter, a callable of (agent, rollout) that returns a bool (n,) or weights (n,).
        repair: a callable of (agent, rollout) that returns the rollout with other advantages;
            applied before the filter, see `Repair`.
        preset: name of the settings to begin with, see `PPOConfig.preset`.
        device: where the networks live.
        n_envs: environments lived in side by side.
        **settings: single settings of `PPOConfig`, such as `lr=1e-3`. Learning rate and optimiser
            default to the task's, which for one that is not of the course are Adam at 3e-4.

    Attributes:
        policy: the networks.
        config: all settings; where `desired_kl` is set, with the next round's learning rate.
        used: the settings of the last update, with the rate it had.
        round: updates made so far.
    """

    def __init__(
        self,
        task: str | Task | gym.Env | Callable[[], gym.Env],
        *,
        seed: int = 0,
        keep: Keep | None = None,
        repair: Mend | None = None,
        preset: str = "paired",
        device: str | torch.device = "cpu",
        n_envs: int = 1,
        **settings: Any,
    ):
        self.task = make_task(task)
        defaults = {"lr": self.task.lr, "optimizer": self.task.optimizer}
        self.config = PPOConfig.preset(preset, **(defaults | settings))
        whole("seed", seed, 0)
        whole("n_envs", n_envs, 1)
        whole("batch_size", self.config.batch_size, 2)  # alone, a standardised advantage is 0
        for name, hook in (("keep", keep), ("repair", repair)):
            if hook is not None and not is_function(hook):
                raise ValueError(f"{name}: {hook!r}, expected a function of agent and rollout")
        _check_device(device)
        if self.config.n_steps % n_envs:
            raise ValueError(f"n_envs: {n_envs} does not divide n_steps {self.config.n_steps}")
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        seed = int(seed)
        self.seed, self.keep, self.repair, self.n_envs = seed, keep, repair, int(n_envs)
        self.round = self.collected = self.optimizer_steps = 0
        self.compiled, self.used = self.config.compile is True, self.config
        self.model = finite_model(self.task)
        self.policy = ActorCritic(Architecture.of(self.task.spaces), self._generator("weights"))
        self.policy.to(device)
        self.opt_state = OptState.zeros(dict(self.policy.named_parameters()), self.config.optimizer)
        self.collector = self._new_collector()
        self.rows: list[dict[str, Any]] = []

    def _new_collector(self) -> Collector:
        state_of = self.model.state_of if self.model else None
        return Collector(self.task, self.n_envs, self.seed, state_of)

    @property
    def _restarts(self) -> bool:
        return self.config.restart and self.keep is not None

    def rng(self, purpose: str, count: int | None = None) -> np.random.Generator:
        """A generator for one purpose in this round; asked for again, it starts again.

        Streams depend on the seed, the purpose and the round alone, so arms of a comparison that
        differ in their filter still share them.
        """
        count = self.round if count is None else count
        return stream(self.seed, purpose, 0 if self._restarts else count)

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(int(self.rng(purpose).integers(2**63)))

    def collect(self) -> Rollout:
        """Make a rollout of `config.n_steps` records. The parameters do not change."""
        if self._restarts:
            self.collector.close()
            self.collector = self._new_collector()
        size = (self.config.n_steps // self.n_envs, self.n_envs)
        noise = draw_noise(self.policy, self.rng("actions", self.collected), size)
        rollout = self.collector.collect(self.policy, noise, self.config.gamma, self.config.lam)
        self.collected += 1
        return rollout

    def update(
        self, rollout: Rollout, keep: Tensor | np.ndarray | None = None, *, trace: bool = False
    ) -> Trace | pd.Series:
        """Run PPO on the kept records of a rollout.

        Args:
            rollout: the records.
            keep: bool (n,) or weights (n,) on the records' losses (weight 0 drops); None keeps all.
            trace: return parameters, indices and optimiser state of every step.

        Returns:
            A `Trace`, or the update's mean statistics.

        Raises:
            ValueError: the rollout's records do not fit the policy; `keep` has the wrong shape or
                values, or drops everything.
            FloatingPointError: the loss or the parameters are no longer finite; the agent keeps
                the parameters it had.
        """
        check_fit(rollout, self.policy.arch)
        if len(rollout) == 0:
            raise ValueError("rollout: no records, expected at least one to learn from")
        weight = check_keep(keep, len(rollout)).to(rollout.reward)
        records = Records.of(rollout, weight)
        learnt = rollout if keep is None else rollout[weight > 0]
        used = lengthened(self.policy, learnt, self.config)
        step = make_step(self.policy.arch, used, self.compiled)
        eager = make_step(self.policy.arch, used, False)
        params = {k: p.detach().clone() for k, p in self.policy.named_parameters()}
        state, lr = self.opt_state, learning_rates(used)
        before: list[tuple[Params, OptState, Tensor, Tensor | None]] = []
        statistics = []
        kept = (weight > 0).cpu().numpy()
        with torch.no_grad():
            for index, critic in minibatches(kept, used, self.rng("minibatches")):
                run = step if len(index) == used.batch_size else eager
                where = torch.from_numpy(index).to(rollout.obs.device)
                whose = None if critic is None else torch.from_numpy(critic).to(where)
                if trace:
                    before.append((params, state, where, whose))
                params, state, numbers = run(params, state, records, where, whose, lr)
                statistics.append(numbers)
            numbers = torch.stack(statistics).cpu()
            if not all(p.isfinite().all() for p in (numbers, *params.values())):
                raise FloatingPointError(
                    f"update: loss or parameters became infinite or nan in round {self.round + 1}; "
                    f"expected finite numbers (lr is {used.lr})"
                )
            self.policy.load_state_dict(params)
        self.opt_state = state
        self.round += 1
        self.optimizer_steps += len(statistics)
        self.used, self.config = used, self.config.paced(float(numbers.mean(0)[KL]))
        if trace:
            all_params, states, indices, critics = (list(x) for x in zip(*before, strict=True))
            return Trace(
                params=all_params,
                state=states,
                index=indices,
                critic=critics,
                weight=weight,
                advantage=rollout.advantage,
                statistics=numbers,
                final=(params, state),
                config=used,
            )
        return pd.Series(numbers.mean(0).numpy(), index=STATISTICS)

    def learn(
        self,
        rounds: int,
        *,
        episodes: int = 20,
        evaluate_every: int = 1,
        callback: Callback | None = None,
        progress: bool = True,
        label: str | None = None,
        save: Any = None,
    ) -> pd.DataFrame:
        """Collect, filter, update, evaluate, `rounds` times.

        Args:
            rounds: how many rounds to add.
            episodes: episodes of each evaluation; 0 for none. Unused where returns are exact.
            evaluate_every: evaluate after every so many rounds, and after the last.
            callback: called each round with (agent, rollout, scores, keep), after the update.
            progress: show a progress bar.
            label: its label; the task's name by default.
            save: path of a checkpoint written after every round.

        Returns:
            The history of the whole run, one tidy row per round.
        """
        whole("rounds", rounds, 0)
        whole("episodes", episodes, 0)
        whole("evaluate_every", evaluate_every, 1)
        if callback is not None and not callable(callback):
            raise ValueError(f"callback: {callback!r}, expected a function or None")
        if self.config.compile == "auto" and not self.compiled:
            self.compiled = rounds >= COMPILE_FROM_ROUNDS and can_compile(self.policy)
        bar: Iterable[int] = range(rounds)
        for i in progress_bar(bar, label or self.task.name, rounds) if progress else bar:
            clock = [time.perf_counter()]
            rollout = self.collect()
            clock.append(time.perf_counter())
            if self.repair is not None:
                rollout = self.repair(self, rollout)
                if not isinstance(rollout, Rollout):
                    raise TypeError(f"repair: returned {rollout!r}, expected a Rollout")
            keep = None if self.keep is None else check_keep(self.keep(self, rollout), len(rollout))
            clock.append(time.perf_counter())
            statistics = self.update(rollout, keep)
            steady = self.config.desired_kl is None and self.config.stretch is None
            rate = {} if steady else {"lr": self.used.lr}
            assert isinstance(statistics, pd.Series)
            clock.append(time.perf_counter())
            due = self.round % evaluate_every == 0 or i == rounds - 1
            result = self.evaluate(episodes) if due and (episodes or self.model) else _UNKNOWN
            clock.append(time.perf_counter())
            collect, score, update, evaluating = np.diff(clock)
            kept = len(rollout) if keep is None else int((keep > 0).sum())
            self.rows.append(
                {
                    "round": self.round,
                    "return_mean": result.mean,
                    "return_se": result.se,
                    "steps": self.collected * self.config.n_steps,
                    "optimizer_steps": self.optimizer_steps,
                    "kept": kept,
                    **{str(name): float(x) for name, x in statistics.items()},
                    **rate,
                    "seconds": float(collect + score + update),
                    "seconds_collect": float(collect),
                    "seconds_score": float(score),
                    "seconds_update": float(update),
                    "seconds_evaluate": float(evaluating),
                }
            )
            if save is not None:
                self.save(save)
            if callback is not None:
                callback(self, rollout, self.scores, keep)
        return self.history

    @property
    def scores(self) -> Tensor | None:
        """Scores of the filter's last call, (n,); None where there are none."""
        return getattr(self.keep, "scores", None)

    @property
    def history(self) -> pd.DataFrame:
        """One row per round of `learn`, returns measured after the round's update."""
        return pd.DataFrame(self.rows)

    def evaluate(self, episodes: int = 100) -> Evaluation:
        """Expected undiscounted return of the stochastic policy.

        Exact where the task has a finite model. Elsewhere the mean over episodes whose seeds are
        the same for every agent, with its standard error.
        """
        result = evaluate(self.policy, self.task, self.model, episodes)
        if self.task.shared and not result.exact:
            self.collector.begin_anew()  # evaluation lived in the agent's only environment
        return result

    def save(self, path: Any) -> None:
        """Write a checkpoint from which `PPO.load` goes on bit for bit.

        `Repair`'s memory is in it; what a filter or repair of your own remembers is not.
        """
        from .checkpoint import save_agent

        save_agent(self, path)

    @classmethod
    def load(
        cls,
        path: Any,
        *,
        keep: Keep | None = None,
        repair: Mend | None = None,
        task: Any = None,
        device: str | torch.device = "cpu",
    ) -> PPO:
        """Read a checkpoint; see `lda_lib.checkpoint.load_agent`."""
        from .checkpoint import load_agent

        return load_agent(path, keep=keep, repair=repair, task=task, device=device)


def _check_device(device: str | torch.device) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device: {device!r}, expected one that torch has here ({reason})"
        ) from error


def stream(seed: int, purpose: str, count: int) -> np.random.Generator:
    """A generator that depends on seed, purpose and round alone."""
    key = (seed, zlib.crc32(purpose.encode()), count)
    return np.random.default_rng(np.random.SeedSequence(key))


KL = STATISTICS.index("kl")
_UNKNOWN = Evaluation(float("nan"), float("nan"), 0)
