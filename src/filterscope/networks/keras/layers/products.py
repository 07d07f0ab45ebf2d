"""Keras layer types as torch modules: one builder a type, in tables that new types join.

A builder takes the layer's Keras config and the shape of its input, (channels, height, width), (channels,
tokens) or (units,), and returns the torch module on the meta device, the tensors it wants, and its window (see `Built`).
A joiner takes the shapes of several inputs. This module holds the products; its neighbours the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.layers import activations as keras_activations
from filterscope.networks.keras.layers import attention as keras_attention
from filterscope.networks.keras.layers import merging as keras_joins
from filterscope.networks.keras.layers import normalization as keras_norms
from filterscope.networks.keras.layers import reshaping as keras_shapes
from filterscope.networks.keras.layers.activations import ACTIVATIONS, activation_of
from filterscope.networks.keras.layers.base import (
    Builder,
    Built,
    Config,
    Joiner,
    SamePad,
    Shape,
    in_row,
    meta,
    padding_of,
    require_channels_last,
    same_window,
    sides,
    slots_of,
)

__all__ = ["ACTIVATIONS", "BUILDERS", "JOINERS", "Built", "SamePad", "activation_of"]

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
_Wanted = dict[str, tuple[Shape, str, tuple[int, ...]]]  # Keras name -> shape, torch parameter, axes


def _conv(count: int) -> Builder:
    def build(config: Config, shape: Shape) -> Built:
        _require_map(shape, count)
        kernel, stride, dilation = (
            sides(config.get(k, 1), count) for k in ("kernel_size", "strides", "dilation_rate")
        )
        groups, filters, bias = int(config.get("groups", 1)), int(config["filters"]), config["use_bias"]
        if config["padding"] == "causal" and count == 1:
            require_channels_last(config)
            pad: nn.Module | None = keras_shapes.Pad([(kernel[0] - 1) * dilation[0], 0])
            padding: tuple[int, ...] = (0,)
        else:
            pad, padding = padding_of(config, kernel, stride, dilation)
        conv = _CONVOLUTIONS[count](
            shape[0], filters, kernel, stride, padding, dilation, groups, bias=bias, device="meta"
        )
        axes = (count + 1, count, *range(count))
        slots: _Wanted = {"kernel": ((*kernel, shape[0] // groups, filters), "conv.weight", axes)}
        if bias:
            slots["bias"] = ((filters,), "conv.bias", ())
        window = same_window(kernel, stride, dilation)
        return Built(in_row(pad=pad, conv=conv), slots_of(slots), activation_of(config), window)

    return build


def _depthwise(config: Config, shape: Shape) -> Built:
    _require_map(shape, 2)
    kernel, stride, dilation = (sides(config.get(k, 1)) for k in ("kernel_size", "strides", "dilation_rate"))
    channels, each, bias = shape[0], int(config.get("depth_multiplier") or 1), config["use_bias"]
    pad, padding = padding_of(config, kernel, stride, dilation)
    conv = _CONVOLUTIONS[2](
        channels, channels * each, kernel, stride, padding, dilation, channels, bias=bias, device="meta"
    )
    slots: _Wanted = {"kernel": ((*kernel, channels, each), "conv.weight", (2, 3, 0, 1))}
    if bias:
        slots["bias"] = ((channels * each,), "conv.bias", ())
    window = same_window(kernel, stride, dilation)
    return Built(in_row(pad=pad, conv=conv), slots_of(slots), activation_of(config), window)


def _separable(config: Config, shape: Shape) -> Built:
    _require_map(shape, 2)
    kernel, stride, dilation = (sides(config.get(k, 1)) for k in ("kernel_size", "strides", "dilation_rate"))
    channels, each, bias = shape[0], int(config.get("depth_multiplier") or 1), config["use_bias"]
    middle, filters = channels * each, int(config["filters"])
    pad, padding = padding_of(config, kernel, stride, dilation)
    depthwise = _CONVOLUTIONS[2](
        channels, middle, kernel, stride, padding, dilation, channels, bias=False, device="meta"
    )
    pointwise = nn.Conv2d(middle, filters, 1, bias=bias, device="meta")
    slots: _Wanted = {
        "depthwise_kernel": ((*kernel, channels, each), "depthwise.weight", (2, 3, 0, 1)),
        "pointwise_kernel": ((1, 1, middle, filters), "pointwise.weight", (3, 2, 0, 1)),
    }
    if bias:
        slots["bias"] = ((filters,), "pointwise.bias", ())
    module = in_row(pad=pad, depthwise=depthwise, pointwise=pointwise)
    return Built(module, slots_of(slots), activation_of(config), same_window(kernel, stride, dilation))


class TransposedConv(nn.Module):
    """TensorFlow's transposed convolution: the gradient of the convolution that makes the input of the output."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, config: Config):
        super().__init__()
        self.weight, self.bias = weight, bias
        self.kernel, self.stride = sides(config["kernel_size"]), sides(config.get("strides", 1))
        self.dilation = sides(config.get("dilation_rate", 1))
        extra = config.get("output_padding")
        self.extra = None if extra is None else sides(extra)
        self.same = config["padding"] == "same"

    def _length(self, axis: int, size: int) -> int:
        stride = self.stride[axis]
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        if self.extra is not None:
            pad = reach // 2 if self.same else 0
            return (size - 1) * stride + reach - 2 * pad + self.extra[axis]
        return size * stride if self.same else size * stride + max(reach - stride, 0)

    def forward(self, x: Tensor) -> Tensor:
        full = F.conv_transpose2d(x, self.weight, None, self.stride, dilation=self.dilation)
        pads: list[int] = []
        for axis, size in enumerate(x.shape[2:]):
            spare = full.shape[2 + axis] - self._length(axis, size)
            before = max(spare, 0) // 2 if self.same else 0
            pads = [-before, before - spare, *pads]
        out = F.pad(full, pads)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


def _transposed(config: Config, shape: Shape) -> Built:
    _require_map(shape, 2)
    require_channels_last(config)
    kernel, stride, dilation = (sides(config.get(k, 1)) for k in ("kernel_size", "strides", "dilation_rate"))
    filters, bias = int(config["filters"]), config["use_bias"]
    slots: _Wanted = {"kernel": ((*kernel, filters, shape[0]), "weight", (3, 2, 0, 1))}
    if bias:
        slots["bias"] = ((filters,), "bias", ())
    module = TransposedConv(meta(shape[0], filters, *kernel), meta(filters) if bias else None, config)
    reach = max(-(-((k - 1) * d + 1) // s) for k, d, s in zip(kernel, dilation, stride, strict=True))
    return Built(module, slots_of(slots), activation_of(config), (reach, Fraction(1, max(stride))))


class DenseOnMaps(nn.Module):
    """A matrix product along the channels, at every place alike."""

    def __init__(self, dense: nn.Linear):
        super().__init__()
        self.dense = dense

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x.movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]


def _dense(config: Config, shape: Shape) -> Built:
    units, bias = int(config["units"]), config["use_bias"]
    linear = nn.Linear(shape[0], units, bias=bias, device="meta")
    slots: _Wanted = {"kernel": ((shape[0], units), "dense.weight", (1, 0))}
    if bias:
        slots["bias"] = ((units,), "dense.bias", ())
    module = in_row(dense=linear) if len(shape) == 1 else DenseOnMaps(linear)
    return Built(module, slots_of(slots), activation_of(config), None if len(shape) == 1 else (1, 1))


BUILDERS: dict[str, Builder] = {
    **keras_activations.LAYERS,
    **keras_attention.BUILDERS,
    **keras_norms.BUILDERS,
    **keras_shapes.BUILDERS,
    "Conv1D": _conv(1),
    "Conv2D": _conv(2),
    "Conv2DTranspose": _transposed,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
}
JOINERS: dict[str, Joiner] = {**keras_joins.JOINERS, **keras_attention.JOINERS}


def _require_map(shape: Shape, count: int) -> None:
    if len(shape) != count + 1:
        raise NetworkError(
            f"it wants (batch, {'rows, columns, ' * (count == 2)}channels), not {len(shape) + 1} axes"
        )
