"""Settings of a PPO run, and the three presets that say how paper and released code part."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

C = TypeVar("C")


@dataclass(frozen=True)
class PPOConfig:
    """All settings of a run. Nothing that changes a result is set anywhere else.

    Attributes:
        n_steps: records per round, over all environments.
        batch_size: records per minibatch.
        epochs: passes over the kept records per round.
        gamma: discount.
        lam: GAE's lambda.
        clip: PPO's epsilon.
        vf_coef: weight of the squared error of the value.
        ent_coef: weight of the entropy bonus.
        optimizer: "sgd" or "adam".
        lr: learning rate; where `desired_kl` is set, of the first round, then of the next one.
        critic_lr: of the layers that only the value uses; None: `lr`, and with `desired_kl` the
            first `lr`.
        desired_kl: how far an update shall move the policy, in nats (mean KL over its minibatches);
            each round's rate follows from the last one's, see `paced`. None: `lr` stays.
        lr_max: the highest rate that pacing may reach; None: 8 times the first.
        stretch: with SGD, lengthen the policy's step as repair would, with the advantages as they
            are: the rate of each update is `lr` times `repair.stretch`, and this the regression's
            strength, such as 30. The critic keeps `critic_lr`, or `lr`. None: `lr` as it is.
        adam_eps: Adam's epsilon.
        max_grad_norm: clip the gradient of each step to this norm; None leaves it alone.
        drop_remainder: leave out an epoch's last, smaller minibatch.
        critic: "kept": the value learns from the kept records only; "all": each of its minibatches
            is drawn from all records, and is as large as the policy's.
        equal_steps: cycle the kept records to as many minibatches as the full buffer makes.
        restart: with a filter, begin every round with the same seed and fresh episodes.
        compile: True, False, or "auto": compile the optimiser step when a run is long enough
            to repay it. Results are bit-identical within one mode, not between the two.
        threads: torch threads; None leaves torch's setting alone. Small networks want 1.
    """

    n_steps: int = 2048
    batch_size: int = 64
    epochs: int = 10
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.2
    vf_coef: float = 0.5
    ent_coef: float = 0.0
    optimizer: str = "sgd"
    lr: float = 5e-3
    critic_lr: float | None = None
    desired_kl: float | None = None
    lr_max: float | None = None
    stretch: float | None = None
    adam_eps: float = 1e-5
    max_grad_norm: float | None = None
    drop_remainder: bool = True
    critic: str = "kept"
    equal_steps: bool = False
    restart: bool = False
    compile: bool | str = "auto"
    threads: int | None = 1

    def __post_init__(self) -> None:
        plain_numbers(self)
        expect_whole(self, "n_steps", "batch_size", "epochs")
        for name in ("gamma", "lam"):
            value = getattr(self, name)
            expect(self, name, is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
        for name in ("lr", "clip", "adam_eps"):
            value = getattr(self, name)
            expect(self, name, is_number(value) and value > 0, "a number above 0")
        fine = is_number(self.vf_coef) and self.vf_coef >= 0
        expect(self, "vf_coef", fine, "a number from 0")
        expect(self, "ent_coef", is_number(self.ent_coef), "a number")
        for name in ("drop_remainder", "equal_steps", "restart"):
            expect(self, name, isinstance(getattr(self, name), bool), "True or False")
        fine = isinstance(self.compile, bool) or self.compile == "auto"
        expect(self, "compile", fine, "True, False or 'auto'")
        for name in ("critic_lr", "desired_kl", "lr_max", "stretch", "max_grad_norm"):
            value = getattr(self, name)
            fine = value is None or (is_number(value) and value > 0)
            expect(self, name, fine, "None or a number above 0")
        fine = self.lr_max is None or self.desired_kl is not None
        expect(self, "lr_max", fine, "None without desired_kl, which alone moves the rate")
        fine = self.lr_max is None or self.lr <= self.lr_max
        expect(self, "lr", fine, f"no more than lr_max, {self.lr_max}")
        if self.threads is not None:
            expect_whole(self, "threads")
        alone = self.stretch is None or (self.optimizer == "sgd" and self.desired_kl is None)
        expect(self, "stretch", alone, "None with Adam, and with desired_kl")
        for name, choices in _CHOICES.items():
            expect(self, name, getattr(self, name) in choices, f"one of {choices}")

    @classmethod
    def preset(cls, name: str = "paired", **settings: Any) -> PPOConfig:
        """Settings by name, with `settings` replacing single ones.

        "paired": the released arithmetic (no gradient clipping, remainder and critic as released),
        both arms on the same random streams and episodes. "as_released": with the released
        reseeding and resets of the filtered arm too. "as_written": with the paper's clipping.
        The book's map from paper to code lists where the two part.
        """
        return preset(cls, PRESETS, name, settings)

    def paced(self, kl: float) -> PPOConfig:
        """Settings of the next round, after an update that moved the policy by `kl` nats.

        KL grows with the square of the rate, so the rate is multiplied by sqrt(desired_kl / kl),
        but by no more than 2 and no less than 1/2, and stays below `lr_max`. The critic's stays as
        it was: it does not move the policy, and where returns are large it would diverge.
        """
        if self.desired_kl is None:
            return self
        highest = self.lr_max or PACED_AT_MOST * self.lr
        factor = (self.desired_kl / max(kl, 1e-12)) ** 0.5
        lr = min(self.lr * min(max(factor, 0.5), 2.0), highest)
        return replace(self, lr=lr, lr_max=highest, critic_lr=self.critic_lr or self.lr)


PACED_AT_MOST = 8.0  # times the first rate

_CHOICES: dict[str, tuple] = {
    "optimizer": ("sgd", "adam"),
    "critic": ("kept", "all"),
}

PRESETS: dict[str, dict[str, Any]] = {
    "paired": {},
    "as_released": {"restart": True},
    "as_written": {"max_grad_norm": 0.5},
}


def plain_numbers(config: Any) -> None:
    """Make numpy's numbers Python's own, which JSON can hold."""
    for f in fields(config):
        if isinstance(value := getattr(config, f.name), np.generic):
            object.__setattr__(config, f.name, value.item())


def is_number(value: Any) -> bool:
    """Whether a setting is a finite number."""
    return isinstance(value, Real) and math.isfinite(value)


def is_function(value: Any) -> bool:
    """Whether a value can be called and is no class: IIF(drop=0.5), but not IIF."""
    return callable(value) and not isinstance(value, type)


def expect(config: Any, name: str, holds: bool, expected: str) -> None:
    """Raise a ValueError that names the setting and its value unless `holds`."""
    if not holds:
        raise ValueError(f"{name}: {getattr(config, name)!r}, expected {expected}")


def expect_whole(config: Any, *names: str, least: int = 1) -> None:
    """Raise a ValueError unless these settings are whole numbers from `least`."""
    for name in names:
        whole(name, getattr(config, name), least)


def whole(name: str, value: Any, least: int) -> None:
    """Raise a ValueError that names the argument unless it is a whole number from `least`."""
    if not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name}: {value!r}, expected a whole number from {least}")


def preset(cls: type[C], presets: dict[str, dict[str, Any]], name: str, settings: dict) -> C:
    """The settings called `name` among `presets`, `settings` replacing single ones.

    Raises:
        ValueError: no preset of that name.
        TypeError: a setting that `cls` does not have.
    """
    if name not in presets:
        raise ValueError(f"preset: {name!r}, expected one of {tuple(presets)}")
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := set(settings) - known:
        raise TypeError(
            f"settings: {sorted(unknown)} are not settings of {cls.__name__}, expected some of "
            f"{sorted(known)}"
        )
    return cls(**(presets[name] | settings))
