"""What Keras' bare operations compute: one function for each class, in tables that new operations join.

A function takes the operation's settings (its config, and what its call names) and then the call's arguments, tensors in
Keras' order (B, ..., C) and plain values, in the order of Keras' own signature.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.errors import NetworkError
from filterscope.networks.keras.layers.base import Config

Function = Callable[..., Any]
_FLOATS = ("float16", "float32", "float64", "bfloat16", "half", "float", "double")


def _pair(function: Callable[[Any, Any], Any]) -> Function:
    def apply(config: Config, x1: Any, x2: Any) -> Any:
        like = x1 if isinstance(x1, Tensor) else x2
        return function(_as_tensor(x1, like), _as_tensor(x2, like))

    return apply


def _as_tensor(value: Any, like: Any) -> Any:
    """A plain number or list beside a tensor, of the number type that the two have together."""
    if isinstance(value, Tensor) or not isinstance(like, Tensor):
        return value
    plain = torch.as_tensor(value, device=like.device)
    if plain.is_floating_point() and like.is_floating_point():
        return plain.to(like.dtype)
    return plain.to(torch.result_type(like, plain))


def _one(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda config, x: function(x)


def _axes(config: Config, x: Tensor, default: Any = None) -> tuple[int, ...]:
    """The config's `axis` counted from 0, all axes where it is None; NetworkError where the batch is one of them."""
    value = config.get("axis", default)
    axes = range(x.ndim) if value is None else [value] if isinstance(value, int) else value
    found = tuple(int(a) % x.ndim for a in axes)
    if 0 in found:
        raise NetworkError("it mixes the pictures of a batch")
    return found


def _axis(config: Config, x: Tensor, default: Any = None) -> int:
    axes = _axes(config, x, default)
    if len(axes) != 1:
        raise NetworkError(f"axis {config.get('axis')!r} is not supported; one axis is")
    return axes[0]


def _reduced(function: Callable[..., Tensor]) -> Function:
    def apply(config: Config, x: Tensor) -> Tensor:
        if config.get("initial") is not None:
            raise NetworkError("initial is not supported")
        return function(x, _axes(config, x), keepdim=bool(config.get("keepdims", False)))

    return apply


def _product(x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keepdim)
    return x


def _clip(config: Config, x: Tensor) -> Tensor:
    low, high = config["x_min"], config["x_max"]
    return x.clamp(low, high)


def _cast(config: Config, x: Tensor) -> Tensor:
    wanted = str(config["dtype"])
    if wanted not in _FLOATS:
        raise NetworkError(f"a cast to {wanted} is not supported: the network would have no gradient")
    return x if x.is_floating_point() else x.float()


def _where(config: Config, condition: Any, x1: Any, x2: Any) -> Tensor:
    like = x1 if isinstance(x1, Tensor) else x2
    first, second = (torch.as_tensor(_as_tensor(v, like)) for v in (x1, x2))
    return torch.where(torch.as_tensor(condition).bool(), first, second)


def _reshape(config: Config, x: Tensor) -> Tensor:
    shape = config["newshape"]
    if shape[0] not in (-1, None):
        raise NetworkError(f"a reshape to {tuple(shape)} takes a batch of one size alone")
    return x.reshape(x.shape[0], *[-1 if s is None else int(s) for s in shape[1:]])


def _transpose(config: Config, x: Tensor) -> Tensor:
    axes = [int(a) for a in config.get("axes") or range(x.ndim)[::-1]]
    if axes[0] != 0:
        raise NetworkError("it mixes the pictures of a batch")
    return x.permute(*axes)


def _swapaxes(config: Config, x: Tensor) -> Tensor:
    first, second = (int(config[k]) % x.ndim for k in ("axis1", "axis2"))
    if 0 in (first, second):
        raise NetworkError("it mixes the pictures of a batch")
    return x.transpose(first, second)


def _moveaxis(config: Config, x: Tensor) -> Tensor:
    given = [config[k] for k in ("source", "destination")]
    source, target = ([int(a) % x.ndim for a in ([v] if isinstance(v, int) else v)] for v in given)
    if 0 in (*source, *target):
        raise NetworkError("it mixes the pictures of a batch")
    return x.movedim(source, target)


def _concatenate(config: Config, xs: Sequence[Tensor]) -> Tensor:
    axis = _axis(config, xs[0], -1)
    batch = max(len(x) for x in xs)  # an array that the model holds stands once for all pictures
    return torch.cat([x.expand(batch, *x.shape[1:]) for x in xs], axis)


def _stack(config: Config, xs: Sequence[Tensor]) -> Tensor:
    axis = int(config.get("axis", 0)) % (xs[0].ndim + 1)
    if axis == 0:
        raise NetworkError("it mixes the pictures of a batch")
    return torch.stack(list(xs), axis)


def _split(config: Config, x: Tensor) -> Sequence[Tensor]:
    parts, axis = config["indices_or_sections"], _axis(config, x, 0)
    if isinstance(parts, int):
        return x.tensor_split(parts, axis)
    return x.tensor_split([int(p) for p in parts or ()], axis)


def _unstack(config: Config, x: Tensor) -> Sequence[Tensor]:
    if config.get("num") not in (None, x.shape[_axis(config, x, 0)]):
        raise NetworkError(f"num {config['num']!r} is not what the axis holds")
    return x.unbind(_axis(config, x, 0))


def _squeeze(config: Config, x: Tensor) -> Tensor:
    axes = tuple(i for i, side in enumerate(x.shape) if i and side == 1)
    wanted = axes if config.get("axis") is None else _axes(config, x)
    if any(x.shape[a] != 1 for a in wanted):
        raise NetworkError(f"axis {config['axis']} of {list(x.shape)} holds more than one value")
    return x.squeeze(wanted)


def _expand_dims(config: Config, x: Tensor) -> Tensor:
    given = config["axis"]
    axes = [given] if isinstance(given, int) else list(given)
    rank = x.ndim + len(axes)
    places = sorted(int(a) % rank for a in axes)
    if 0 in places:
        raise NetworkError("it mixes the pictures of a batch")
    for place in places:
        x = x.unsqueeze(place)
    return x


def _repeat(config: Config, x: Tensor) -> Tensor:
    axis = _axis(config, x)
    count = config["repeats"]
    return x.repeat_interleave(
        count if isinstance(count, int) else torch.as_tensor(count, device=x.device), axis
    )


def _tile(config: Config, x: Tensor) -> Tensor:
    given = config["repeats"]
    counts = [given] if isinstance(given, int) else [int(c) for c in given]
    if len(counts) > x.ndim or (len(counts) == x.ndim and counts[0] != 1):
        raise NetworkError("it mixes the pictures of a batch")
    return x.tile(counts)


def _roll(config: Config, x: Tensor) -> Tensor:
    shift = config["shift"]
    axes = _axes(config, x)
    return x.roll([shift] * len(axes) if isinstance(shift, int) else [int(s) for s in shift], axes)


def item(config: Config, x: Tensor, key: Any) -> Tensor:
    """`x[key]`, with steps backwards too, which torch does not have; the batch stays whole."""
    keys = list(key) if isinstance(key, list | tuple) else [key]
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


def _pad(config: Config, x: Tensor) -> Tensor:
    given = config["pad_width"]
    rows = [[given, given]] * x.ndim if isinstance(given, int) else [list(row) for row in given]
    rows = rows * x.ndim if len(rows) == 1 else rows
    if len(rows) != x.ndim or any(rows[0]):
        raise NetworkError("it adds pictures to the batch")
    mode, value = str(config.get("mode", "constant")), float(config.get("constant_values") or 0)
    pads = [int(v) for row in reversed(rows) for v in row]
    if mode == "constant":
        return F.pad(x, pads, value=value)
    if mode not in ("reflect", "replicate", "edge") or x.ndim != 4 or any(rows[3]):
        raise NetworkError(f"padding by {mode!r} is not supported here")
    kind = "reflect" if mode == "reflect" else "replicate"
    return F.pad(x.movedim(-1, 1), pads[2:6], mode=kind).movedim(1, -1)


def _einsum(config: Config, *operands: Tensor) -> Tensor:
    return torch.einsum(str(config["subscripts"]), *operands)


def _matmul(config: Config, x1: Tensor, x2: Tensor) -> Tensor:
    if config.get("transpose_a"):
        x1 = x1.transpose(-1, -2)
    return x1 @ (x2.transpose(-1, -2) if config.get("transpose_b") else x2)


def _normalize(config: Config, x: Tensor) -> Tensor:
    epsilon = 1e-7 if config.get("epsilon") is None else float(config["epsilon"])
    if config.get("order", 2) != 2:
        raise NetworkError(f"order {config['order']!r} is not supported; 2 is")
    axes = _axes(config, x, -1)
    return x * torch.rsqrt(x.square().sum(axes, keepdim=True).clamp(min=epsilon**2))


def _threshold(config: Config, x: Tensor) -> Tensor:
    return F.threshold(x, float(config["threshold"]), float(config["default_value"]))


def _along_axis(function: Callable[[Tensor, int], Tensor]) -> Function:
    return lambda config, x: function(x, _axis(config, x, -1))


def _bias(config: Config, x: Tensor, bias: Any) -> Tensor:
    if str(config.get("data_format") or "NHWC").startswith("NC"):
        raise NetworkError(f"data_format {config['data_format']!r} is not supported")
    return x + _as_tensor(bias, x)  # type: ignore[no-any-return]


def _like(value: float) -> Function:
    def apply(config: Config, x: Tensor) -> Tensor:
        if config.get("dtype") not in (None, *_FLOATS):
            raise NetworkError(f"dtype {config['dtype']!r} is not supported")
        return torch.full_like(x, value)

    return apply


# each value by itself: one value of the output depends on one place of the input
POINTWISE: dict[str, Function] = {
    **dict.fromkeys(("Absolute", "Abs", "Fabs"), _one(torch.abs)),
    **dict.fromkeys(("Copy", "StopGradient", "ConvertToTensor", "Array"), _one(lambda x: x)),
    **dict.fromkeys(("Divide", "TrueDivide"), _pair(operator.truediv)),
    **dict.fromkeys(("Maximum", "Fmax"), _pair(torch.maximum)),
    **dict.fromkeys(("Minimum", "Fmin"), _pair(torch.minimum)),
    "Add": _pair(operator.add),
    "Arctan": _one(torch.atan),
    "BiasAdd": _bias,
    "Cast": _cast,
    "Clip": _clip,
    "Cos": _one(torch.cos),
    "Equal": _pair(operator.eq),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Exp2": _one(torch.exp2),
    "Expm1": _one(torch.expm1),
    "Greater": _pair(operator.gt),
    "GreaterEqual": _pair(operator.ge),
    "Hypot": _pair(torch.hypot),
    "Less": _pair(operator.lt),
    "LessEqual": _pair(operator.le),
    "Log": _one(torch.log),
    "Log10": _one(torch.log10),
    "Log1p": _one(torch.log1p),
    "Log2": _one(torch.log2),
    "LogicalAnd": _pair(torch.logical_and),
    "LogicalNot": _one(torch.logical_not),
    "LogicalOr": _pair(torch.logical_or),
    "Mod": _pair(torch.remainder),
    "Multiply": _pair(operator.mul),
    "Negative": _one(torch.neg),
    "NotEqual": _pair(operator.ne),
    "OnesLike": _like(1.0),
    "Power": _pair(torch.pow),
    "Reciprocal": _one(torch.reciprocal),
    "Rsqrt": _one(torch.rsqrt),
    "Sign": _one(torch.sign),
    "Sin": _one(torch.sin),
    "Sinh": _one(torch.sinh),
    "Cosh": _one(torch.cosh),
    "Sqrt": _one(torch.sqrt),
    "Square": _one(torch.square),
    "Subtract": _pair(operator.sub),
    "Tan": _one(torch.tan),
    "Threshold": _threshold,
    "Where": _where,
    "ZerosLike": _like(0.0),
}
FAR: dict[str, Function] = {
    **dict.fromkeys(("Max", "Amax"), _reduced(torch.amax)),
    **dict.fromkeys(("Min", "Amin"), _reduced(torch.amin)),
    "BroadcastTo": lambda config, x: x.expand(x.shape[0], *[int(s) for s in config["shape"][1:]]),
    "Concatenate": _concatenate,
    "Einsum": _einsum,
    "ExpandDims": _expand_dims,
    "Flip": lambda config, x: x.flip(_axes(config, x)),
    "GetItem": item,
    "Glu": _along_axis(F.glu),
    "LogSoftmax": _along_axis(F.log_softmax),
    "Logsumexp": _reduced(torch.logsumexp),
    "Matmul": _matmul,
    "Mean": _reduced(torch.mean),
    "Moveaxis": _moveaxis,
    "Normalize": _normalize,
    "Pad": _pad,
    "Prod": _reduced(_product),
    "Repeat": _repeat,
    "Reshape": _reshape,
    "Roll": _roll,
    "Softmax": _along_axis(F.softmax),
    "Split": _split,
    "Squeeze": _squeeze,
    "Stack": _stack,
    "Std": _reduced(partial(torch.std, correction=0)),
    "Sum": _reduced(torch.sum),
    "Swapaxes": _swapaxes,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unstack": _unstack,
    "Var": _reduced(partial(torch.var, correction=0)),
}
