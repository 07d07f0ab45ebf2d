"""A convolution by oneDNN: one call with its bias, a shortcut and a clamp, and the gradient of its input alone.

Weights are laid out for oneDNN beforehand. The gradient is computed where it can be as a convolution with the turned
kernel, which is as fast as the forward one; that of the weights, for which nobody asks, is not computed at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from filterscope.ascent.engine.places import Pair, shifts, sides

LAYOUT = torch.channels_last
FEW = 32  # up to so many input channels x kernel places, an input's gradient is cheaper as product and shifts


class Bounds(NamedTuple):
    """What an activation clamps values to. is_open: whether the gradient passes where a value is at the upper bound."""

    low: float
    high: float
    is_open: bool = False


Pads = tuple[int, int, int, int]  # columns of zeros left and right, rows above and below, as torch takes them
RELU = Bounds(0.0, math.inf)


def has_onednn(x: Tensor) -> bool:
    """Whether oneDNN computes in the tensor's number type here."""
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise") or not x.numel():
        return False
    if x.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return x.dtype == torch.float32


def masked(g: Tensor, values: Tensor, bounds: Bounds, *, in_place: bool = False) -> Tensor:
    """The gradient behind a clamp: 0 where the clamped `values` stand at one of the bounds that are not open."""
    one_sided = bounds.is_open or bounds == RELU
    packet = torch.ops.aten.threshold_backward if one_sided else torch.ops.aten.hardtanh_backward
    numbers: tuple[float, ...] = bounds[:1] if one_sided else bounds[:2]
    if in_place:
        return cast(Tensor, packet.grad_input(g, values, *numbers, grad_input=g))
    return cast(Tensor, packet(g, values, *numbers))


def clamped(x: Tensor, bounds: Bounds | None) -> Tensor:
    """The values within the bounds, by torch."""
    if bounds is None:
        return x
    if bounds.is_open:
        return cast(Tensor, _OpenClamp.apply(x, bounds))  # type: ignore[no-untyped-call]
    return F.relu(x) if bounds == RELU else F.hardtanh(x, *bounds[:2])


class _OpenClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bounds: Bounds) -> Tensor:
        y = F.hardtanh(x, *bounds[:2])
        ctx.bounds = bounds
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return masked(g, y, ctx.bounds), None


class Kernel:
    """The weights of a convolution, with the zeros that its input has around it (`pads`).

    oneDNN takes as many zeros before as behind. Where there are to be more behind (TensorFlow's `same` at stride 2),
    a kernel for each channel is given rows of zeros of its own in front, which costs less than a pass over the maps.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, pads: Pads, stride: Pair, dilation: Pair, groups: int
    ):
        self.bias, self.stride, self.dilation, self.groups = bias, stride, dilation, groups
        left, right, top, bottom = pads
        (rows, above, below), (columns, before, behind) = (
            _evened(top, bottom, dilation[0]),
            _evened(left, right, dilation[1]),
        )
        self.weight = (
            F.pad(weight, [before, behind, above, below]) if any((above, below, before, behind)) else weight
        )
        self.padding: Pair = (rows, columns)
        self.kernel = sides(self.weight)
        self.packed: dict[tuple[str, torch.Size], Tensor] = {}

    @staticmethod
    def can(weight: Tensor, pads: Pads, dilation: Pair, groups: int) -> bool:
        """Whether the zeros can be part of the convolution."""
        left, right, top, bottom = pads
        if min(pads) < 0:
            return False
        if left == right and top == bottom:
            return True
        each = groups == len(weight) and weight.shape[1] == 1
        return each and (right - left) % dilation[1] == 0 and (bottom - top) % dilation[0] == 0

    def run(self, x: Tensor, shortcut: Tensor | None, bounds: Bounds | None) -> Tensor:
        """The convolution of `x`, plus the shortcut, clamped to the bounds."""
        how = (list(self.padding), list(self.stride), list(self.dilation), self.groups)
        weight = self._packed("forward", x.shape)
        if shortcut is None:
            attr, numbers = _attr(bounds)
            return _pointwise(x, weight, self.bias, *how, attr, numbers, "")
        y = torch.ops.mkldnn._convolution_pointwise.binary(
            x, shortcut.contiguous(memory_format=LAYOUT), weight, self.bias, *how, "add", 1.0,
            "relu" if bounds == RELU else None, [], None,
        )  # fmt: skip
        return cast(Tensor, y if bounds in (None, RELU) else F.hardtanh_(y, *bounds[:2]))

    def gradient(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of the input of `shape` from the output's; a tensor of its own, which may be changed."""
        places = math.prod(self.kernel)
        if self.groups == 1 and shape[1] * places <= FEW and places * math.prod(self.stride) > 1:
            return self._gradient_of_few(g, shape)
        turned = self._turned_padding()
        if self.stride == (1, 1) and min(turned) >= 0:
            how = (turned, [1, 1], list(self.dilation), self.groups)
            return _pointwise(g, self._packed("backward", g.shape), None, *how, "none", [], "")
        # oneDNN has no fast way for a strided grouped gradient in bfloat16: eight times slower than in float32
        dtype = torch.float32 if self.groups > 1 else g.dtype
        more = [
            side - ((n - 1) * s - 2 * p + d * (k - 1) + 1)
            for side, n, s, p, d, k in zip(
                shape[2:], sides(g), self.stride, self.padding, self.dilation, self.kernel, strict=True
            )
        ]
        # the same number for number as convolution_backward, which first fills a map as large as the input
        gradient = F.conv_transpose2d(
            g.to(dtype),
            self.weight.to(dtype),
            None,
            self.stride,
            self.padding,
            more,
            self.groups,
            self.dilation,
        )
        return gradient.to(g.dtype)

    def _gradient_of_few(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The same for a picture's few channels: one product, then a shifted sum for each place of the kernel."""
        batch, channels, height, width = shape
        rows = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (kh * kw * C, C')
        maps = torch.mm(rows, g.permute(0, 2, 3, 1).flatten(0, 2).t())
        maps = maps.view(-1, channels, batch, *g.shape[2:])
        total = torch.zeros(channels, batch, height, width, dtype=torch.float32, device=g.device)
        for place, (there, here) in enumerate(shifts(self, (height, width), sides(g))):
            total[:, :, there[0], there[1]] += maps[place, :, :, here[0], here[1]]
        return total.to(g.dtype).transpose(0, 1)

    def _turned_padding(self) -> list[int]:
        return [d * (k - 1) - p for d, k, p in zip(self.dilation, self.kernel, self.padding, strict=True)]

    def _packed(self, way: str, shape: torch.Size) -> Tensor:
        """The weights laid out as oneDNN likes them for an input of `shape`; kept for the two last shapes."""
        key = (way, shape)
        if key not in self.packed:
            while len(self.packed) >= 4:
                self.packed.pop(next(iter(self.packed)))
            weight, padding, stride = self.weight, list(self.padding), list(self.stride)
            if way == "backward":
                weight, padding, stride = self._turned(), self._turned_padding(), [1, 1]
            self.packed[key] = torch.ops.mkldnn._reorder_convolution_weight(
                weight.contiguous(memory_format=LAYOUT), padding, stride, list(self.dilation), self.groups,
                list(shape),
            )  # fmt: skip
        return self.packed[key]

    def _turned(self) -> Tensor:
        """The kernel of the gradient: inputs and outputs exchanged in each group, upside down and mirrored."""
        out, per, *kernel = self.weight.shape
        grouped = self.weight.view(self.groups, out // self.groups, per, *kernel).transpose(1, 2)
        return grouped.reshape(self.groups * per, out // self.groups, *kernel).flip(2, 3)


def _evened(before: int, behind: int, dilation: int) -> tuple[int, int, int]:
    """Zeros on both sides alike, and rows of zeros to put before and behind the kernel, which come to the same."""
    most = max(before, behind)
    return most, (most - before) // dilation, (most - behind) // dilation


def _attr(bounds: Bounds | None) -> tuple[str, Sequence[float]]:
    if bounds is None:
        return "none", []
    return ("relu", []) if bounds == RELU else ("hardtanh", list(bounds[:2]))


def _pointwise(*args: Any) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(*args))
