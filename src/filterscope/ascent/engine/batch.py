"""How many pictures are drawn together: a usual number, or for long work the fastest of a few, measured once and kept."""

from __future__ import annotations

import logging
import math
import os
import platform
import time
from collections.abc import Sequence

import torch

from filterscope.ascent.engine.prepare import Prepared, prepare
from filterscope.ascent.soundness import gradient_of, require_gradient
from filterscope.cache import Cache
from filterscope.formats import BATCHES
from filterscope.networks.network import Network
from filterscope.objective import Objective
from filterscope.recipe import Recipe
from filterscope.sides import Size, sides_of, size_text

LONG_STEPS = (
    6000  # steps times pictures from which on a measurement, some 60 of them, costs at most one in a hundred
)
LEAST_VIEWS = 8  # in one pass through the network, where a recipe takes several of a picture
SMALL_PICTURE = 256**2  # pixels: of larger ones a pass takes so long that what its calls cost does not count
LEAST_GAIN = (
    0.95  # another number than the usual one is taken where it saves a twentieth: noise shall not decide
)

log = logging.getLogger("filterscope")
_BATCHES = Cache("batch.json", BATCHES, "counts")


def batch_size(size: Size, device: torch.device | None = None) -> int:
    """The usual number: on a processor a few, whose maps stay near its caches; many where a GPU has to be filled."""
    pixels = math.prod(sides_of(size))
    if device is not None and device.type != "cpu":
        return max(16, min(64, round(64 * 224**2 / pixels)))
    return max(4, min(16, round(8 * 128**2 / pixels)))


def usual_count(size: Size, recipe: Recipe, device: torch.device | None = None) -> int:
    """The usual number of pictures of a recipe whose views of a picture count as pictures: of small ones at least so many
    that there are `LEAST_VIEWS` in a pass through the network, which share what its calls cost beside their arithmetic."""
    several = recipe.views > 1 and math.prod(sides_of(size)) <= SMALL_PICTURE
    least = math.ceil(LEAST_VIEWS / recipe.views) if several else 1
    return max(least, batch_size(size, device) // recipe.views)


def choose_batch(
    network: Network,
    goals: Sequence[Objective],
    recipe: Recipe,
    *,
    size: Size,
    dtype: torch.dtype,
    device: torch.device,
) -> int:
    """How many pictures of `goals`, which are of the same layers, to draw together.

    Of a recipe with several views a step that is always the usual number (`usual_count`). Other long work (`LONG_STEPS`)
    takes the fastest of half, once and twice the usual number, measured the first time and kept in the user's cache by
    network, layers, size, number type and machine. It changes a picture by rounding alone.
    """
    usual = usual_count(size, recipe, device)
    steps = recipe.steps * recipe.facet_count
    if len(goals) * steps < LONG_STEPS or len(goals) < 2 * usual or recipe.views > 1:
        return usual
    key = _key(network, goals[0].layers, size, dtype, device)
    kept = _kept()
    if key in kept:
        return kept[key]
    counts = [n for n in (usual // 2, usual, usual * 2) if n]
    spans = {n: _seconds(network, list(goals[:n]), size, dtype, device) for n in counts}
    log.info("seconds a picture's step for %s: %s", key, {n: round(s, 4) for n, s in spans.items()})
    best = min(spans, key=spans.__getitem__, default=usual)
    chosen = best if usual not in spans or spans[best] < LEAST_GAIN * spans[usual] else usual
    _BATCHES.add(key, chosen)
    return chosen


def _seconds(
    network: Network, goals: list[Objective], size: Size, dtype: torch.dtype, device: torch.device
) -> float:
    """Seconds of one picture's step: the fastest of three, in the network and back to the picture."""
    channels = network.input.channels
    try:
        prepared = prepare(network, goals, dtype=dtype, device=device)
        pixels = (
            torch.rand(len(goals), channels, *sides_of(size), generator=torch.Generator().manual_seed(0))
            * 255
        )
        pixels = pixels.to(device).requires_grad_()
        return min(_step(prepared, pixels) for _ in range(4)) / len(goals)
    except torch.OutOfMemoryError:
        return math.inf


def _step(prepared: Prepared, pixels: torch.Tensor) -> float:
    began = time.perf_counter()
    taps = prepared(pixels)
    total = torch.stack([t.output.float().mean() for t in taps.values()]).sum()
    require_gradient(total, prepared.network, prepared.parts.layers)
    gradient = gradient_of(total, pixels, prepared.network, prepared.parts.layers)
    gradient.sum().item()  # waits for a GPU
    return time.perf_counter() - began


def _key(
    network: Network, layers: Sequence[str], size: Size, dtype: torch.dtype, device: torch.device
) -> str:
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    processor = str(capabilities.get("cpu_name") or platform.processor() or platform.machine())
    machine = (
        f"{processor} {torch.get_num_threads()}/{os.cpu_count()}"
        if device.type == "cpu"
        else torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else device.type
    )
    number = str(dtype).removeprefix("torch.")
    return " ".join(
        map(
            str,
            (network.name, "+".join(layers), size_text(size), number, machine, f"torch {torch.__version__}"),
        )
    )


def _kept() -> dict[str, int]:
    return {key: n for key, n in _BATCHES.read().items() if type(n) is int and 0 < n <= 4096}
