"""Where the places of a convolution's kernel fall: sizes, and which rows of the input meet which of the output."""

from __future__ import annotations

from typing import Any

from torch import Tensor

Pair = tuple[int, int]


def sides(x: Tensor) -> Pair:
    """Height and width of maps (B, C, H, W)."""
    return x.shape[2], x.shape[3]


def output_size(layer: Any, inputs: Pair) -> Pair:
    """Height and width of a convolution's output. layer: what has its kernel, padding, dilation and stride."""
    height, width = (
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, p, d, s in zip(
            inputs, layer.kernel, layer.padding, layer.dilation, layer.stride, strict=True
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
