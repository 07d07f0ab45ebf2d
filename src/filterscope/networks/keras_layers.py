"""Keras layer types as torch modules: one builder a type, in a table that new types join.

A builder takes the layer's Keras config and the shape of its input, (channels, height, width) or (units,),
and returns the torch module on the meta device, the tensors it wants, and how far it sees. Maps are
(B, C, H, W) throughout; where Keras' channels-last order shows in the numbers (Flatten), the module keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.weights import Slot

Config = dict[str, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Built:
    """A layer as torch runs it.

    window: (kernel, stride) of what one value sees, None for everything. pools: whether it only gathers each
    channel's own values, so that a channel lives where the one before it does.
    """

    module: nn.Module
    slots: tuple[Slot, ...] = ()
    activation: nn.Module | None = None
    window: tuple[int, int] | None = (1, 1)
    pools: bool = False


class SamePad(nn.Module):
    """TensorFlow's `same` padding: as much as makes the output ceil(size / stride), the odd one behind."""

    def __init__(
        self, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], value: float
    ):
        super().__init__()
        self.kernel, self.stride, self.dilation, self.value = kernel, stride, dilation, value

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, k, s, d in zip(x.shape[2:], self.kernel, self.stride, self.dilation, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        return F.pad(x, pads, value=self.value)


class Flatten(nn.Module):
    """(B, C, H, W) to (B, H * W * C): Keras' order, channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x.flatten(1)


class GlobalAverage(nn.Module):
    """(B, C, H, W) to (B, C), the mean over space; to (B, C, 1, 1) with `keepdims`."""

    def __init__(self, keepdims: bool = False):
        super().__init__()
        self.keepdims = keepdims

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=self.keepdims)


class Affine(nn.Module):
    """scale * x + offset, per channel: Keras' Rescaling."""

    def __init__(self, scale: Tensor, offset: Tensor):
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return x * self.get_buffer("scale").view(shape) + self.get_buffer("offset").view(shape)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softmax": lambda: nn.Softmax(1),
}


def activation_of(config: Config) -> nn.Module | None:
    """The layer's own activation as a module, None for linear; NetworkError for one not known."""
    value = config.get("activation")
    name = value.get("config", value) if isinstance(value, dict) else value
    if name in (None, "linear"):
        return None
    if not isinstance(name, str) or name not in ACTIVATIONS:
        allowed = ", ".join(sorted(ACTIVATIONS))
        raise NetworkError(f"activation {name!r} has no counterpart here; known are linear, {allowed}")
    return ACTIVATIONS[name]()


def _conv2d(config: Config, shape: Shape) -> Built:
    kernel, stride, dilation = (_pair(config[k]) for k in ("kernel_size", "strides", "dilation_rate"))
    groups, filters = config.get("groups", 1), config["filters"]
    pad, padding = _padding(config, kernel, stride, dilation, 0.0)
    conv = nn.Conv2d(
        shape[0], filters, kernel, stride, padding, dilation, groups, bias=config["use_bias"], device="meta"
    )
    slots = [Slot("kernel", (*kernel, shape[0] // groups, filters), "conv.weight", (3, 2, 0, 1))]
    if config["use_bias"]:
        slots.append(Slot("bias", (filters,), "conv.bias"))
    return Built(
        _padded(pad, "conv", conv), tuple(slots), activation_of(config), _window(kernel, stride, dilation)
    )


def _dense(config: Config, shape: Shape) -> Built:
    if len(shape) != 1:
        raise NetworkError(f"Dense on a map of shape {shape} is not supported; only on flat inputs")
    linear = nn.Linear(shape[0], config["units"], bias=config["use_bias"], device="meta")
    slots = [Slot("kernel", (shape[0], config["units"]), "dense.weight", (1, 0))]
    if config["use_bias"]:
        slots.append(Slot("bias", (config["units"],), "dense.bias"))
    return Built(_padded(None, "dense", linear), tuple(slots), activation_of(config), None)


def _pool(kind: type[nn.MaxPool2d] | type[nn.AvgPool2d]) -> Callable[[Config, Shape], Built]:
    def build(config: Config, shape: Shape) -> Built:
        kernel, stride = _pair(config["pool_size"]), _pair(config.get("strides") or config["pool_size"])
        if config["padding"] == "same" and kind is nn.AvgPool2d:
            raise NetworkError("AveragePooling2D with padding 'same' is not supported yet")
        pad, _ = _padding(config, kernel, stride, (1, 1), float("-inf"))
        return Built(
            _padded(pad, "pool", kind(kernel, stride)), window=_window(kernel, stride, (1, 1)), pools=True
        )

    return build


def _rescaling(config: Config, shape: Shape) -> Built:
    scale, offset = (torch.as_tensor(config[k], dtype=torch.float32) for k in ("scale", "offset"))
    return Built(Affine(scale.expand(shape[0]).clone(), offset.expand(shape[0]).clone()))


def _softmax(config: Config, shape: Shape) -> Built:
    if config.get("axis", -1) != -1:
        raise NetworkError(f"Softmax over axis {config['axis']} is not supported; only over the last")
    return Built(nn.Softmax(1))


def _activation(config: Config, shape: Shape) -> Built:
    return Built(activation_of(config) or nn.Identity())


def _relu(config: Config, shape: Shape) -> Built:
    if config.get("negative_slope") or config.get("threshold") or config.get("max_value") not in (None, 6.0):
        raise NetworkError("ReLU with a slope, threshold or maximum other than 6 is not supported yet")
    return Built(nn.ReLU6() if config.get("max_value") else nn.ReLU())


def _flatten(config: Config, shape: Shape) -> Built:
    _require_channels_last(config)
    return Built(Flatten(), window=None)


def _global_average(config: Config, shape: Shape) -> Built:
    _require_channels_last(config)
    return Built(GlobalAverage(config.get("keepdims", False)), window=None, pools=True)


BUILDERS: dict[str, Callable[[Config, Shape], Built]] = {
    "Activation": _activation,
    "AveragePooling2D": _pool(nn.AvgPool2d),
    "Conv2D": _conv2d,
    "Dense": _dense,
    "Dropout": lambda config, shape: Built(nn.Identity(), pools=True),
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_average,
    "MaxPooling2D": _pool(nn.MaxPool2d),
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Softmax": _softmax,
    "SpatialDropout2D": lambda config, shape: Built(nn.Identity(), pools=True),
}


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _window(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    return max((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)), max(stride)


def _padding(
    config: Config, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], value: float
) -> tuple[SamePad | None, tuple[int, int]]:
    """Either a module that pads, or torch's own symmetric padding where that is the same."""
    _require_channels_last(config)
    if config["padding"] == "valid":
        return None, (0, 0)
    if stride == (1, 1) and value == 0 and all(k % 2 for k in kernel):
        return None, (kernel[0] // 2 * dilation[0], kernel[1] // 2 * dilation[1])
    return SamePad(kernel, stride, dilation, value), (0, 0)


def _require_channels_last(config: Config) -> None:
    if config.get("data_format", "channels_last") not in ("channels_last", None):
        raise NetworkError("data_format 'channels_first' is not supported; save the model as channels_last")


def _padded(pad: SamePad | None, name: str, module: nn.Module) -> nn.Sequential:
    whole = nn.Sequential()
    if pad is not None:
        whole.add_module("pad", pad)
    whole.add_module(name, module)
    return whole
