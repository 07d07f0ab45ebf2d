"""Keras' layers of several inputs, as torch modules."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.layers.base import Built, Config, Joiner, Shape


class Merge(nn.Module):
    """One function over all inputs, two at a time; a vector (B, C) beside a map counts as (B, C, 1, 1)."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], divide: float = 1.0):
        super().__init__()
        self.function, self.divide = function, divide

    def forward(self, *inputs: Tensor) -> Tensor:
        rank = max(x.ndim for x in inputs)
        alike = [x.reshape(*x.shape, *[1] * (rank - x.ndim)) for x in inputs]
        result = reduce(self.function, alike)
        return result / self.divide if self.divide != 1 else result


def _merge(function: Callable[[Tensor, Tensor], Tensor]) -> Joiner:
    def build(config: Config, shapes: Sequence[Shape]) -> Built:
        if len(shapes) > 1 and len({len(s) for s in shapes} | {max(map(len, shapes))}) > 1:
            low = min(len(s) for s in shapes)
            if low > 1:
                raise NetworkError(f"inputs of {low} and {max(map(len, shapes))} axes are not supported")
        return Built(Merge(function))

    return build


def _average(config: Config, shapes: Sequence[Shape]) -> Built:
    return Built(Merge(operator.add, float(len(shapes))))


class Concatenate(nn.Module):
    """Side by side along an axis."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, self.axis)


def concatenation(axis: int, rank: int) -> Built:
    """Tensors of `rank` axes side by side along one of Keras' axes."""
    if not -rank <= axis < rank or axis % rank == 0:
        raise NetworkError(f"axis {axis} is none to put tensors of {rank} axes side by side along")
    axis %= rank
    channels = axis == rank - 1
    return Built(Concatenate(1 if channels else axis + 1), joins=channels)


def _concatenate(config: Config, shapes: Sequence[Shape]) -> Built:
    return concatenation(int(config.get("axis", -1)), len(shapes[0]) + 1)


def _scaled_sum(first: Tensor, second: Tensor, scale: float) -> Tensor:
    return first + second * scale


def _custom_scale(config: Config, shapes: Sequence[Shape]) -> Built:
    return Built(Merge(partial(_scaled_sum, scale=float(config["scale"]))))


JOINERS: dict[str, Joiner] = {
    "Add": _merge(operator.add),
    "Average": _average,
    "Concatenate": _concatenate,
    "CustomScaleLayer": _custom_scale,  # of keras.applications.InceptionResNetV2
    "Maximum": _merge(torch.maximum),
    "Minimum": _merge(torch.minimum),
    "Multiply": _merge(operator.mul),
    "Subtract": _merge(operator.sub),
}
