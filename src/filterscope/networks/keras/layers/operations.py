"""Bare operations of a functional Keras model (`x + 3`, `keras.ops.relu(x)`, `x[:, 0]`), as torch modules.

What each computes stands in `keras_functions.py`, by the operation's class; what is not there is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.config import Call, Constant, Ref
from filterscope.networks.keras.layers.activations import ACTIVATIONS
from filterscope.networks.keras.layers.base import Built, Config, Settings, Shape, keras_order, own_order
from filterscope.networks.keras.layers.functions import FAR, POINTWISE
from filterscope.networks.keras.layers.reshaping import BUILDERS


@dataclass(frozen=True)
class _Held:
    """In a call's arguments: a buffer of the module."""

    name: str


@dataclass(frozen=True)
class _Given:
    """In a call's arguments: an input of the module."""

    position: int


class Operation(nn.Module):
    """A function with a call's arguments; its tensors come in our order, and go through Keras'.

    `refs` are the tensors that go in, in the order of the module's inputs.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], refs: Sequence[Ref]):
        super().__init__()
        self.function = function
        self.args = self._hold(list(args), list(refs))

    def _hold(self, value: Any, refs: list[Ref]) -> Any:
        """The arguments with their arrays as buffers, which go where the network goes."""
        if isinstance(value, Ref):
            return _Given(refs.index(value))
        if isinstance(value, Constant):
            array = torch.as_tensor(value.value)
            held = _Held(f"constant_{len(self._buffers)}")
            self.register_buffer(
                held.name, array.float() if array.is_floating_point() else array, persistent=False
            )
            return held
        return [self._hold(v, refs) for v in value] if isinstance(value, list | tuple) else value

    def _filled(self, value: Any, tensors: Sequence[Tensor]) -> Any:
        if isinstance(value, _Given):
            return tensors[value.position]
        if isinstance(value, _Held):
            return self.get_buffer(value.name)
        return [self._filled(v, tensors) for v in value] if isinstance(value, list) else value

    def forward(self, *inputs: Tensor) -> Any:
        tensors = [keras_order(x) for x in inputs]
        result = self.function(*self._filled(self.args, tensors))
        return own_order(result) if isinstance(result, Tensor) else tuple(own_order(r) for r in result)


def _plain(name: str) -> Callable[[Config], nn.Module]:
    return lambda config: ACTIVATIONS[name]()


_ACTING: dict[str, Callable[[Config], nn.Module]] = {
    "Celu": lambda config: nn.CELU(float(config.get("alpha", 1.0))),
    "Elu": lambda config: nn.ELU(float(config.get("alpha", 1.0))),
    "Gelu": lambda config: nn.GELU("tanh" if config.get("approximate", True) else "none"),
    "HardShrink": lambda config: nn.Hardshrink(float(config.get("threshold", 0.5))),
    "HardSigmoid": _plain("hard_sigmoid"),
    "HardSilu": _plain("hard_silu"),
    "HardTanh": _plain("hard_tanh"),
    "LeakyRelu": lambda config: nn.LeakyReLU(float(config.get("negative_slope", 0.2))),
    "LogSigmoid": _plain("log_sigmoid"),
    "Mish": _plain("mish"),
    "Relu": _plain("relu"),
    "Relu6": _plain("relu6"),
    "Selu": _plain("selu"),
    "Sigmoid": _plain("sigmoid"),
    "Silu": _plain("silu"),
    "SoftShrink": lambda config: nn.Softshrink(float(config.get("threshold", 0.5))),
    "Softplus": _plain("softplus"),
    "Softsign": _plain("softsign"),
    "SparsePlus": _plain("sparse_plus"),
    "Tanh": _plain("tanh"),
    "TanhShrink": _plain("tanh_shrink"),
}
# operations that are layers without weights
_AS_LAYERS = {"AveragePool": "AveragePooling", "MaxPool": "MaxPooling"}

# TensorFlow operations as functional models of Keras 2 record them (class TFOpLambda, config["function"])
TENSORFLOW = {
    "__operators__.add": "Add",
    "__operators__.getitem": "GetItem",
    "add": "Add",
    "cast": "Cast",
    "clip_by_value": "Clip",
    "compat.v1.squeeze": "Squeeze",
    "compat.v1.transpose": "Transpose",
    "concat": "Concatenate",
    "exp": "Exp",
    "expand_dims": "ExpandDims",
    "identity": "Copy",
    "linalg.matmul": "Matmul",
    "math.greater": "Greater",
    "math.greater_equal": "GreaterEqual",
    "math.less": "Less",
    "math.less_equal": "LessEqual",
    "math.log1p": "Log1p",
    "math.pow": "Power",
    "math.reduce_max": "Max",
    "math.reduce_mean": "Mean",
    "math.reduce_min": "Min",
    "math.reduce_std": "Std",
    "math.reduce_sum": "Sum",
    "math.reduce_variance": "Var",
    "math.truediv": "Divide",
    "nn.bias_add": "BiasAdd",
    "nn.leaky_relu": "LeakyRelu",
    "nn.softmax": "Softmax",
    "pad": "Pad",
    "repeat": "Repeat",
    "reshape": "Reshape",
    "reverse": "Flip",
    "split": "Split",
    "squeeze": "Squeeze",
    "stack": "Stack",
    "stop_gradient": "StopGradient",
    "subtract": "Subtract",
    "tile": "Tile",
    "transpose": "Transpose",
    "unstack": "Unstack",
    "where": "Where",
    **{
        f"{room}.{name}": name.capitalize()
        for room, names in {
            "math": "abs add cos divide erf exp log maximum minimum multiply negative reciprocal rsqrt sigmoid sign sin "
            "softplus softsign sqrt square subtract tanh",
            "nn": "elu relu relu6 selu sigmoid silu softplus softsign tanh",
        }.items()
        for name in names.split()
    },
}
# what TensorFlow calls settings that Keras' operations have too
_RENAMED = {
    "alpha": "negative_slope",
    "clip_value_max": "x_max",
    "clip_value_min": "x_min",
    "multiples": "repeats",
    "num_or_size_splits": "indices_or_sections",
    "paddings": "pad_width",
    "perm": "axes",
    "shape": "newshape",
}
_GELU = "nn.gelu"  # exact unless told otherwise, where Keras' is not

# arguments that a call may name, in the order in which functions take them
_ARGUMENTS = (
    *("condition", "xs", "values", "operands", "x1", "a", "x", "inputs", "input", "images", "input_tensor"),
    *("features", "logits", "tensor", "x2", "b", "y", "bias", "key"),
)


def operation(call: Call, shapes: Sequence[Shape]) -> tuple[Built, Settings]:
    """The torch module for a bare operation, and its settings, which note what is read of them; NetworkError for an
    operation not known."""
    kind, config = call.kind, call.config
    named = {k: v for k, v in call.kwargs.items() if k != "name"}
    if kind == "SlicingOpLambda":
        return _old_slice(call), Settings({})
    if kind == "TFOpLambda":
        kind, named = _of_tensorflow(str(config.get("function")), named)
        config = {}
    args = list(call.args) + [named.pop(k) for k in _ARGUMENTS if k in named]
    settings = Settings({**config, **named})
    if kind in _ACTING and len(shapes) == len(args) == 1:
        return Built(_ACTING[kind](settings), acts=True), settings
    if kind == "Softmax" and len(shapes) == 1 and settings.get("axis", -1) in (-1, len(shapes[0])):
        return Built(nn.Softmax(1), acts=True), settings
    if kind in _AS_LAYERS and len(shapes) == 1:
        return BUILDERS[f"{_AS_LAYERS[kind]}{len(shapes[0]) - 1}D"](settings, shapes[0]), settings
    if kind == "Resize" and len(shapes) == 1:
        settings["height"], settings["width"] = settings["size"]
        settings.setdefault("interpolation", "bilinear")
        return BUILDERS["Resizing"](settings, shapes[0]), settings
    rule = POINTWISE.get(kind) or FAR.get(kind)
    if rule is None:
        raise NetworkError("the operation has no torch counterpart here")
    module = Operation(partial(rule, settings), args, call.refs)
    return Built(module, window=(1, 1) if kind in POINTWISE else None), settings


def _of_tensorflow(function: str, named: Config) -> tuple[str, Config]:
    """(the operation's class in Keras 3, what the call names as Keras 3 calls it)."""
    kind = "Gelu" if function == _GELU else TENSORFLOW.get(function, function)
    renamed = {k if kind == "Elu" else _RENAMED.get(k, k): v for k, v in named.items()}
    if kind == "Gelu":
        renamed.setdefault("approximate", False)
    if kind == "Split" and not isinstance(renamed.get("indices_or_sections"), int):
        raise NetworkError("tf.split into parts of different sizes is not supported")
    return kind, renamed


def _old_slice(call: Call) -> Built:
    rows = call.kwargs.get("slice_spec") or ()
    key = [_old_index(row) for row in rows]
    return Built(Operation(partial(FAR["GetItem"], {}), [call.args[0], key], call.refs), window=None)


def _old_index(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    if row.get("class_name") == "__ellipsis__":
        return ...
    if not {"start", "stop", "step"} >= set(row):
        raise NetworkError(f"the index {row!r} is not supported")
    return slice(row.get("start"), row.get("stop"), row.get("step"))
