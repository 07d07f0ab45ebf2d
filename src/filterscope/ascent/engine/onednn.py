"""Layers that pass over memory as little as they can, forward and backward to the picture.

Between two convolutions torch goes over each map many times: the bias, the ReLU, its mask, the gradient of the
weights that nobody asks for. Here a convolution, its bias, a shortcut added to it and its ReLU are one call of
oneDNN (`mkldnn::_convolution_pointwise`), with weights laid out for it beforehand; its gradient is that of the
input alone, computed where it can be as a convolution with the turned kernel, which is as fast as the forward one.
Every layer gives what torch gives, within rounding, and falls back on torch where oneDNN is not to be had.
"""

from __future__ import annotations

import logging
import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

log = logging.getLogger("filterscope")
LAYOUT = torch.channels_last
FEW = 32  # up to so many input channels x kernel places, an input's gradient is cheaper as product and shifts
Pair = tuple[int, int]


def has_onednn(x: Tensor) -> bool:
    """Whether oneDNN computes in the tensor's number type here."""
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise") or not x.numel():
        return False
    if x.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return x.dtype == torch.float32


class Convolution(nn.Module):
    """A Conv2d, optionally plus a shortcut and behind a ReLU: (B, C, H, W) to (B, C', H', W'), channels last.

    padding: rows and columns of zeros on each side. relu: whether a ReLU follows. masked: whether the gradient
    that arrives is already 0 where the ReLU's output is.
    """

    def __init__(self, conv: nn.Conv2d, *, padding: Pair, relu: bool = False, masked: bool = False):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.dilation = _pair(conv.stride), _pair(conv.dilation)
        self.kernel, self.padding, self.groups = _pair(conv.kernel_size), padding, conv.groups
        self.relu, self.masked, self.by_onednn = relu, masked, True
        self.packed: dict[tuple[str, torch.Size], Tensor] = {}

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if self.by_onednn and has_onednn(x) and (shortcut is None or self._fits(shortcut, x)):
            try:
                return cast(Tensor, _Convolve.apply(x, shortcut, self))  # type: ignore[no-untyped-call]
            except RuntimeError as error:  # a shape that oneDNN has no way for on this processor
                log.info("a convolution runs without oneDNN: %s", error)
                self.by_onednn = False
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        y = y if shortcut is None else y + shortcut
        return F.relu(y) if self.relu else y

    def _fits(self, shortcut: Tensor | float, x: Tensor) -> bool:
        """Whether a shortcut needs no broadcasting or conversion before it is added."""
        if not isinstance(shortcut, Tensor):  # a number, which may be a size that is known only now
            return False
        shape = (len(x), len(self.weight), *output_size(self, x))
        return shortcut.dtype == x.dtype and shortcut.shape == shape

    def run(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        """The layer's output by oneDNN."""
        attr = "relu" if self.relu else "none"
        how = (list(self.padding), list(self.stride), list(self.dilation), self.groups)
        weight = self._packed("forward", x.shape)
        if shortcut is None:
            return _pointwise(x, weight, self.bias, *how, attr, [], "")
        return cast(
            Tensor,
            torch.ops.mkldnn._convolution_pointwise.binary(
                x, shortcut.contiguous(memory_format=LAYOUT), weight, self.bias, *how, "add", 1.0,
                attr if self.relu else None, [], None,
            ),
        )  # fmt: skip

    def gradient(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of the input of `shape`, from the output's (behind the mask of the ReLU)."""
        if self.groups == 1 and shape[1] * math.prod(self.kernel) <= FEW:
            return self._gradient_of_few(g, shape)
        turned = [d * (k - 1) - p for d, k, p in zip(self.dilation, self.kernel, self.padding, strict=True)]
        if self.stride == (1, 1) and min(turned) >= 0:
            how = (turned, [1, 1], list(self.dilation), self.groups)
            return _pointwise(g, self._packed("backward", g.shape), None, *how, "none", [], "")
        # oneDNN has no fast way for a strided grouped gradient in bfloat16: eight times slower than in float32
        dtype = torch.float32 if self.groups > 1 else g.dtype
        like = torch.empty(shape, dtype=dtype, device=g.device, memory_format=LAYOUT)
        gradients = torch.ops.aten.convolution_backward(
            g.to(dtype), like, self.weight.to(dtype), None, self.stride, self.padding, self.dilation, False, [0, 0],
            self.groups, (True, False, False),
        )  # fmt: skip
        return cast(Tensor, gradients[0]).to(g.dtype)

    def _gradient_of_few(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The same for a picture's few channels: one product, then a shifted sum for each place of the kernel."""
        batch, channels, height, width = shape
        rows = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (kh * kw * C, C')
        maps = torch.mm(rows, g.permute(0, 2, 3, 1).flatten(0, 2).t())
        maps = maps.view(-1, channels, batch, *g.shape[2:])
        total = torch.zeros(channels, batch, height, width, dtype=torch.float32, device=g.device)
        for place, (there, here) in enumerate(shifts(self, (height, width), _sides(g))):
            total[:, :, there[0], there[1]] += maps[place, :, :, here[0], here[1]]
        return total.to(g.dtype).transpose(0, 1)

    def _packed(self, way: str, shape: torch.Size) -> Tensor:
        """The weights laid out as oneDNN likes them for an input of `shape`; kept for the two last shapes."""
        key = (way, shape)
        if key not in self.packed:
            while len(self.packed) >= 4:
                self.packed.pop(next(iter(self.packed)))
            weight, padding, stride = self.weight, list(self.padding), list(self.stride)
            if way == "backward":
                weight, stride = self._turned(), [1, 1]
                padding = [
                    d * (k - 1) - p for d, k, p in zip(self.dilation, self.kernel, padding, strict=True)
                ]
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


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shortcut: Tensor | None, layer: Convolution) -> Tensor:
        y = layer.run(x.contiguous(memory_format=LAYOUT), shortcut)
        ctx.layer, ctx.shape = layer, x.shape
        ctx.save_for_backward(y if layer.relu and not layer.masked else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (y,) = ctx.saved_tensors
        g = g.contiguous(memory_format=LAYOUT)
        if y is not None:
            g = torch.ops.aten.threshold_backward(g, y, 0)
        wants_input, wants_shortcut, _ = ctx.needs_input_grad
        gradient = ctx.layer.gradient(g, ctx.shape) if wants_input else None
        return gradient, g if wants_shortcut else None, None


class MaxPool(nn.Module):
    """A MaxPool2d behind a ReLU whose mask it takes over: where a largest value is 0, no gradient goes back."""

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        self.kernel, self.padding, self.dilation = map(_pair, (pool.kernel_size, pool.padding, pool.dilation))
        self.stride = _pair(pool.stride or pool.kernel_size)
        self.ceil_mode = pool.ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, _Pool.apply(x, self))  # type: ignore[no-untyped-call]


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: MaxPool) -> Tensor:
        ctx.how = (layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
        y, places = torch.ops.aten.max_pool2d_with_indices(x, *ctx.how)
        ctx.shape, ctx.dtype = x.shape, x.dtype
        ctx.save_for_backward(y, places)
        return cast(Tensor, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        y, places = ctx.saved_tensors
        g = torch.ops.aten.threshold_backward(g.contiguous(memory_format=LAYOUT), y, 0)
        like = torch.empty(ctx.shape, dtype=ctx.dtype, device=g.device, memory_format=LAYOUT)
        return torch.ops.aten.max_pool2d_with_indices_backward(g, like, *ctx.how, places), None


class OwnConvolution(nn.Module):
    """Of a Conv2d each picture's own channel and no other: (B, C, H, W) to (B, 1, H', W') in float32.

    For each picture one product over the channels gives a map for every place of the kernel; these are summed,
    shifted. So the work is that of one channel, where a convolution's would be that of sixteen.
    """

    def __init__(self, conv: nn.Conv2d, units: Tensor, *, padding: Pair):
        super().__init__()
        weight = conv.weight[units].flatten(2).transpose(1, 2)  # (B, kh * kw, C)
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.bias = conv.bias if conv.bias is None else nn.Parameter(conv.bias[units], requires_grad=False)
        self.kernel, self.padding = _pair(conv.kernel_size), padding
        self.stride, self.dilation = _pair(conv.stride), _pair(conv.dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, _OwnConvolve.apply(x, self.weight, self))  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.float().view(-1, 1, 1, 1)


class _OwnConvolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: OwnConvolution) -> Tensor:
        batch, channels, height, width = x.shape
        columns = x.permute(0, 2, 3, 1).reshape(batch, -1, channels).transpose(1, 2)
        maps = torch.bmm(weight, columns).view(batch, -1, height, width)
        y = torch.zeros(batch, *output_size(layer, x), dtype=torch.float32, device=x.device)
        for place, (there, here) in enumerate(shifts(layer, (height, width), output_size(layer, x))):
            y[:, here[0], here[1]] += maps[:, place, there[0], there[1]]
        ctx.layer, ctx.shape, ctx.weight = layer, x.shape, weight
        return y[:, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        batch, _, height, width = ctx.shape
        maps = ctx.weight.new_zeros(batch, ctx.weight.shape[1], height, width)
        for place, (there, here) in enumerate(shifts(ctx.layer, (height, width), _sides(g))):
            maps[:, place, there[0], there[1]] = g[:, 0, here[0], here[1]]
        rows = torch.bmm(maps.flatten(2).transpose(1, 2), ctx.weight)
        return rows.view(batch, height, width, -1).permute(0, 3, 1, 2), None, None


class OwnLinear(nn.Module):
    """Of a Linear layer each picture's own unit: (B, features) to (B, 1) in float32."""

    def __init__(self, linear: nn.Linear, units: Tensor):
        super().__init__()
        self.weight = nn.Parameter(linear.weight[units], requires_grad=False)
        self.bias = (
            linear.bias if linear.bias is None else nn.Parameter(linear.bias[units], requires_grad=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.stack([a.float() @ b.float() for a, b in zip(x, self.weight, strict=True)])
        return (y if self.bias is None else y + self.bias.float())[:, None]


class Own(nn.Module):
    """Each picture's own channel of a whole layer: (B, C, ...) to (B, 1, ...); numbers stay."""

    def __init__(self, units: Tensor):
        super().__init__()
        self.register_buffer("units", units, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or x.ndim < 2:  # a number added to every channel
            return x
        return x[torch.arange(len(x), device=x.device), self.get_buffer("units")][:, None]


def output_size(layer: Any, x: Tensor) -> Pair:
    """Height and width of a convolution's output."""
    height, width = (
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, p, d, s in zip(
            x.shape[2:], layer.kernel, layer.padding, layer.dilation, layer.stride, strict=True
        )
    )
    return height, width


def shifts(layer: Any, inputs: Pair, outputs: Pair) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each place of a kernel, row by row, which rows and columns of the input meet which of the output."""
    axes = [
        [_shift(at * d - p, s, n, m) for at in range(k)]
        for k, d, p, s, n, m in zip(
            layer.kernel, layer.dilation, layer.padding, layer.stride, inputs, outputs, strict=True
        )
    ]
    return [((r[0], c[0]), (r[1], c[1])) for r in axes[0] for c in axes[1]]


def _shift(offset: int, stride: int, inputs: int, outputs: int) -> tuple[slice, slice]:
    """Where input i * stride + offset exists: the inputs, and the outputs i."""
    first = max(0, -(offset // stride))
    last = min(outputs - 1, (inputs - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    begin = first * stride + offset
    return slice(begin, last * stride + offset + 1, stride), slice(first, last + 1)


def _sides(x: Tensor) -> Pair:
    return x.shape[2], x.shape[3]


def _pointwise(*args: Any) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(*args))


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
