"""The shapes of the common layers' outputs by rule, where a network runs on shapes alone.

torch works out many of them in Python, a millisecond for each norm, and imports its compiler for that first; a network
of a thousand layers is run several times before it is open.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Rule = Callable[..., Tensor | None]


class KnownShapes(TorchFunctionMode):
    """Inside, of tensors on the meta device, layers that have a rule give what it says; all else is as ever."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        rule = RULES.get(func)
        if rule is not None and args and isinstance(args[0], Tensor) and args[0].is_meta:
            found = rule(*args, **(kwargs or {}))
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))


def _like(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device="meta") if x.is_contiguous() else torch.empty_like(x)


def _activation(x: Tensor, *settings: Any, **named: Any) -> Tensor | None:
    """The same shape; the same tensor where it is changed in place. Settings that are tensors have no rule."""
    if not x.is_floating_point() or any(isinstance(s, Tensor) for s in (*settings, *named.values())):
        return None
    if named.get("inplace") or any(s is True for s in settings):
        return x
    return _like(x)


def _batch_norm(
    x: Tensor, mean: Tensor | None, variance: Tensor | None, weight: Any = None, bias: Any = None,
    training: bool = False, *_: Any, **__: Any,
) -> Tensor | None:  # fmt: skip
    fits = x.ndim > 1 and mean is not None and mean.shape == (x.shape[1],) and mean.dtype == x.dtype
    return _like(x) if fits and not training else None


def _layer_norm(x: Tensor, shape: Any, *_: Any, **__: Any) -> Tensor | None:
    fits = 0 < len(shape) <= x.ndim and tuple(x.shape[-len(shape) :]) == tuple(shape)
    return torch.empty(x.shape, dtype=x.dtype, device="meta") if fits and x.is_floating_point() else None


def _group_norm(x: Tensor, groups: int, weight: Tensor | None = None, *_: Any, **__: Any) -> Tensor | None:
    fits = x.ndim > 1 and x.shape[1] % groups == 0 and (weight is None or weight.shape == (x.shape[1],))
    enough = fits and x.shape[0] * math.prod(x.shape[2:]) * x.shape[1] // groups > 1
    return _like(x) if enough and x.is_floating_point() else None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    fits = weight.ndim == 2 and x.ndim > 1 and x.shape[-1] == weight.shape[1] and x.dtype == weight.dtype
    return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta") if fits else None


def _attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    *rest: Any, enable_gqa: bool = False, **named: Any,
) -> Tensor | None:  # fmt: skip
    if rest or enable_gqa or (is_causal and attn_mask is not None) or {q.dtype} != {k.dtype, v.dtype}:
        return None
    fits = q.ndim == k.ndim == v.ndim > 2 and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    fits = fits and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]
    if fits and isinstance(attn_mask, Tensor):
        whole = (*q.shape[:-1], k.shape[-2])
        sides = zip(reversed(attn_mask.shape), reversed(whole), strict=False)
        fits = attn_mask.is_meta and attn_mask.ndim <= len(whole) and all(a in (1, b) for a, b in sides)
        fits = fits and attn_mask.dtype in (q.dtype, torch.bool)
    return torch.empty((*q.shape[:-1], v.shape[-1]), dtype=q.dtype, device="meta") if fits else None


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    fits = x.ndim == weight.ndim == 4 and x.dtype == weight.dtype and x.is_contiguous()
    if not fits or x.shape[1] != weight.shape[1] * groups or isinstance(padding, str):
        return None
    whole = zip(x.shape[2:], weight.shape[2:], pair(stride), pair(padding), pair(dilation), strict=True)
    sides = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in whole]
    if min(sides) < 1 or weight.shape[0] % groups:
        return None
    return torch.empty((x.shape[0], weight.shape[0], *sides), dtype=x.dtype, device="meta")


def pair(value: Any) -> tuple[int, int]:
    """A kernel's, a stride's, a padding's number of rows and columns: one number for both, or one for each.

    >>> pair(3), pair((3,)), pair((1, 2))
    ((3, 3), (3, 3), (1, 2))
    """
    if isinstance(value, int):
        return value, value
    rows, columns = tuple(value) * (2 // len(value))
    return int(rows), int(columns)


def _adaptive_pool(x: Tensor, size: Any, *rest: Any, **named: Any) -> Tensor | None:
    sizes = [size, size] if isinstance(size, int) else list(size)
    if x.ndim != 4 or len(sizes) != 2 or rest or named or not x.is_floating_point():
        return None
    sides = [own if asked is None else asked for own, asked in zip(x.shape[2:], sizes, strict=True)]
    return torch.empty((*x.shape[:2], *sides), dtype=x.dtype, device="meta") if min(x.shape[2:]) else None


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, *rest: Any, **named: Any) -> Tensor | None:
    axes = [dim] if isinstance(dim, int) else list(dim or ())
    if not axes or rest or named or not x.is_floating_point():
        return None
    if any(not isinstance(a, int) or not -x.ndim <= a < x.ndim for a in axes):
        return None
    gone = {a % x.ndim for a in axes}
    shape = [1 if i in gone else n for i, n in enumerate(x.shape) if keepdim or i not in gone]
    return torch.empty(shape, dtype=x.dtype, device="meta")


def _softmax(x: Tensor, dim: Any = None, *rest: Any, dtype: Any = None, **named: Any) -> Tensor | None:
    fits = isinstance(dim, int) and -x.ndim <= dim < x.ndim and dtype is None and x.is_floating_point()
    plain = all(isinstance(r, int) for r in (*rest, *named.values()))  # a `_stacklevel`
    return _like(x) if fits and plain else None


def _arithmetic(x: Tensor, other: Any, *rest: Any, **named: Any) -> Tensor | None:
    if rest or named or not x.is_floating_point():
        return None
    if isinstance(other, int | float) and not isinstance(other, bool):
        return _like(x)
    if not isinstance(other, Tensor) or not other.is_meta or other.dtype != x.dtype:
        return None
    if other.shape == x.shape:
        return _like(x) if other.stride() == x.stride() else None
    behind = list(zip(reversed(x.shape), reversed(other.shape), strict=False))
    if any(a != b and 1 not in (a, b) for a, b in behind) or not (
        x.is_contiguous() and other.is_contiguous()
    ):
        return None
    longer = x.shape if x.ndim >= other.ndim else other.shape
    shape = [*longer[: len(longer) - len(behind)], *(b if a == 1 else a for a, b in reversed(behind))]
    return torch.empty(shape, dtype=x.dtype, device="meta")


_ACTIVATIONS = (
    F.relu, F.relu6, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.hardtanh, F.leaky_relu, F.elu, F.selu,
    F.celu, F.softplus, F.logsigmoid, torch.relu, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.sigmoid, Tensor.tanh,
    Tensor.clamp, torch.clamp,
)  # fmt: skip
_ARITHMETIC = (Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, torch.add, torch.sub, torch.mul, torch.div)
RULES: dict[Any, Rule] = {
    **dict.fromkeys(_ACTIVATIONS, _activation),
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.linear: _linear,
    F.conv2d: _convolution,
    **dict.fromkeys((F.softmax, F.log_softmax, torch.softmax, Tensor.softmax), _softmax),
    F.adaptive_avg_pool2d: _adaptive_pool,
    **dict.fromkeys((torch.mean, Tensor.mean), _mean),
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    F.scaled_dot_product_attention: _attention,
}
