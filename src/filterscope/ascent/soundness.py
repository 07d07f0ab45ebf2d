"""What an ascent cannot go on with: a layer that no gradient comes from, and values that are no numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from filterscope.errors import TargetError, WorkError, first_line, is_out_of_memory
from filterscope.networks.network import Network
from filterscope.sides import sides_of


def require_gradient(value: Tensor, network: Network, layers: Sequence[str]) -> None:
    """TargetError where what is to be ascended, a value of `layers`, has no gradient; the message names where that ends."""
    if value.requires_grad:
        return
    lost = ", ".join(layers)
    last = _last_with_gradient(network, layers[0])
    raise TargetError(
        f"no gradient comes from {lost} of {network.name} to the picture, so that there is nothing to climb: the forward "
        "pass detaches before it (detach(), no_grad, NumPy) or casts to whole numbers"
        + (f"; {last} is the last layer before it that can be drawn" if last else "")
    )


def gradient_of(value: Tensor, pixels: Tensor, network: Network, layers: Sequence[str]) -> Tensor:
    """The gradient of what is to be ascended, a sum of values of `layers`; TargetError where an operation on the way has
    none, as those on whole numbers."""
    try:
        return torch.autograd.grad(value, pixels)[0]
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise TargetError(
            f"no gradient comes from {', '.join(layers)} of {network.name} to the picture, so that there is nothing to "
            f"climb: {_why_not(error)} ({first_line(error)})"
        ) from error


def _why_not(error: RuntimeError) -> str:
    if "inplace" in str(error):
        return "the forward pass changes in place what the gradient needs"
    return "an operation between them has no derivative, as // or a quantised layer"


def _last_with_gradient(network: Network, layer: str) -> str | None:
    """The last layer in front of another that a gradient comes from."""
    names = list(network.layers)
    layer = layer.partition("@")[0]
    before = names[1 : names.index(layer)] if layer in names else []
    sides = sides_of(network.input.size)
    pixels = torch.zeros(2, network.input.channels, *sides).requires_grad_()
    if not before:
        return None
    found = network.probe(before)(network.input.preprocess(pixels))
    return next((n for n, t in zip(reversed(before), reversed(found), strict=True) if t.requires_grad), None)


def require_finite(values: Tensor, names: Sequence[object], when: str) -> None:
    """WorkError that names the first of some pictures' values, (B,), which is no number or infinite."""
    sound = values.isfinite()
    if not sound.all():
        place = int((~sound).nonzero()[0])
        raise WorkError(
            f"{names[place]} is {float(values[place])} {when}: the network's forward pass gives NaN or infinity there "
            "(a logarithm or root of negative numbers, a division by zero), or a setting of the recipe is too large"
        )
