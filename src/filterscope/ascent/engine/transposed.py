"""Transposed convolutions, forward and backward to the picture: with their bias and clamp as one call of oneDNN."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from filterscope.ascent.engine.onednn import LAYOUT, RELU, Bounds, clamped, has_onednn, masked
from filterscope.ascent.engine.places import sides
from filterscope.networks.known_shapes import pair

log = logging.getLogger("filterscope")


class TransposedConvolution(nn.Module):
    """A ConvTranspose2d, optionally clamped to bounds: (B, C, H, W) to (B, C', H', W'), channels last."""

    def __init__(self, conv: nn.ConvTranspose2d, *, bounds: Bounds | None = None):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias  # (C, C' / groups, kh, kw)
        self.stride, self.dilation = pair(conv.stride), pair(conv.dilation)
        self.padding, self.output_padding = pair(conv.padding), pair(conv.output_padding)
        self.groups, self.bounds, self.by_onednn = conv.groups, bounds, True

    def forward(self, x: Tensor) -> Tensor:
        if self.by_onednn and has_onednn(x):
            try:
                return cast(Tensor, _Spread.apply(x, self))  # type: ignore[no-untyped-call]
            except RuntimeError as error:  # a shape that oneDNN has no way for on this processor
                log.info("a transposed convolution runs without oneDNN: %s", error)
                self.by_onednn = False
        y = F.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )
        return clamped(y, self.bounds)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: TransposedConvolution) -> Tensor:
        y: Tensor = F.conv_transpose2d(
            x.contiguous(memory_format=LAYOUT), layer.weight, layer.bias, layer.stride, layer.padding,
            layer.output_padding, layer.groups, layer.dilation,
        )  # fmt: skip
        if layer.bounds is not None:
            y = F.relu_(y) if layer.bounds == RELU else F.hardtanh_(y, *layer.bounds[:2])
            ctx.save_for_backward(y)
        ctx.layer, ctx.sides = layer, sides(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        layer = ctx.layer
        g = g.contiguous(memory_format=LAYOUT)
        if layer.bounds is not None:
            g = masked(g, ctx.saved_tensors[0], layer.bounds)
        # the gradient of a transposed convolution is the convolution that it transposes
        how = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        back: Tensor = torch.ops.mkldnn._convolution_pointwise(g, layer.weight, None, *how, "none", [], "")
        height, width = ctx.sides  # a wide output padding would give more
        return back[..., :height, :width], None
