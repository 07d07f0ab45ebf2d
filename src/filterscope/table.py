"""Rows that show themselves: as text in a terminal, as a table in a notebook, and in pandas."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from filterscope.errors import ArgumentError


class Table(Sequence[dict[str, Any]]):
    """A table: a sequence of its rows, each a dictionary with the columns' names as keys.

    >>> Table([{"name": "conv1", "units": 64}, {"name": "predictions", "units": 1000}])
    name         units
    conv1        64
    predictions  1000
    """

    def __init__(self, rows: Iterable[dict[str, Any]]):
        self.rows = list(rows)

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Table: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Table:
        return Table(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return aligned(self.columns, self._cells())

    def _repr_html_(self) -> str:
        lines = [("th", self.columns), *(("td", row) for row in self._cells())]
        body = "".join(
            f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in row)}</tr>" for tag, row in lines
        )
        return f"<table>{body}</table>"

    def to_pandas(self) -> Any:
        """The same as a pandas.DataFrame; ArgumentError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise ArgumentError("a DataFrame needs pandas: pip install 'filterscope[pandas]'") from None
        return pandas.DataFrame(self.rows, columns=self.columns)

    def _cells(self) -> list[list[str]]:
        return [[_cell(row.get(name)) for name in self.columns] for row in self.rows]


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells in columns of equal width, two spaces apart."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
