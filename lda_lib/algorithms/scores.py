"""One definition of a score for every algorithm: the derivative of the target in a weight.

Give each unit of the data (a record, a transition, a member of a group) a weight w_i, 1 for all, in
the loss that the algorithm makes small. Then

    score_i = d/dw_i < grad f(theta), -grad L(theta, w) >   at w = 1,

the change of the target f per unit of learning rate that one plain SGD step owes to unit i. Where L
is a sum of w_i times a loss of unit i, this is the influence score. Where units also act through
one another, as the members of a GRPO group do through their mean, it counts that too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..targets import call

Loss = Callable[[nn.Module, Any, Tensor], Tensor]  # (module, units, weights (n,)) -> scalar
Target = Callable[[nn.Module, Any], Tensor]  # (module, units) -> scalar


def weight_scores(module: nn.Module, units: Any, loss: Loss, target: Target) -> Tensor:
    """Influence score of each of n units, (n,), in units of the target per unit of learning rate.

    Args:
        module: whatever holds the parameters: a policy, a Q network.
        units: n units of data; `len(units)` is n.
        loss: function of (module, units, weights) that training makes small; summed, not averaged,
            over units, so that the number is that of `lda_lib.influence`.
        target: function of (module, units); higher is better.

    Raises:
        ValueError: loss or target is no finite scalar, or the loss does not depend on the weights.
    """
    params = {k: p.detach().requires_grad_() for k, p in module.named_parameters()}
    dtype = next(iter(params.values())).dtype
    weight = torch.ones(len(units), dtype=dtype, requires_grad=True)
    leaves = list(params.values())
    with torch.enable_grad():
        values = {
            "target": call(module, params, target, units),
            "loss": call(module, params, loss, units, weight),
        }
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.shape != () or not value.isfinite():
                raise ValueError(f"{name}: returned {value!r}, expected a finite scalar tensor")
            if not value.requires_grad:
                raise ValueError(f"{name}: does not depend on the parameters of the module")
        v = torch.autograd.grad(values["target"], leaves, allow_unused=True)
        g = torch.autograd.grad(values["loss"], leaves, create_graph=True, allow_unused=True)
        both = [(a * b).sum() for a, b in zip(v, g) if a is not None and b is not None]
        if not both:
            raise ValueError("target: shares no parameter with the loss, every score would be 0")
        (slope,) = torch.autograd.grad(torch.stack(both).sum(), weight, allow_unused=True)
    if slope is None:
        raise ValueError("loss: does not depend on the weights it is given")
    return -slope
