"""Of a network's last layer each picture's own unit and no other."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from filterscope.ascent.engine.places import Pair, output_size, shifts, sides
from filterscope.networks.known_shapes import pair


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
        self.kernel, self.padding = pair(conv.kernel_size), padding
        self.stride, self.dilation = pair(conv.stride), pair(conv.dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, _OwnConvolve.apply(x, self.weight, self))  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.float().view(-1, 1, 1, 1)


class _OwnConvolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: OwnConvolution) -> Tensor:
        batch, channels, height, width = x.shape
        columns = x.permute(0, 2, 3, 1).reshape(batch, -1, channels).transpose(1, 2)
        maps = torch.bmm(weight, columns).view(batch, -1, height, width)
        y = torch.zeros(batch, *output_size(layer, sides(x)), dtype=torch.float32, device=x.device)
        for place, (there, here) in enumerate(shifts(layer, (height, width), output_size(layer, sides(x)))):
            y[:, here[0], here[1]] += maps[:, place, there[0], there[1]]
        ctx.layer, ctx.shape, ctx.weight = layer, x.shape, weight
        return y[:, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        batch, _, height, width = ctx.shape
        maps = ctx.weight.new_zeros(batch, ctx.weight.shape[1], height, width)
        for place, (there, here) in enumerate(shifts(ctx.layer, (height, width), sides(g))):
            maps[:, place, there[0], there[1]] = g[:, 0, here[0], here[1]]
        rows = torch.bmm(maps.flatten(2).transpose(1, 2), ctx.weight)
        return rows.view(batch, height, width, -1).permute(0, 3, 1, 2), None, None


class OwnTransposed(nn.Module):
    """Of a ConvTranspose2d in one group each picture's own channel: (B, C, H, W) to (B, 1, H', W') in float32, by one
    product and a shifted sum for each place of the kernel."""

    def __init__(self, conv: nn.ConvTranspose2d, units: Tensor):
        super().__init__()
        weight = conv.weight[:, units].permute(1, 2, 3, 0).flatten(1, 2)  # (B, kh * kw, C)
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.bias = conv.bias if conv.bias is None else nn.Parameter(conv.bias[units], requires_grad=False)
        self.kernel, self.padding = pair(conv.kernel_size), pair(conv.padding)
        self.stride, self.dilation = pair(conv.stride), pair(conv.dilation)
        self.more = pair(conv.output_padding)

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.bmm(self.weight, x.flatten(2)).float()  # (B, kh * kw, H * W)
        height, width = (
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(sides(x), self.stride, self.dilation, self.kernel, strict=True)
        )
        y = F.fold(maps, (height, width), self.kernel, self.dilation, stride=self.stride)
        (top, left), (rows, columns) = self.padding, self.more
        y = F.pad(y, (-left, columns - left, -top, rows - top))
        return y if self.bias is None else y + self.bias.float().view(-1, 1, 1, 1)


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
