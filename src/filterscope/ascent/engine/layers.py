"""Layers that pass over memory as little as they can, forward and backward to the picture.

Between two convolutions torch goes over each map many times: zeros around it, the bias, the ReLU, its mask, the
gradient of the weights that nobody asks for. Here a convolution, the zeros around its input, its bias, a shortcut
added to it and the activation that clamps it are one call of oneDNN (`onednn.Kernel`), and the mask of an activation
is taken, in place, by the one layer that uses its output. Every layer gives what torch gives, within rounding, and
falls back on torch where oneDNN is not to be had.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from filterscope.ascent.engine.onednn import LAYOUT, Bounds, Kernel, Pads, clamped, has_onednn, masked
from filterscope.ascent.engine.patches import Patches
from filterscope.ascent.engine.places import Pair, output_size, sides
from filterscope.ascent.engine.winograd import Winograd
from filterscope.networks.known_shapes import pair

log = logging.getLogger("filterscope")


class Convolution(nn.Module):
    """A Conv2d, optionally plus a shortcut and clamped: (B, C, H, W) to (B, C', H', W'), channels last.

    padding: rows and columns of zeros on each side. bounds: what its output is clamped to. masked: whether the
    gradient that arrives is already 0 where the clamp is at work. behind: what its input was clamped to, where the
    gradient that it hands back shall have the mask of that clamp.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        *,
        padding: Pair,
        bounds: Bounds | None = None,
        masked: bool = False,
        behind: Bounds | None = None,
    ):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.dilation = pair(conv.stride), pair(conv.dilation)
        self.kernel, self.padding, self.groups = pair(conv.kernel_size), padding, conv.groups
        self.bounds, self.masked, self.behind, self.by_onednn = bounds, masked, behind, True
        self.kernels: dict[Pads, Kernel | Patches] = {}

    def forward(self, x: Tensor, shortcut: Tensor | None = None, pads: Sequence[int] | None = None) -> Tensor:
        """pads: zeros around the input besides the layer's own, as `F.pad` takes them (below 0: cut off)."""
        around = self._around(pads)
        if not Kernel.can(self.weight, around, self.dilation, self.groups):
            x, around = F.pad(x, list(pads or ())), self._around(None)
        if self.by_onednn and has_onednn(x) and (shortcut is None or self._fits(shortcut, x, around)):
            try:
                return cast(Tensor, _Convolve.apply(x, shortcut, self, self._with(around)))  # type: ignore[no-untyped-call]
            except RuntimeError as error:  # a shape that oneDNN has no way for on this processor
                log.info("a convolution runs without oneDNN: %s", error)
                self.by_onednn = False
        return self._by_torch(x, shortcut, around)

    def _by_torch(self, x: Tensor, shortcut: Tensor | None, around: Pads) -> Tensor:
        if self.behind is not None and x.device.type == "cpu":  # the layer before may rely on it
            x = cast(Tensor, _Mask.apply(x, self.behind))  # type: ignore[no-untyped-call]
        left, right, top, bottom = around
        padding = (top, left)
        if (left, top) != (right, bottom):
            x, padding = F.pad(x, around), (0, 0)
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return clamped(y if shortcut is None else y + shortcut, self.bounds)

    def _around(self, pads: Sequence[int] | None) -> Pads:
        left, right, top, bottom = pads or (0, 0, 0, 0)
        rows, columns = self.padding
        return int(left) + columns, int(right) + columns, int(top) + rows, int(bottom) + rows

    def _with(self, around: Pads) -> Kernel | Patches:
        if around not in self.kernels:
            how = (self.stride, self.dilation, self.groups)
            if Patches.can(self.weight, around, *how):
                self.kernels[around] = Patches(self.weight, self.bias)
            elif Winograd.suits(self.weight, around, *how):
                self.kernels[around] = Winograd(self.weight, self.bias, around)
            else:
                self.kernels[around] = Kernel(self.weight, self.bias, around, *how)
        return self.kernels[around]

    def _fits(self, shortcut: Tensor | float, x: Tensor, around: Pads) -> bool:
        """Whether a shortcut needs no broadcasting or conversion before it is added."""
        if not isinstance(shortcut, Tensor):  # a number, which may be a size that is known only now
            return False
        shape = (len(x), len(self.weight), *output_size(self._with(around), sides(x)))
        return shortcut.dtype == x.dtype and shortcut.shape == shape


class OpenClamp(nn.Module):
    """A clamp that passes the gradient where a value is at its upper bound."""

    def __init__(self, bounds: Bounds):
        super().__init__()
        self.bounds = bounds._replace(is_open=True)

    def forward(self, x: Tensor) -> Tensor:
        return clamped(x, self.bounds)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, layer: Convolution, kernel: Kernel | Patches
    ) -> Tensor:
        x = x.contiguous(memory_format=LAYOUT)
        y = kernel.run(x, shortcut, layer.bounds)
        ctx.layer, ctx.kernel, ctx.shape = layer, kernel, x.shape
        own = layer.bounds is not None and not layer.masked
        ctx.save_for_backward(y if own else None, None if layer.behind is None else x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        y, x = ctx.saved_tensors
        g = g.contiguous(memory_format=LAYOUT)
        if y is not None:
            g = masked(g, y, ctx.layer.bounds)
        wants_input, wants_shortcut, *_ = ctx.needs_input_grad
        gradient = ctx.kernel.gradient(g, ctx.shape) if wants_input else None
        if gradient is not None and x is not None:
            gradient = masked(gradient, x, ctx.layer.behind, in_place=True)
        return gradient, g if wants_shortcut else None, None, None


class _Mask(torch.autograd.Function):
    """Values clamped before, as they are; their gradient behind the clamp's mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bounds: Bounds) -> Tensor:
        ctx.bounds = bounds
        ctx.save_for_backward(x)
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return masked(g, x, ctx.bounds), None


class MaxPool(nn.Module):
    """A MaxPool2d of values clamped to `bounds`, whose mask it takes over: where a largest value is at a bound, no
    gradient goes back."""

    def __init__(self, pool: nn.MaxPool2d, bounds: Bounds):
        super().__init__()
        self.kernel, self.padding, self.dilation = map(pair, (pool.kernel_size, pool.padding, pool.dilation))
        self.stride = pair(pool.stride or pool.kernel_size)
        self.ceil_mode, self.bounds = pool.ceil_mode, bounds

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, _Pool.apply(x, self))  # type: ignore[no-untyped-call]


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: MaxPool) -> Tensor:
        ctx.how = (layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
        y, places = torch.ops.aten.max_pool2d_with_indices(x, *ctx.how)
        ctx.shape, ctx.dtype, ctx.bounds = x.shape, x.dtype, layer.bounds
        ctx.save_for_backward(y, places)
        return cast(Tensor, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        y, places = ctx.saved_tensors
        g = masked(g.contiguous(memory_format=LAYOUT), y, ctx.bounds)
        like = torch.empty(ctx.shape, dtype=ctx.dtype, device=g.device, memory_format=LAYOUT)
        return torch.ops.aten.max_pool2d_with_indices_backward(g, like, *ctx.how, places), None
