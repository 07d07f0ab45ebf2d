"""A convolution whose stride is its kernel, as one matrix product: a vision transformer's patches, and stems like it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.ascent.engine.onednn import LAYOUT, RELU, Bounds, Pads
from filterscope.ascent.engine.places import Pair, sides


class Patches:
    """Such a convolution's weights as a matrix: what `onednn.Kernel` does, 1.5 to 4 times as fast with its gradient."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.bias = bias
        self.kernel = self.stride = sides(weight)
        self.padding: Pair = (0, 0)
        self.dilation: Pair = (1, 1)
        self.rows = weight.permute(0, 2, 3, 1).reshape(len(weight), -1).contiguous()  # (C', kh * kw * C)

    @staticmethod
    def can(weight: Tensor, pads: Pads, stride: Pair, dilation: Pair, groups: int) -> bool:
        """Whether a convolution is one of patches side by side."""
        alone = groups == 1 and dilation == (1, 1) and not any(pads)
        return alone and stride == sides(weight) and max(stride) > 1

    def run(self, x: Tensor, shortcut: Tensor | None, bounds: Bounds | None) -> Tensor:
        """The convolution of `x`, plus the shortcut, clamped to the bounds."""
        (high, wide), (batch, channels) = self._count(x.shape), x.shape[:2]
        rows, columns = self.kernel
        # what is left at the lower and right edge belongs to no patch
        maps = x.permute(0, 2, 3, 1)[:, : high * rows, : wide * columns]
        patches = maps.reshape(batch, high, rows, wide, columns, channels).transpose(2, 3)
        flat = patches.reshape(batch * high * wide, -1)
        y = flat @ self.rows.t() if self.bias is None else torch.addmm(self.bias, flat, self.rows.t())
        y = y.view(batch, high, wide, -1).permute(0, 3, 1, 2)
        if shortcut is not None:
            y += shortcut
        if bounds is None:
            return y
        return F.relu_(y) if bounds == RELU else F.hardtanh_(y, *bounds[:2])

    def gradient(self, g: Tensor, shape: Sequence[int]) -> Tensor:
        """The gradient of the input of `shape` from the output's."""
        batch, channels, height, width = shape
        (high, wide), (rows, columns) = self._count(shape), self.kernel
        flat = g.permute(0, 2, 3, 1).reshape(-1, g.shape[1]) @ self.rows
        patches = flat.view(batch, high, wide, rows, columns, channels).transpose(2, 3)
        maps = patches.reshape(batch, high * rows, wide * columns, channels).permute(0, 3, 1, 2)
        rest = (0, width - wide * columns, 0, height - high * rows)
        return F.pad(maps, rest).contiguous(memory_format=LAYOUT) if any(rest) else maps

    def _count(self, shape: Sequence[int]) -> Pair:
        return shape[2] // self.kernel[0], shape[3] // self.kernel[1]
