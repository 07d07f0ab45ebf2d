"""Tokens that are patches of the picture, and their rows and columns."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Patches:
    """An axis that counts the patches of a picture row by row, and tokens that stand for none in front and behind."""

    rows: int
    columns: int
    front: int = 0
    back: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens there are in all."""
        return self.rows * self.columns + self.front + self.back


def grid(count: int, height: float, width: float) -> tuple[int, int] | None:
    """Rows and columns of `count` patches of a picture, in its proportions; None where there are none such.

    >>> grid(196, 224, 224), grid(32, 64, 128), grid(197, 224, 224)
    ((14, 14), (4, 8), None)
    """
    rows = round(math.sqrt(count * height / width))
    if rows < 1 or count % rows:
        return None
    columns = count // rows
    # patches are square: as many pixels a row as a column, but for rounding at the edges
    return (rows, columns) if abs(columns - rows * width / height) < 1 else None


def is_map(rows: int, columns: int, height: float, width: float) -> bool:
    """Whether so many rows and columns are places of a picture, in its proportions."""
    return rows * columns > 1 and grid(rows * columns, height, width) == (rows, columns)
