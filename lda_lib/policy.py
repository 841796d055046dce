"""Actor-critic networks: who acts, and what they expect to earn.

symbol        shape    meaning
obs           (n, *o)  encoded observations, o = (d,) or (channels, height, width)
action        (n,)     indices (categorical) or (n, d) floats (Gaussian)
log_prob      (n,)     log pi(action | obs)
value         (n,)     V(obs)
entropy       (n,)     entropy of pi(. | obs), in nats
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from .files import CheckpointError, load_tensors, save_tensors
from .spaces import Spaces


@dataclass(frozen=True)
class Architecture:
    """Everything needed to rebuild a network; hashable, so that compiled steps can be shared."""

    obs_shape: tuple[int, ...]
    action_kind: str  # "discrete" | "box"
    action_dim: int
    hidden: tuple[int, ...] = (64, 64)

    @classmethod
    def of(cls, spaces: Spaces) -> Architecture:
        """The paper's architecture for these spaces."""
        return cls(spaces.obs_shape, spaces.action_kind, spaces.action_dim)


class StateIndependentLogStd(nn.Module):
    """The Gaussian head's log standard deviation, (d,), repeated for every record."""

    def __init__(self, dim: int):
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(dim))

    def forward(self, mean: Tensor) -> Tensor:
        """Return log std, (n, d), for means of shape (n, d)."""
        return self.log_std.expand_as(mean)


class ActorCritic(nn.Module):
    """Policy and value networks of the paper (Hu et al. 2025).

    Vectors: two separate tanh networks. Images: a shared convolutional body, then the same two
    networks. Orthogonal initialisation with gains sqrt 2 (body), 0.01 (policy) and 1 (value).

    Args:
        arch: shapes of observations, actions and hidden layers.
        generator: source of the initial weights.
    """

    def __init__(self, arch: Architecture, generator: torch.Generator | None = None):
        super().__init__()
        self.arch = arch
        self.body: nn.Module = nn.Identity()
        width = arch.obs_shape[0]
        if len(arch.obs_shape) == 3:
            self.body, width = _cnn(arch.obs_shape), 64
        self.pi = _mlp(width, arch.hidden, arch.action_dim)
        self.v = _mlp(width, arch.hidden, 1)
        if arch.action_kind == "box":
            self.std = StateIndependentLogStd(arch.action_dim)
        self._initialise(generator)

    def _initialise(self, generator: torch.Generator | None) -> None:
        gains = {self.pi[-1]: 0.01, self.v[-1]: 1.0}
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                gain = gains.get(module, math.sqrt(2))
                nn.init.orthogonal_(module.weight, gain, generator=generator)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log_prob, value and entropy of the records, each (n,), in one pass."""
        features = self.body(obs)
        log_prob, entropy = self._judge(self.pi(features), action)
        return log_prob, self.v(features).squeeze(-1), entropy

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log pi(action | obs), (n,)."""
        return self._judge(self.pi(self.body(obs)), action)[0]

    def value(self, obs: Tensor) -> Tensor:
        """V(obs), (n,)."""
        return self.v(self.body(obs)).squeeze(-1)

    def probs(self, obs: Tensor) -> Tensor:
        """Action probabilities, (n, number of actions); categorical policies only."""
        if self.arch.action_kind != "discrete":
            raise ValueError("probs: a Gaussian policy has no action probabilities")
        return self.pi(self.body(obs)).softmax(-1)

    def _judge(self, out: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        if self.arch.action_kind == "discrete":
            log_p = out.log_softmax(-1)  # (n, actions)
            chosen = log_p.gather(-1, action.long().unsqueeze(-1)).squeeze(-1)
            return chosen, -(log_p * log_p.exp()).sum(-1)
        log_std = self.std(out)  # (n, d)
        z = (action - out) * (-log_std).exp()
        log_prob = -(0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
        return log_prob, (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def save(self, path: str | os.PathLike) -> None:
        """Write the weights and the architecture to one safetensors file."""
        info = {"kind": "policy", "arch": asdict(self.arch)}
        save_tensors(path, dict(self.state_dict()), info)

    @classmethod
    def load(cls, path: str | os.PathLike) -> ActorCritic:
        """Read a policy back.

        Raises:
            FileNotFoundError: no such file.
            CheckpointError: the file is damaged or holds something else.
        """
        tensors, info = load_tensors(path, "policy")
        policy = cls(architecture_from(info["arch"]))
        load_weights(policy, tensors, path)
        return policy


def architecture_from(arch: dict) -> Architecture:
    """Rebuild an `Architecture` from its JSON form."""
    return Architecture(
        tuple(arch["obs_shape"]), arch["action_kind"], arch["action_dim"], tuple(arch["hidden"])
    )


def load_weights(policy: nn.Module, tensors: dict[str, Tensor], path: object) -> None:
    """Copy `tensors` into `policy`, or say which file does not fit."""
    try:
        policy.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"path: {str(path)!r} does not fit the network: {error}") from error


def _mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    sizes = (inputs, *hidden)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def _cnn(shape: tuple[int, ...]) -> nn.Sequential:
    """The paper's convolutions; for images of 36 pixels and more those of Mnih et al. (2015)."""
    channels, height, width = shape
    if min(height, width) < 36:
        sizes = [(16, 3, 1), (32, 3, 1)]  # (channels, kernel, stride)
    else:
        sizes = [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
    layers: list[nn.Module] = []
    for out, kernel, stride in sizes:
        if min(height, width) < kernel:
            raise ValueError(f"obs_shape: {shape} is too small for a convolution of {kernel}")
        layers += [nn.Conv2d(channels, out, kernel, stride), nn.ReLU()]
        channels = out
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    flat = channels * height * width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 64), nn.ReLU())


Actor = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_actor(policy: ActorCritic) -> Actor:
    """Return `act(obs, noise) -> action`, the policy as it is now, made fast for single steps.

    `obs` is (e, *o), `noise` is (e, action_dim): Gumbel for categorical policies (the arg max of
    logits plus Gumbel noise is a sample of the softmax), standard normal for Gaussian ones. The
    noise is the only randomness, so equal noise and equal policies act equally.
    """
    out = _numpy_forward(policy)
    if policy.arch.action_kind == "discrete":
        return lambda obs, noise: (out(obs) + noise).argmax(-1)
    std = policy.std.log_std.detach().exp().cpu().numpy()
    return lambda obs, noise: (out(obs) + std * noise).astype(np.float32)


def draw_noise(policy: ActorCritic, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Noise for `make_actor`, shape (*size, action_dim)."""
    shape = (*size, policy.arch.action_dim)
    if policy.arch.action_kind == "discrete":
        return rng.gumbel(size=shape)
    return rng.standard_normal(shape)


def _numpy_forward(policy: ActorCritic) -> Callable[[np.ndarray], np.ndarray]:
    """The policy network's output as a numpy function: 5 times as fast on single observations."""
    if not isinstance(policy.body, nn.Identity):

        def forward(obs: np.ndarray) -> np.ndarray:
            device = next(policy.parameters()).device
            with torch.no_grad():
                return policy.pi(policy.body(torch.as_tensor(obs, device=device))).cpu().numpy()

        return forward
    layers = [
        (m.weight.detach().cpu().numpy().T.copy(), m.bias.detach().cpu().numpy())
        for m in policy.pi
        if isinstance(m, nn.Linear)
    ]

    def forward_numpy(obs: np.ndarray) -> np.ndarray:
        for weight, bias in layers[:-1]:
            obs = np.tanh(obs @ weight + bias)
        weight, bias = layers[-1]
        return obs @ weight + bias

    return forward_numpy
