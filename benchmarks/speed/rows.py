"""Rows of the speed benchmark's tables: what was measured, the median, all runs, the aim."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def seconds(what: str, who: str, spans: Sequence[float]) -> Row:
    """Seconds of one program."""
    return {"what": f"{what}, {who}", "value": statistics.median(spans), "unit": "s", "all": list(spans)}


def ratio(what: str, theirs: Sequence[float], ours: Sequence[float], aim: float | str) -> Row:
    """How many times as long theirs takes, run by run."""
    quotients = [a / b for a, b in zip(theirs, ours, strict=False)]
    return plain(what, quotients, aim if isinstance(aim, str) else f">= {aim:g}")


def plain(what: str, values: Sequence[float], aim: str) -> Row:
    """Numbers without a unit."""
    return {"what": what, "value": statistics.median(values), "unit": "", "aim": aim, "all": list(values)}
