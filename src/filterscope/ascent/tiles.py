"""Windows over a picture that is too large to go through the network whole.

All windows have one shape. Each keeps the gradient of its inner part alone, since a network pads what lies beyond
its input's edge, so that the rim of a window differs from how the picture goes on; the inner parts cover the
picture without overlap. Their borders move from step to step, so that no place stays one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from filterscope.sides import Sides, Size, sides_of

Span = tuple[int, int]
RIM = 16  # a window's rim is this part of its side, at each end


@dataclass(frozen=True)
class Window:
    """Rows and columns of the window, and those of them whose gradient is kept."""

    rows: Span
    columns: Span
    kept_rows: Span
    kept_columns: Span

    def of(self, x: Tensor) -> Tensor:
        """The window's part of pictures (B, C, H, W); the pictures themselves where it is all of them."""
        if self.shape == x.shape[-2:]:
            return x
        return x[..., slice(*self.rows), slice(*self.columns)].contiguous()

    def kept(self, x: Tensor) -> Tensor:
        """The part whose gradient is kept, of whole pictures (B, C, H, W)."""
        return x[..., slice(*self.kept_rows), slice(*self.kept_columns)]

    def inner(self, part: Tensor) -> Tensor:
        """The part whose gradient is kept, of the window's own values."""
        top, left = self.rows[0], self.columns[0]
        return part[
            ...,
            self.kept_rows[0] - top : self.kept_rows[1] - top,
            self.kept_columns[0] - left : self.kept_columns[1] - left,
        ]

    @property
    def shape(self) -> tuple[int, int]:
        """Its height and width in pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def share(self, sides: tuple[int, int]) -> float:
        """Which part of a picture of these sides it is: what a mean over the window counts for."""
        return self.shape[0] * self.shape[1] / (sides[0] * sides[1])

    @property
    def area(self) -> int:
        """How many pixels' gradients it keeps."""
        return (self.kept_rows[1] - self.kept_rows[0]) * (self.kept_columns[1] - self.kept_columns[0])


def windows(sides: Sides, tile: Size | None, shift: tuple[float, float] = (0.0, 0.0)) -> Iterator[Window]:
    """The windows of size `tile` that cover a picture, their borders moved by a share `shift` of their distance.

    >>> [w.kept_columns for w in windows((64, 100), 64)]
    [(0, 56), (56, 100)]
    """
    high, wide = (None, None) if tile is None else sides_of(tile)
    for rows, kept_rows in _spans(sides[0], high, shift[0]):
        for columns, kept_columns in _spans(sides[1], wide, shift[1]):
            yield Window(rows, columns, kept_rows, kept_columns)


def window_shape(sides: Sides, tile: Size | None) -> Sides:
    """Rows and columns of every window over a picture of these sides."""
    most = sides if tile is None else sides_of(tile)
    return min(sides[0], most[0]), min(sides[1], most[1])


def _spans(length: int, tile: int | None, shift: float) -> list[tuple[Span, Span]]:
    if tile is None or length <= tile:
        return [((0, length), (0, length))]
    rim = tile // RIM
    core = tile - 2 * rim
    borders = [0, *range(round(shift * core) or core, length, core), length]
    spans = []
    for begin, end in pairwise(borders):
        first = min(max(begin - rim, 0), length - tile)
        spans.append(((first, first + tile), (begin, end)))
    return spans
