"""How much each channel of a layer raised a target's value for one photograph: activation times gradient.

The contribution of a channel is the sum over space of its activation times the gradient of the target's value (Olah et
al. 2018, "The Building Blocks of Interpretability"). To first order it is what the value loses where the channel is set
to 0.

Path-integrated, the gradient is the mean over N steps from the layer at 0 to the layer as the photograph excites it
(integrated gradients, Sundararajan et al. 2017, with the layer's activations as the input): the contributions then sum to
what the value loses where the whole layer is set to 0. The path goes through the layer's activations and not through
darker photographs, because `removal` sets activations to 0: a share says what that check measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from filterscope.errors import TargetError
from filterscope.explanation.behind import Behind

Value = Callable[[dict[str, Tensor]], Tensor]
"""From the targets' layers' outputs (B, ...) to the value that is explained, (B,)."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """What the channels of one layer contributed.

    activations, gradient: float32 (C, H, W), of a dense layer (C, 1, 1): each place's activation, and the gradient of the
    target's value there. value: the target's own for the photograph.
    """

    layer: str
    activations: np.ndarray = field(repr=False)
    gradient: np.ndarray = field(repr=False)
    value: float

    @property
    def relevance(self) -> np.ndarray:
        """(C, H, W): each place's activation times the gradient."""
        found: np.ndarray = self.activations * self.gradient
        return found

    @property
    def contributions(self) -> np.ndarray:
        """(C,), in the target's own unit: logits of a class."""
        found: np.ndarray = self.relevance.sum((1, 2), dtype=np.float64)
        return found

    @property
    def shares(self) -> np.ndarray:
        """(C,): the contributions over the sum of their sizes, so that all together are 1 but for their signs."""
        found = self.contributions
        return found / max(float(np.abs(found).sum()), 1e-30)

    @property
    def spatial(self) -> bool:
        """Whether the layer has places."""
        return bool(self.activations[0].size > 1)


def attribute(behind: Behind, value: Value, *, steps: int | None = None) -> Attribution:
    """The channels' contributions to a value at a layer.

    steps: of the path from 0 to the layer's activations (midpoints, Riemann sum); None takes the gradient where the
    photograph is.

    Raises TargetError where no gradient comes from the value, or it is 0 at every place.
    """
    gradient = gradients(behind, value, steps)
    with torch.no_grad():
        told = float(value(behind.outputs(behind.source))[0])
        maps, slopes = _as_maps(behind.activations), _as_maps(gradient)
    if not bool((maps * slopes).any()):
        raise TargetError(
            f"nothing at {behind.layer} has an effect on {', '.join(behind.ends)} for this photograph: its gradient is 0 at "
            "every place, as that of a unit that is inactive"
        )
    return Attribution(behind.layer, maps.cpu().numpy(), slopes.cpu().numpy(), told)


def gradients(behind: Behind, value: Value, steps: int | None = None) -> Tensor:
    """The gradient of a value at a layer, as the layer table has it, (1, C, H, W) or (1, units), mean over the path."""
    points = [1.0] if steps is None else [(i + 0.5) / steps for i in range(steps)]
    channels = behind.activations.shape[1]
    total = torch.zeros_like(behind.activations)
    for some in behind.batches(len(points)):
        share = torch.tensor([points[i] for i in some], device=total.device)
        with torch.no_grad():
            at = behind.scaled(share[:, None].expand(-1, channels))
        at = at.detach().requires_grad_()
        found = value(behind.outputs(at)).sum()
        if not found.requires_grad:
            raise TargetError(
                f"no gradient comes from {', '.join(behind.ends)} of {behind.network.name} to {behind.layer}: the forward "
                "pass detaches between them (detach(), no_grad, NumPy) or casts to whole numbers"
            )
        (gradient,) = torch.autograd.grad(found, at)
        with torch.no_grad():
            total += behind.viewed(gradient).sum(0, keepdim=True)
    return total / len(points)


def _as_maps(values: Tensor) -> Tensor:
    """(1, C, H, W) or (1, C) as (C, H, W)."""
    return values[0].reshape(values.shape[1], *(values.shape[2:] if values.ndim == 4 else (1, 1))).float()
