"""The size of a picture: its side in pixels, or its height and width where they differ. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, SupportsIndex, TypeAlias

from filterscope.errors import ArgumentError

Sides: TypeAlias = tuple[int, int]
"""Height and width in pixels."""
Size: TypeAlias = int | Sides
"""The side of a square in pixels, or height and width."""

LARGEST = 8192  # a side in pixels
_PAIR = re.compile(r"\s*(\d{1,9})\s*x\s*(\d{1,9})\s*")


def sides_of(size: Size) -> Sides:
    """Height and width.

    >>> sides_of(64), sides_of((64, 128))
    ((64, 64), (64, 128))
    """
    return (size, size) if isinstance(size, int) else size


def as_size(height: int, width: int) -> Size:
    """One number where the picture is square.

    >>> as_size(64, 64), as_size(64, 128)
    (64, (64, 128))
    """
    return height if height == width else (height, width)


def size_text(size: Size) -> str:
    """As it is written: `64`, `64x128`."""
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


def pixels_text(size: Size) -> str:
    """As a person reads it.

    >>> pixels_text(64), pixels_text((64, 128))
    ('64 x 64 px', '64 x 128 px')
    """
    height, width = sides_of(size)
    return f"{height} x {width} px"


def times(size: Size, factor: float) -> Size:
    """The size so many times as large, at least one pixel a side."""
    height, width = sides_of(size)
    return as_size(max(1, round(height * factor)), max(1, round(width * factor)))


def largest_of(sizes: Iterable[Size]) -> Size:
    """The least size that is as high and as wide as each.

    >>> largest_of([32, 64]), largest_of([64, (32, 128)])
    (64, (64, 128))
    """
    heights, widths = zip(*map(sides_of, sizes), strict=True)
    return as_size(max(heights), max(widths))


def cropped(sides: Sides, shape: Size) -> tuple[int, int, int, int]:
    """The largest box in the middle of a picture with the proportions of `shape`: left, top, right, bottom.

    >>> cropped((100, 300), 1), cropped((100, 300), (64, 128))
    ((100, 0, 200, 100), (50, 0, 250, 100))
    """
    height, width = sides_of(shape)
    scale = min(sides[0] / height, sides[1] / width)
    high, wide = min(sides[0], round(height * scale)), min(sides[1], round(width * scale))
    left, top = (sides[1] - wide) // 2, (sides[0] - high) // 2
    return left, top, left + wide, top + high


def others_of(size: Size) -> list[Size]:
    """Sizes that a network is tried at to see whether it takes others than its own: twice, 32 px more, half."""
    height, width = sides_of(size)
    return [
        times(size, 2),
        as_size(height + 32, width + 32),
        as_size(max(1, height // 2), max(1, width // 2)),
    ]


def checked_size(name: str, value: Any, most: int = LARGEST) -> Size:
    """A size from what a person passed: 64, (64, 128), "64x128"; ArgumentError for anything else.

    >>> checked_size("size", [64, 128]), checked_size("size", "32x32")
    ((64, 128), 32)
    """
    numbers = value
    if isinstance(value, str):
        found = _PAIR.fullmatch(value)
        numbers = (int(found[1]), int(found[2])) if found else int(value) if value.strip().isdecimal() else ()
    pair = list(numbers) if isinstance(numbers, tuple | list) else [numbers, numbers]
    if len(pair) != 2 or not all(is_side(n, most) for n in pair):
        raise ArgumentError(
            f"{name} takes a whole number from 1 to {most} (got {value!r}), or height x width as 64x128"
        )
    return as_size(int(pair[0]), int(pair[1]))


def is_side(value: object, most: int = LARGEST) -> bool:
    """Whether it is a whole number from 1 to `most`."""
    return isinstance(value, SupportsIndex) and not isinstance(value, bool) and 1 <= int(value) <= most
