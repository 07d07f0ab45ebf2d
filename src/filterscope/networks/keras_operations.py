"""Bare operations of a functional Keras model (`x + 3`, `keras.ops.relu(x)`, `x[:, 0]`), as torch modules.

A table by the operation's class. Each function takes the operation's config and then the call's arguments, its
tensors in Keras' order; what is not in the table is refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras_activations import ACTIVATIONS
from filterscope.networks.keras_config import Call, Constant, Ref
from filterscope.networks.keras_parts import Built, Config, Shape, keras_order, own_order

Function = Callable[..., Any]


@dataclass(frozen=True)
class _Held:
    """In a call's arguments: a buffer of the module."""

    name: str


class Operation(nn.Module):
    """A function with a call's arguments; its tensors come in our order, and go through Keras'."""

    def __init__(self, function: Function, args: Any, kwargs: Config):
        super().__init__()
        self.function = function
        self.args, self.kwargs = self._hold(args), self._hold(kwargs)

    def _hold(self, value: Any) -> Any:
        """The arguments with their arrays as buffers, which go where the network goes."""
        if isinstance(value, Constant):
            array = torch.as_tensor(value.value)
            held = _Held(f"constant_{len(self._buffers)}")
            self.register_buffer(
                held.name, array.float() if array.is_floating_point() else array, persistent=False
            )
            return held
        if isinstance(value, dict):
            return {k: self._hold(v) for k, v in value.items()}
        return [self._hold(v) for v in value] if isinstance(value, list | tuple) else value

    def _filled(self, value: Any, tensors: Iterator[Tensor]) -> Any:
        if isinstance(value, Ref):
            return next(tensors)
        if isinstance(value, _Held):
            return self.get_buffer(value.name)
        if isinstance(value, dict):
            return {k: self._filled(v, tensors) for k, v in value.items()}
        return [self._filled(v, tensors) for v in value] if isinstance(value, list) else value

    def forward(self, *inputs: Tensor) -> Any:
        tensors = iter([keras_order(x) for x in inputs])
        args, kwargs = self._filled(self.args, tensors), self._filled(self.kwargs, tensors)
        result = self.function(*args, **kwargs)
        return own_order(result) if isinstance(result, Tensor) else tuple(own_order(r) for r in result)


def _pair(function: Callable[[Any, Any], Any]) -> Function:
    def apply(config: Config, x1: Any, x2: Any = None, **kwargs: Any) -> Any:
        other = kwargs.get("y", kwargs.get("x2", x2))
        like = x1 if isinstance(x1, Tensor) else other
        return function(_as_tensor(x1, like), _as_tensor(other, like))

    return apply


def _as_tensor(value: Any, like: Tensor) -> Any:
    if isinstance(value, Tensor) or like is None:
        return value
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def _one(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda config, x, **kwargs: function(x)


def _axis(config: Config, kwargs: Config, default: Any = None) -> Any:
    value = kwargs.get("axis", config.get("axis", default))
    return tuple(int(v) for v in value) if isinstance(value, list | tuple) else value


def _reduced(function: Callable[..., Tensor]) -> Function:
    def apply(config: Config, x: Tensor, **kwargs: Any) -> Tensor:
        axis = _axis(config, kwargs)
        axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
        if any(a % x.ndim == 0 for a in axes):
            raise NetworkError("it mixes the pictures of a batch")
        return function(x, axes, keepdim=bool(kwargs.get("keepdims", config.get("keepdims", False))))

    return apply


def _reshape(config: Config, x: Tensor, newshape: Any = None, **kwargs: Any) -> Tensor:
    shape = newshape or kwargs.get("shape") or config.get("newshape") or config["shape"]
    return x.reshape(x.shape[0], *[-1 if s is None else int(s) for s in shape[1:]])


def _transpose(config: Config, x: Tensor, **kwargs: Any) -> Tensor:
    axes = kwargs.get("axes") or kwargs.get("perm") or config.get("axes") or range(x.ndim)[::-1]
    if axes[0] != 0:
        raise NetworkError("it mixes the pictures of a batch")
    return x.permute(*axes)


def _concatenate(config: Config, xs: Sequence[Tensor], axis: Any = None, **kwargs: Any) -> Tensor:
    axis = int(_axis(config, {} if axis is None else {"axis": axis}, -1))
    batch = max(len(x) for x in xs)  # an array that the model holds stands once for all pictures
    return torch.cat([x.expand(batch, *x.shape[1:]) for x in xs], axis)


def _split(config: Config, x: Tensor, *args: Any, **kwargs: Any) -> Sequence[Tensor]:
    parts, axis = config.get("indices_or_sections"), int(config.get("axis", 0))
    if isinstance(parts, int):
        return x.tensor_split(parts, axis)
    return x.tensor_split([int(p) for p in parts or ()], axis)


def _item(config: Config, x: Tensor, key: Any, **kwargs: Any) -> Tensor:
    keys = key if isinstance(key, list | tuple) else [key]
    if keys[0] not in (slice(None), ...):
        raise NetworkError("it takes pictures out of the batch")
    if not all(k is None or k is ... or isinstance(k, int | slice) for k in keys):
        raise NetworkError(f"the index {key!r} is not supported")
    back = [i for i, k in enumerate(keys) if isinstance(k, slice) and (k.step or 1) < 0]
    if not back:
        return x[tuple(keys)]
    if any(keys[i] != slice(None, None, -1) for i in back) or any(
        k is None or isinstance(k, int) for k in keys
    ):
        raise NetworkError(f"the index {key!r} is not supported")
    behind = len(keys) - 1 - keys.index(...) if ... in keys else 0  # indices that count from the last axis
    axes = [i - len(keys) if ... in keys and len(keys) - i <= behind else i for i in back]
    return x.flip(axes)[tuple(slice(None) if i in back else k for i, k in enumerate(keys))]


def _softmax(config: Config, x: Tensor, **kwargs: Any) -> Tensor:
    return F.softmax(x, int(_axis(config, kwargs, -1)))


def _clip(config: Config, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    given = [*args, *(config.get(k, kwargs.get(k)) for k in ("x_min", "x_max")[len(args) :])]
    return x.clamp(given[0], given[1])


def _pad(config: Config, x: Tensor, **kwargs: Any) -> Tensor:
    pads = [int(v) for row in reversed(config["pad_width"]) for v in row]
    return F.pad(x, pads, str(config.get("mode", "constant")))


def _einsum(config: Config, *operands: Tensor, **kwargs: Any) -> Tensor:
    return torch.einsum(str(config["subscripts"]), *operands)


def _matmul(config: Config, x1: Tensor, x2: Tensor, transpose_b: bool = False, **kwargs: Any) -> Tensor:
    return x1 @ (x2.transpose(-1, -2) if transpose_b else x2)


_ACTING = {
    "Celu": "celu",
    "Elu": "elu",
    "Gelu": "gelu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "LeakyRelu": "leaky_relu",
    "LogSigmoid": "log_sigmoid",
    "Mish": "mish",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
}


def _acting(kind: str, config: Config) -> nn.Module:
    if kind == "LeakyRelu":
        return nn.LeakyReLU(float(config.get("negative_slope", 0.2)))
    if kind == "Elu":
        return nn.ELU(float(config.get("alpha", 1.0)))
    if kind == "Gelu":
        return nn.GELU("tanh" if config.get("approximate", True) else "none")
    return ACTIVATIONS[_ACTING[kind]]()


_POINTWISE: dict[str, Function] = {
    "Absolute": _one(torch.abs),
    "Abs": _one(torch.abs),
    "Add": _pair(operator.add),
    "Cast": _one(lambda x: x),
    "Clip": _clip,
    "Divide": _pair(operator.truediv),
    "Exp": _one(torch.exp),
    "Log": _one(torch.log),
    "Maximum": _pair(torch.maximum),
    "Minimum": _pair(torch.minimum),
    "Multiply": _pair(operator.mul),
    "Negative": _one(torch.neg),
    "Power": _pair(torch.pow),
    "Rsqrt": _one(torch.rsqrt),
    "Sqrt": _one(torch.sqrt),
    "Square": _one(torch.square),
    "Subtract": _pair(operator.sub),
    "TrueDivide": _pair(operator.truediv),
}
_FAR: dict[str, Function] = {
    "Concatenate": _concatenate,
    "Einsum": _einsum,
    "ExpandDims": lambda config, x, **kwargs: x.unsqueeze(int(_axis(config, kwargs))),
    "GetItem": _item,
    "Matmul": _matmul,
    "Max": _reduced(torch.amax),
    "Mean": _reduced(torch.mean),
    "Min": _reduced(torch.amin),
    "Pad": _pad,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": lambda config, x, **kwargs: x.squeeze(_axis(config, kwargs)),
    "Sum": _reduced(torch.sum),
    "Transpose": _transpose,
    "Var": _reduced(partial(torch.var, correction=0)),
}

# TensorFlow operations as functional models of Keras 2 record them (class TFOpLambda, config["function"])
_TENSORFLOW = {
    "__operators__.add": "Add",
    "__operators__.getitem": "GetItem",
    "cast": "Cast",
    "clip_by_value": "Clip",
    "compat.v1.transpose": "Transpose",
    "concat": "Concatenate",
    "expand_dims": "ExpandDims",
    "linalg.matmul": "Matmul",
    "math.abs": "Abs",
    "math.add": "Add",
    "math.divide": "Divide",
    "math.exp": "Exp",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.multiply": "Multiply",
    "math.negative": "Negative",
    "math.reduce_max": "Max",
    "math.reduce_mean": "Mean",
    "math.reduce_sum": "Sum",
    "math.sigmoid": "Sigmoid",
    "math.sqrt": "Sqrt",
    "math.square": "Square",
    "math.subtract": "Subtract",
    "math.tanh": "Tanh",
    "math.truediv": "Divide",
    "nn.elu": "Elu",
    "nn.gelu": "Gelu",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.sigmoid": "Sigmoid",
    "nn.silu": "Silu",
    "nn.softmax": "Softmax",
    "reshape": "Reshape",
    "squeeze": "Squeeze",
    "transpose": "Transpose",
}


def operation(call: Call, shapes: Sequence[Shape]) -> Built:
    """The torch module for a bare operation; NetworkError for one not known."""
    kind, kwargs = call.kind, dict(call.kwargs)
    if kind == "SlicingOpLambda":
        return _old_slice(call)
    if kind == "TFOpLambda":
        function = str(call.config.get("function"))
        kind = _TENSORFLOW.get(function, function)
        kwargs.pop("name", None)
    if kind in _ACTING and len(shapes) == 1:
        return Built(_acting(kind, call.config), acts=True)
    if kind == "Softmax" and len(shapes) == 1 and call.config.get("axis", -1) in (-1, len(shapes[0])):
        return Built(nn.Softmax(1), acts=True)
    rule = _POINTWISE.get(kind) or _FAR.get(kind)
    if rule is None:
        raise NetworkError("the operation has no torch counterpart here")
    module = Operation(partial(rule, call.config), list(call.args), kwargs)
    return Built(module, window=(1, 1) if kind in _POINTWISE else None)


def _old_slice(call: Call) -> Built:
    rows = call.kwargs.get("slice_spec") or ()
    key = [slice(r.get("start"), r.get("stop"), r.get("step")) if isinstance(r, dict) else r for r in rows]
    return Built(Operation(partial(_item, {}), [call.args[0], key], {}), window=None)
