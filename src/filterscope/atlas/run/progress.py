"""The bar of an atlas: pictures done, rate, failures, time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from filterscope.atlas.plan import FIRST, Chunk, ChunkResult
from filterscope.atlas.run.estimate import Estimate, format_duration

_FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} units [{elapsed}, {rate_fmt}{postfix}]"


class Progress:
    """Shows a bar on standard error; None shows it on a terminal only."""

    def __init__(self, shown: bool | None = None):
        self._disable = None if shown is None else not shown
        self._bar: Any = None
        self._left: dict[str, int] = {}
        self._estimate = Estimate({})
        self._bad: Counter[str] = Counter()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, total: int, left: Mapping[str, int], estimate: Estimate) -> None:
        """The bar of `total` units, of which `left` of each layer are still to be drawn."""
        from tqdm.auto import tqdm

        self._left, self._estimate = dict(left), estimate
        if sum(left.values()):
            self._bar = tqdm(
                total=total, initial=total - sum(left.values()), unit="unit", disable=self._disable,
                bar_format=_FORMAT, leave=False,
            )  # fmt: skip

    def more(self, units: int) -> None:
        """So many units are to be drawn again."""
        if self._bar is not None:
            self._bar.total += units

    def done(self, chunk: Chunk, result: ChunkResult) -> None:
        """A chunk is finished."""
        self._estimate.learn(chunk.layer, len(chunk.units), result.seconds)
        if chunk.kind == FIRST:
            self._left[chunk.layer] = max(0, self._left.get(chunk.layer, 0) - len(chunk.units))
        self._bad.update(row.status for row in result.rows if row.status != "ok")
        if self._bar is None:
            return
        seconds = self._estimate.seconds(self._left)
        words = [chunk.layer, *([f"about {format_duration(seconds)} left"] if seconds else [])]
        words += [f"{count} {status}" for status, count in sorted(self._bad.items())]
        self._bar.set_postfix_str(", ".join(words), refresh=False)
        self._bar.update(len(chunk.units))
