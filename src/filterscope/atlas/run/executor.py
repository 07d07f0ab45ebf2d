"""Who draws the chunks: this process, or Ray's workers (see ray.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from filterscope.atlas.plan import Chunk, ChunkResult
from filterscope.atlas.run.drawer import ChunkDrawer


@dataclass(frozen=True)
class ChunkLost:
    """A chunk that was given up, since its workers died; reason: of what."""

    reason: str


class Executor(Protocol):
    """Draws chunks. workers: how many at a time."""

    workers: int

    def draw(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, ChunkResult | ChunkLost]]:
        """Every chunk with what came of it, as they are finished; only as many are asked for as can be drawn now."""

    def trial(self, chunk: Chunk, steps: int) -> float:
        """Draw a chunk for a few steps and throw it away; the seconds that took."""


class LocalExecutor:
    """Draws in this process."""

    workers = 1

    def __init__(self, drawer: ChunkDrawer):
        self._drawer = drawer
        self.trial = drawer.trial

    def draw(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, ChunkResult | ChunkLost]]:
        for chunk in chunks:
            yield chunk, self._drawer.draw(chunk)
