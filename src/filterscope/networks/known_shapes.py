"""The shapes of the common layers' outputs by rule, where a network runs on shapes alone.

torch works out many of them in Python, a millisecond for each norm; a network of a thousand layers is run several times
before it is open.
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


def _activation(x: Tensor, *settings: Any, **named: Any) -> Tensor | None:
    """The same shape; the same tensor where it is changed in place. Settings that are tensors have no rule."""
    if not x.is_floating_point() or any(isinstance(s, Tensor) for s in (*settings, *named.values())):
        return None
    if named.get("inplace") or any(s is True for s in settings):
        return x
    return torch.empty_like(x)


def _batch_norm(
    x: Tensor, mean: Tensor | None, variance: Tensor | None, weight: Any = None, bias: Any = None,
    training: bool = False, *_: Any, **__: Any,
) -> Tensor | None:  # fmt: skip
    fits = x.ndim > 1 and mean is not None and mean.shape == (x.shape[1],) and mean.dtype == x.dtype
    return torch.empty_like(x) if fits and not training else None


def _layer_norm(x: Tensor, shape: Any, *_: Any, **__: Any) -> Tensor | None:
    fits = 0 < len(shape) <= x.ndim and tuple(x.shape[-len(shape) :]) == tuple(shape)
    return torch.empty(x.shape, dtype=x.dtype, device="meta") if fits and x.is_floating_point() else None


def _group_norm(x: Tensor, groups: int, weight: Tensor | None = None, *_: Any, **__: Any) -> Tensor | None:
    fits = x.ndim > 1 and x.shape[1] % groups == 0 and (weight is None or weight.shape == (x.shape[1],))
    enough = fits and x.shape[0] * math.prod(x.shape[2:]) * x.shape[1] // groups > 1
    return torch.empty_like(x) if enough and x.is_floating_point() else None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    fits = weight.ndim == 2 and x.ndim > 1 and x.shape[-1] == weight.shape[1] and x.dtype == weight.dtype
    return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta") if fits else None


def _attention(q: Tensor, k: Tensor, v: Tensor, *rest: Any, **named: Any) -> Tensor | None:
    if rest or any(value is not None for value in named.values()):
        return None
    fits = q.ndim == k.ndim == v.ndim and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    fits = (
        fits and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2] and q.dtype == k.dtype == v.dtype
    )
    return torch.empty((*q.shape[:-1], v.shape[-1]), dtype=q.dtype, device="meta") if fits else None


_ACTIVATIONS = (
    F.relu, F.relu6, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.hardtanh, F.leaky_relu, F.elu, F.selu,
    F.celu, F.softplus, F.logsigmoid, torch.relu, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.sigmoid, Tensor.tanh,
    Tensor.clamp, torch.clamp,
)  # fmt: skip
RULES: dict[Any, Rule] = {
    **dict.fromkeys(_ACTIVATIONS, _activation),
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.linear: _linear,
    F.scaled_dot_product_attention: _attention,
}
