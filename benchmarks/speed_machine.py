"""The machine's own limits: matrix rates in float32 and bfloat16, copy rate; medians of many runs, half a second each."""

import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from speed_plan import now_of

SIDE = 2048


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


def limits(clock: str) -> dict[str, float]:
    """TFLOP/s of a product of two 2048 x 2048 matrices, and GB/s read plus written of a copy beyond the caches."""
    now = now_of({"clock": clock})
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(SIDE, SIDE).to(dtype), torch.randn(SIDE, SIDE).to(dtype)
        rate = 2 * SIDE**3 / seconds(lambda a=a, b=b: a @ b, now)  # type: ignore[misc]
        found[f"matrix_{str(dtype).removeprefix('torch.')}"] = rate / 1e12
    source = torch.randn(48 * 2**20)
    target = torch.empty_like(source)
    found["copy"] = 2 * source.numel() * 4 / seconds(lambda: target.copy_(source), now) / 1e9
    return found


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
