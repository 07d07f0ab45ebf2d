"""Activation functions, by Keras' names, and the layers that are one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.config import OWN_CODE, is_of_keras
from filterscope.networks.keras.layers.base import (
    Built,
    Config,
    Elementwise,
    Settings,
    Shape,
    axes_of,
    meta,
    require_all_read,
)
from filterscope.networks.weights.table import Slot


def _squareplus(x: Tensor) -> Tensor:
    return (x + torch.sqrt(x * x + 4)) / 2


def _sparse_plus(x: Tensor) -> Tensor:
    return torch.where(x <= -1, torch.zeros_like(x), torch.where(x < 1, (x + 1) ** 2 / 4, x))


def _function(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Callable[[], nn.Module]:
    return lambda: Elementwise(partial(function, *args, **kwargs))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "celu": nn.CELU,
    "elu": nn.ELU,
    "exponential": _function(torch.exp),
    "gelu": nn.GELU,
    "hard_shrink": nn.Hardshrink,
    "hard_sigmoid": nn.Hardsigmoid,
    "hard_silu": nn.Hardswish,
    "hard_swish": nn.Hardswish,
    "hard_tanh": nn.Hardtanh,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "log_sigmoid": nn.LogSigmoid,
    "log_softmax": lambda: nn.LogSoftmax(1),
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "soft_shrink": nn.Softshrink,
    "softmax": lambda: nn.Softmax(1),
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "sparse_plus": _function(_sparse_plus),
    "squareplus": _function(_squareplus),
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "tanh_shrink": nn.Tanhshrink,
}


# Keras 2.12 wrote its own functions as it wrote a person's; these are the ones that it had
_OLD = {
    *(
        "elu",
        "exponential",
        "gelu",
        "hard_sigmoid",
        "linear",
        "mish",
        "relu",
        "selu",
        "sigmoid",
        "softmax",
        "softplus",
    ),
    *("softsign", "swish", "tanh"),
}


def activation_of(config: Config) -> nn.Module | None:
    """The layer's own activation as a module, None for linear; NetworkError for one not known.

    Keras writes a name, a serialised function (whose config is its name), or a serialised layer. A live model's own
    function is a module already.
    """
    value = config.get("activation")
    if isinstance(value, nn.Module):
        return value
    if isinstance(value, dict | list):
        return _serialised(value)
    if value in (None, "linear"):
        return None
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise _unknown(value)
    return ACTIVATIONS[value]()


def _serialised(value: Any) -> nn.Module | None:
    kind = value.get("class_name") if isinstance(value, dict) else None
    inner = value.get("config") if isinstance(value, dict) else None
    if kind is None or kind == "__lambda__":  # marshalled code, with its defaults and closure
        raise NetworkError(f"it has a lambda for its activation, and {OWN_CODE}")
    if kind == "function":
        if is_of_keras(value) and inner in _OLD and value.get("registered_name") in (None, "function", inner):
            return activation_of({"activation": inner})
        raise _unknown(inner)
    if kind not in LAYERS or not is_of_keras(value):
        raise _unknown(value.get("registered_name") or kind)
    settings = Settings(inner or {})
    built = LAYERS[kind](settings, (1, 1, 1))
    if built.slots:
        raise NetworkError(f"its activation is a {kind}, which has weights; a layer of its own opens")
    require_all_read(kind, settings)
    return None if isinstance(built.module, nn.Identity) else built.module


def _unknown(name: Any) -> NetworkError:
    allowed = ", ".join(sorted(ACTIVATIONS))
    return NetworkError(
        f"activation {name!r} has no counterpart here, and {OWN_CODE}. Known are linear, {allowed}"
    )


def _activation(config: Config, shape: Shape) -> Built:
    own = activation_of(config)
    return Built(nn.Identity(), pools=True) if own is None else Built(own, acts=True)


def _rectified(x: Tensor, slope: float, threshold: float, largest: float | None) -> Tensor:
    """Keras' ReLU: x above the threshold, slope * (x - threshold) below it, at most the largest."""
    above = x if largest is None else x.clamp(max=largest)
    return torch.where(x >= threshold, above, slope * (x - threshold))


def _relu(config: Config, shape: Shape) -> Built:
    slope, threshold = float(config.get("negative_slope") or 0), float(config.get("threshold") or 0)
    largest = config.get("max_value")
    if not slope and not threshold and largest in (None, 6):
        return Built(nn.ReLU() if largest is None else nn.ReLU6(), acts=True)
    if not threshold and largest is None:
        return Built(nn.LeakyReLU(slope), acts=True)
    rule = partial(
        _rectified, slope=slope, threshold=threshold, largest=None if largest is None else float(largest)
    )
    return Built(Elementwise(rule), acts=True)


def _leaky(config: Config, shape: Shape) -> Built:
    slope: Any = config.get("negative_slope", config.get("alpha", 0.3))  # Keras 2 calls it alpha
    return Built(nn.LeakyReLU(float(slope)), acts=True)


def _thresholded(config: Config, shape: Shape) -> Built:
    return Built(Elementwise(partial(F.threshold, threshold=float(config["theta"]), value=0.0)), acts=True)


class PReLU(nn.Module):
    """max(x, 0) + alpha * min(x, 0), alpha (C or 1, H or 1, W or 1) learned."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.alpha = meta(*shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) + self.alpha * x.clamp(max=0)


def _prelu(config: Config, shape: Shape) -> Built:
    shared = {a - 1 for a in config.get("shared_axes") or ()}
    kept = [1 if i in shared else side for i, side in enumerate((*shape[1:], shape[0]))]
    rank = len(kept)
    slot = Slot("alpha", tuple(kept), "alpha", (rank - 1, *range(rank - 1)))
    return Built(PReLU((kept[-1], *kept[:-1])), (slot,), acts=True)


def _softmax(config: Config, shape: Shape) -> Built:
    axes = axes_of(config, shape)
    if len(axes) > 1:
        raise NetworkError(f"Softmax over axes {config['axis']} is not supported; over one it is")
    rank = len(shape) + 1
    return Built(nn.Softmax(1 if axes[0] == rank - 1 else axes[0] + 1), acts=True)


LAYERS: dict[str, Callable[[Config, Shape], Built]] = {
    "Activation": _activation,
    "ELU": lambda config, shape: Built(nn.ELU(float(config.get("alpha", 1.0))), acts=True),
    "LeakyReLU": _leaky,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Softmax": _softmax,
    "ThresholdedReLU": _thresholded,
}
