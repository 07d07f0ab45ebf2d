"""Rows of numbers as a markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = {
    "pictures": ("pictures", "{:d}"),
    "dead": ("dead", "{:d}"),
    "success": ("success", "{:.1%}"),
    "excitation": ("median excitation", "{:.2f}"),
    "top_unit": ("top unit", "{:.1%}"),
    "spectrum": ("spectrum distance", "{:.3f}"),
    "seconds": ("s a picture", "{:.2f}"),
    "probability": ("median probability", "{:.2%}"),
    "sure": ("probability >= 99 %", "{:.1%}"),
    "legibility": ("legibility", "{:.1%}"),
    "legibility_error": ("standard error", "{:.1%}"),
    "ceiling": ("ceiling", "{:.1%}"),
    "judge_top1": ("judge top-1", "{:.1%}"),
    "judge_top5": ("judge top-5", "{:.1%}"),
    "judge_rank": ("median rank", "{:g}"),
}


def markdown(rows: Sequence[tuple[Sequence[str], Mapping[str, Any]]], names: Sequence[str]) -> str:
    """A table of (cells that name the row, its numbers); columns without a number in any row are left out.

    >>> print(markdown([(["sharp"], {"success": 1.0, "excitation": None})], ["program"]))
    | program | success |
    |---|---|
    | sharp | 100.0% |
    """
    shown = [key for key in COLUMNS if any(row.get(key) is not None for _, row in rows)]
    if not any(row.get("dead") for _, row in rows):
        shown = [key for key in shown if key != "dead"]
    lines = [[*names, *(COLUMNS[key][0] for key in shown)]]
    lines += [[*cells, *(_cell(key, row.get(key)) for key in shown)] for cells, row in rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]])


def plain(row: Mapping[str, Any]) -> str:
    """A row as one line of text.

    >>> plain({"success": 1.0, "seconds": 2.0})
    'success 100.0%, s a picture 2.00'
    """
    return ", ".join(f"{COLUMNS[k][0]} {_cell(k, row[k])}" for k in COLUMNS if row.get(k) is not None)


def _cell(key: str, value: Any) -> str:
    """A number in its column's form; text as it is (a figure known with fewer digits than that)."""
    return "" if value is None else value if isinstance(value, str) else COLUMNS[key][1].format(value)
