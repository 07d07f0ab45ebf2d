"""The speed benchmark's job `roofline`: each kind of layer beside the machine's matrix and copy rates.

A layer's least time is the greater of its arithmetic over the rate of matrix products and its least traffic over the rate
of a copy: input, output, their gradients and what the mask needs, each once. The share is that time over the measured one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from benchmarks import machine
from benchmarks.speed.bench import Bench
from benchmarks.speed.rows import Row
from torch import Tensor, nn

from filterscope.ascent.engine.device import keep_freed_memory
from filterscope.ascent.engine.layers import Convolution, MaxPool
from filterscope.ascent.engine.onednn import RELU
from filterscope.networks.attending import attend

BATCH = 4


class Kind(NamedTuple):
    """A layer, what goes in, its arithmetic forward and back, and how many values it reads and writes at least."""

    layer: Callable[..., Tensor]
    inputs: list[Tensor]
    flop: float
    values: float


def _convolution(
    kernel: int, channels: int, side: int, groups: int = 1, stride: int = 1, inputs: int | None = None
) -> Kind:
    inputs = inputs or channels
    padding = 0 if stride == kernel else kernel // 2
    conv = nn.Conv2d(inputs, channels, kernel, stride, padding, groups=groups).requires_grad_(False)
    layer = Convolution(conv, padding=(padding, padding), bounds=RELU)
    x = torch.rand(BATCH, inputs, side, side)
    out = (side + 2 * padding - kernel) // stride + 1
    flop = 4 * BATCH * channels * out**2 * (inputs // groups) * kernel**2
    return Kind(layer, [x], flop, 2 * x.numel() + 3 * BATCH * channels * out**2)


def _pool(channels: int, side: int) -> Kind:
    x = torch.rand(BATCH, channels, side, side)
    return Kind(MaxPool(nn.MaxPool2d(2), RELU), [x], 0, 2.5 * x.numel())


def _attention(heads: int, places: int, width: int) -> Kind:
    inputs = [torch.rand(BATCH, heads, places, width) for _ in range(3)]
    return Kind(attend, inputs, 12 * BATCH * heads * places**2 * width, 8 * inputs[0].numel())


KINDS: dict[str, Callable[[], Kind]] = {
    "3 x 3, 256 channels, 28 px": lambda: _convolution(3, 256, 28),
    "3 x 3, 64 channels, 112 px": lambda: _convolution(3, 64, 112),
    "first layer, 3 x 3, 3 to 64 channels, 224 px": lambda: _convolution(3, 64, 224, inputs=3),
    "1 x 1, 512 channels, 14 px": lambda: _convolution(1, 512, 14),
    "1 x 1, 16 to 96 channels, 112 px": lambda: _convolution(1, 96, 112, inputs=16),
    "depthwise 3 x 3, 144 channels, 56 px": lambda: _convolution(3, 144, 56, groups=144),
    "depthwise 3 x 3 of stride 2, 96 channels, 112 px": lambda: _convolution(3, 96, 112, groups=96, stride=2),
    "depthwise 5 x 5, 480 channels, 14 px": lambda: _convolution(5, 480, 14, groups=480),
    "patches, 14 x 14, 3 to 384 channels, 224 px": lambda: _convolution(14, 384, 224, stride=14, inputs=3),
    "attention, 6 heads, 257 places": lambda: _attention(6, 257, 64),
    "max pool 2 x 2, 64 channels, 112 px": lambda: _pool(64, 112),
}


def roofline(bench: Bench) -> list[Row]:
    """Each kind of layer, forward and gradient, as a share of what the machine's rates allow."""
    if bench.options.threads:
        torch.set_num_threads(bench.options.threads)
    keep_freed_memory()
    now = time.process_time if bench.options.clock == "cpu" else time.perf_counter
    limits = machine.limits(bench.options.clock, bench.kinds)
    rows: list[Row] = [
        {"what": f"matrix rate, {kind}", "value": limits[f"matrix_{kind}"], "unit": "TFLOP/s"}
        for kind in bench.kinds
    ]
    rows.append({"what": "copy rate, read and written", "value": limits["copy"], "unit": "GB/s"})
    for name, make in KINDS.items():
        rows += [_row(name, make(), getattr(torch, kind), limits, now) for kind in bench.kinds]
    return rows


def _row(
    name: str, kind: Kind, dtype: torch.dtype, limits: dict[str, float], now: Callable[[], float]
) -> Row:
    number = str(dtype).removeprefix("torch.")
    layer: Any = kind.layer
    inputs = [x.to(dtype) for x in kind.inputs]
    if isinstance(layer, nn.Module):
        layer = layer.to(dtype)
        inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
    inputs = [x.requires_grad_() for x in inputs]
    g = torch.ones_like(layer(*inputs))
    span = machine.seconds(lambda: torch.autograd.grad(layer(*inputs), inputs, g), now, 0.3)
    busy = kind.flop / (limits[f"matrix_{number}"] * 1e12)
    moving = kind.values * inputs[0].element_size() / (limits["copy"] * 1e9)
    note = f"{span * 1e3:.2f} ms: {busy / span:.0%} of the matrix rate, {moving / span:.0%} of the copy rate"
    return {
        "what": f"{name}, {number}",
        "value": max(busy, moving) / span,
        "unit": "",
        "all": [span],
        "note": note,
    }
