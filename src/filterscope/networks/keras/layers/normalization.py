"""Keras' layers that normalise or scale, as torch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.layers.base import (
    Affine,
    Built,
    Config,
    Shape,
    axes_of,
    constant,
    keras_order,
    meta,
    own_order,
    require_last_axis,
    slots_of,
)
from filterscope.networks.weights.table import Slot

Wanted = dict[str, tuple[Shape, str, tuple[int, ...]]]  # Keras name -> shape, torch parameter, axes
EPSILON = 1e-7  # keras.config.epsilon()


def _scaled_and_centred(norm: nn.Module, config: Config, channels: int) -> Wanted:
    """The slots of a norm's scale and shift; what is switched off is constant."""
    slots: Wanted = {}
    for used, name, parameter, usual in (("scale", "gamma", "weight", 1.0), ("center", "beta", "bias", 0.0)):
        if config.get(used, True):
            slots[name] = ((channels,), parameter, ())
        else:
            setattr(norm, parameter, constant(usual, channels))
    return slots


def _batch_norm(config: Config, shape: Shape) -> Built:
    require_last_axis(config, shape)
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    norm = kind(shape[0], eps=float(config.get("epsilon", 1e-3)), device="meta")
    norm.num_batches_tracked = None
    slots = _scaled_and_centred(norm, config, shape[0])
    slots["moving_mean"] = ((shape[0],), "running_mean", ())
    slots["moving_variance"] = ((shape[0],), "running_var", ())
    return Built(norm.eval(), slots_of(slots))


class LayerNorm(nn.Module):
    """Over axes of Keras' order: minus the mean, over the standard deviation, times gamma, plus beta.

    With `root_mean_square` the mean stays in and there is no beta.
    """

    def __init__(self, axes: tuple[int, ...], sizes: Shape, epsilon: float, kind: str):
        super().__init__()
        self.axes, self.sizes, self.epsilon, self.kind = axes, sizes, epsilon, kind
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = keras_order(x)
        if self.kind == "layer" and self.axes == tuple(range(x.ndim - len(self.axes), x.ndim)):
            return own_order(F.layer_norm(x, self.sizes, self.weight, self.bias, self.epsilon))
        shape = [size if i in self.axes else 1 for i, size in enumerate(x.shape)]
        if self.kind == "square":  # RMSNormalization
            x = x * torch.rsqrt(x.square().mean(self.axes, keepdim=True) + self.epsilon)
        else:
            variance, mean = torch.var_mean(x, self.axes, correction=0, keepdim=True)
            centred = x - mean if self.kind == "layer" else x
            x = centred * torch.rsqrt(variance + self.epsilon)
        if self.weight is not None:
            x = x * self.weight.view(shape)
        if self.bias is not None:
            x = x + self.bias.view(shape)
        return own_order(x)


def _layer_norm(config: Config, shape: Shape) -> Built:
    axes = tuple(sorted(axes_of(config, shape)))
    whole = (0, *shape[1:], shape[0])
    sizes = tuple(whole[a] for a in axes)
    square = bool(config.get("rms_scaling"))
    norm = LayerNorm(axes, sizes, float(config.get("epsilon", 1e-3)), "variance" if square else "layer")
    slots: Wanted = {}
    if config.get("scale", True) or square:
        norm.weight = meta(*sizes)
        slots["gamma"] = (sizes, "weight", ())
    if config.get("center", True) and not square:
        norm.bias = meta(*sizes)
        slots["beta"] = (sizes, "bias", ())
    return Built(norm, slots_of(slots), window=(1, 1) if axes == (len(shape),) else None)


def _rms_norm(config: Config, shape: Shape) -> Built:
    axes = tuple(sorted(axes_of(config, shape)))
    whole = (0, *shape[1:], shape[0])
    sizes = tuple(whole[a] for a in axes)
    norm = LayerNorm(axes, sizes, float(config.get("epsilon", 1e-6)), "square")
    norm.weight = meta(*sizes)
    window = (1, 1) if axes == (len(shape),) else None
    return Built(norm, slots_of({"scale": (sizes, "weight", ())}), window=window)


def _group_norm(config: Config, shape: Shape) -> Built:
    require_last_axis(config, shape)
    groups = config.get("groups", 32)
    groups = shape[0] if groups == -1 else int(groups)
    norm = nn.GroupNorm(groups, shape[0], eps=float(config.get("epsilon", 1e-3)), device="meta")
    slots = _scaled_and_centred(norm, config, shape[0])
    return Built(norm, slots_of(slots), window=None)


class UnitNorm(nn.Module):
    """x over its Euclidean length along axes of Keras' order."""

    def __init__(self, axes: tuple[int, ...]):
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        x = keras_order(x)
        return own_order(x * torch.rsqrt(x.square().sum(self.axes, keepdim=True).clamp(min=1e-12)))


def _unit_norm(config: Config, shape: Shape) -> Built:
    axes = axes_of(config, shape)
    return Built(UnitNorm(axes), window=(1, 1) if axes == (len(shape),) else None)


class Scale(nn.Module):
    """x * gamma, per channel: ConvNeXt's LayerScale."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = meta(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(1, -1, *[1] * (x.ndim - 2))


def _layer_scale(config: Config, shape: Shape) -> Built:
    return Built(Scale(shape[0]), (Slot("gamma", (shape[0],), "gamma"),))


def _rescaling(config: Config, shape: Shape) -> Built:
    given = [torch.as_tensor(config[k], dtype=torch.float32) for k in ("scale", "offset")]
    if any(values.ndim > 1 and values.shape[-1] != values.numel() for values in given):
        raise NetworkError("its numbers differ along another axis than the last, which is not supported")
    scale, offset = (values.flatten() for values in given)
    return Built(Affine(scale.expand(shape[0]), offset.expand(shape[0])))


class Standardize(nn.Module):
    """(x - mean) / sqrt(variance), per channel, both measured by the model's maker; `count` is of no use here."""

    def __init__(self, channels: int, invert: bool):
        super().__init__()
        self.invert = invert
        for name, shape in (("mean", (channels,)), ("variance", (channels,)), ("count", ())):
            self.register_buffer(name, torch.empty(shape, device="meta"), persistent=False)

    def affine(self) -> Affine:
        """The same with the numbers as they are now."""
        return standardizing(self.get_buffer("mean"), self.get_buffer("variance"), self.invert)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean = self.get_buffer("mean").view(shape)
        std = self.get_buffer("variance").view(shape).sqrt().clamp(min=EPSILON)
        return mean + x * std if self.invert else (x - mean) / std


def standardizing(mean: Tensor, variance: Tensor, invert: bool = False) -> Affine:
    """(x - mean) / sqrt(variance) as scale and offset; the other way round with `invert`."""
    std = variance.sqrt().clamp(min=EPSILON)
    return Affine(std, mean) if invert else Affine(1 / std, -mean / std)


def _normalization(config: Config, shape: Shape) -> Built:
    mean, variance, invert = config.get("mean"), config.get("variance"), bool(config.get("invert"))
    last = config.get("axis", -1) is not None and axes_of(config, shape) == (len(shape),)
    if mean is not None and variance is not None and (last or np.size(mean) == np.size(variance) == 1):
        return Built(standardizing(_per_channel(mean, shape[0]), _per_channel(variance, shape[0]), invert))
    if not last:
        raise NetworkError(f"axis {config.get('axis')!r} is not supported; only the last is")
    slots: Wanted = {
        "mean": ((shape[0],), "mean", ()),
        "variance": ((shape[0],), "variance", ()),
        "count": ((), "count", ()),
    }
    return Built(Standardize(shape[0], invert), slots_of(slots))


def _per_channel(value: Any, channels: int) -> Tensor:
    numbers = torch.as_tensor(value, dtype=torch.float32).flatten()
    if len(numbers) not in (1, channels):
        raise NetworkError(f"{len(numbers)} numbers for {channels} channels")
    return numbers.expand(channels)


BUILDERS: dict[str, Callable[[Config, Shape], Built]] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "LayerScale": _layer_scale,
    "Normalization": _normalization,
    "RMSNormalization": _rms_norm,
    "Rescaling": _rescaling,
    "UnitNormalization": _unit_norm,
}
