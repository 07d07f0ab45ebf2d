"""The machine's own limits: matrix rates in float32 and bfloat16, copy rate; medians of many runs, half a second each."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from benchmarks.runners.speed_plan import now_of

KINDS = ("float32", "bfloat16")
SIDE = 2048
# channels and side of maps whose convolution with 1 x 1 kernels is a matrix product
ONES = ((512, 28), (1024, 32))


def seconds(function: Callable[[], object], now: Callable[[], float], budget: float = 0.7) -> float:
    """The median of a function's time, after two runs that do not count."""
    function(), function()
    spans: list[float] = []
    end = now() + budget
    while len(spans) < 5 or now() < end:
        began = now()
        function()
        spans.append(now() - began)
    return statistics.median(spans)


def limits(clock: str, kinds: Sequence[str] = KINDS) -> dict[str, float]:
    """TFLOP/s of matrix products, and GB/s read plus written of a copy beyond the caches.

    Of the products the fastest counts: torch's own of two 2048 x 2048 matrices, which on some processors is far from
    what the machine can do, the same as a linear layer, and convolutions of 1 x 1 by oneDNN, kernels laid out before.
    """
    now = now_of({"clock": clock})
    found = {}
    for kind in kinds:
        dtype = getattr(torch, kind)
        a, b = torch.randn(SIDE, SIDE).to(dtype), torch.randn(SIDE, SIDE).to(dtype)
        rates = [
            2 * SIDE**3 / seconds(lambda a=a, b=b: a @ b, now),  # type: ignore[misc]
            2 * SIDE**3 / seconds(lambda a=a, b=b: torch.nn.functional.linear(a, b), now),  # type: ignore[misc]
            *(convolution_rate(channels, side, dtype, now) for channels, side in ONES),
        ]
        found[f"matrix_{kind}"] = max(rates) / 1e12
    source = torch.randn(48 * 2**20)
    target = torch.empty_like(source)
    found["copy"] = 2 * source.numel() * 4 / seconds(lambda: target.copy_(source), now) / 1e9
    return found


def convolution_rate(channels: int, side: int, dtype: torch.dtype, now: Callable[[], float]) -> float:
    """FLOP/s of eight maps' product with a 1 x 1 kernel; 0 where oneDNN is not to be had."""
    maps = torch.randn(8, channels, side, side).to(dtype, memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 1, 1).to(dtype, memory_format=torch.channels_last)
    how = ([0, 0], [1, 1], [1, 1], 1)
    try:
        laid = torch.ops.mkldnn._reorder_convolution_weight(kernel, *how, list(maps.shape))
        span = seconds(
            lambda: torch.ops.mkldnn._convolution_pointwise(maps, laid, None, *how, "none", [], ""), now
        )
    except (AttributeError, RuntimeError):
        return 0.0
    return 2 * 8 * side**2 * channels**2 / span


def described() -> str:
    """The processor, cores and torch."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = [
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
        model = lines[0].partition(":")[2].strip() if lines else model
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    has = [name for name in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if capabilities.get(name)]
    return f"{os.cpu_count()} cores of {model} ({', '.join(has) or 'no vector units told'}), torch {torch.__version__}"
