"""Ghost products: per-record gradient products without per-record gradients.

For a layer out = W x + b the gradient of record i's loss is delta_i x_i^T, so its product with a
direction V of W's shape is delta_i^T V x_i: only the layer's input and output gradient are needed
(In-Run Data Shapley, Wang et al. 2024).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .policy import StateIndependentLogStd


def ghost_scores(
    policy: nn.Module,
    losses: Callable[[nn.Module], tuple[Tensor, Tensor]],
    v: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """Scores, (n,), minus the product of each record's loss gradient with `v`; and log_prob, (n,).

    Args:
        policy: its layers are read; those without a parameter in `v` do not matter.
        losses: function of the policy, each record's loss, (n,), and its log_prob.
        v: direction by parameter name. A layer's input and output may have any dimensions between
            the first, the record, and the last, such as the tokens of a text.

    Raises:
        ValueError: `v` has parameters of a layer of another kind, of one that is used twice, or of
            two layers.
    """
    owners = {key.rpartition(".")[0] for key in v}
    layers = {name: module for name, module in policy.named_modules() if name in owners}
    for name, module in layers.items():
        if not isinstance(module, nn.Linear | nn.Conv2d | StateIndependentLogStd):
            raise ValueError(
                f"policy: layer {name!r} is a {type(module).__name__}, which method='ghost' does "
                "not know (Linear, Conv2d, the Gaussian head); use method='jvp'"
            )
        if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
            raise ValueError(
                f"policy: layer {name!r} pads with {module.padding_mode!r}, which method='ghost' "
                "does not know; use method='jvp'"
            )
    held = Counter(id(p) for module in policy.modules() for p in module.parameters(recurse=False))
    if any(held[id(p)] > 1 for name, p in policy.named_parameters() if name in v):
        raise ValueError("policy: two layers share a parameter; use method='jvp'")
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def remember(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if name in seen:
                raise ValueError(f"policy: layer {name!r} is used twice; use method='jvp'")
            seen[name] = (inputs[0].detach(), output)
            return output.clone()  # an activation that works in place would overwrite it

        return hook

    hooks = [module.register_forward_hook(remember(name)) for name, module in layers.items()]
    try:
        with torch.enable_grad():
            total, log_prob = losses(policy)
    finally:
        for hook in hooks:
            hook.remove()
    if len(total) == 0:
        return total.detach(), log_prob.detach()
    outputs = [output for _, output in seen.values()]
    deltas = torch.autograd.grad(total.sum(), outputs, allow_unused=True)
    scores = torch.zeros_like(total)
    for (name, (x, _)), delta in zip(seen.items(), deltas, strict=True):
        if delta is not None:
            scores -= _product(layers[name], x, delta, _directions(name, v))
    return scores.detach(), log_prob.detach()


def _directions(name: str, v: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}." if name else ""
    return {
        k.removeprefix(prefix): x
        for k, x in v.items()
        if k.startswith(prefix) and "." not in k.removeprefix(prefix)
    }


def _product(module: nn.Module, x: Tensor, delta: Tensor, v: dict[str, Tensor]) -> Tensor:
    """< gradient of record i, v > for one layer, (n,)."""
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return (delta * v["log_std"]).sum(1)
    weight = v.get("weight", torch.zeros_like(module.weight))  # absent where it does not learn
    if isinstance(module, nn.Linear):
        along = torch.nn.functional.linear(x, weight)
    else:
        along = torch.nn.functional.conv2d(
            x, weight, None, module.stride, module.padding, module.dilation, module.groups
        )
    product = (along * delta).flatten(1).sum(1)
    if "bias" in v:
        shape = (1, -1) + (1,) * (delta.ndim - 2)
        product = product + (delta * v["bias"].reshape(shape)).flatten(1).sum(1)
    return product
