"""The check of a layer as a drawing: two lines over the number of removed channels, with a scale on both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from filterscope.explanation.removal import Removal

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 36  # what lies around the lines, for the labels
STEPS = 4  # of a scale, about


def chart_of(check: Removal) -> dict[str, Any]:
    """What the template draws: the points of both lines, and the ticks of both scales with their places and labels."""
    values = [*check.top, *check.random]
    ticks = scale(min(values), max(values))
    low, high, last = ticks[0], ticks[-1], check.counts[-1]

    def across(count: float) -> str:
        return f"{LEFT + count / last * (WIDTH - LEFT - RIGHT):.1f}"

    def down(value: float) -> str:
        return f"{HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    def points(line: Sequence[float]) -> str:
        return " ".join(f"{across(n)},{down(v)}" for n, v in zip(check.counts, line, strict=True))

    step = ticks[1] - ticks[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    shares = [0] + [round(last * part / 4) for part in (1, 2, 3) if last >= 4] + [last]
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM,
        "middle": (LEFT + WIDTH - RIGHT) / 2,
        "top": points(check.top), "random": points(check.random),
        "values": [{"at": down(tick), "label": f"{tick:.{digits}f}".replace("-", "\N{MINUS SIGN}")} for tick in ticks],
        "counts": [{"at": across(count), "label": f"{count:,}"} for count in shares],
    }  # fmt: skip


def scale(low: float, high: float) -> list[float]:
    """Round numbers from below the smallest value to above the largest, in equal steps of 1, 2 or 5 times a power of ten.

    >>> scale(-0.3, 7.2)
    [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0]
    >>> scale(0, 0.5)
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    """
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        high = low + max(1.0, abs(low) * 1e-3)
    rough = (high - low) / STEPS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.8)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(number * step, 12) for number in range(first, last + 1)]
