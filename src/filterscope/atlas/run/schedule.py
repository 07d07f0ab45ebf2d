"""Handing chunks out and taking results in: the same loop for one machine, for Ray and for a simulation.

It holds the chunks that are out and nothing more, and does the same small work for each, whether there are ten
or a million.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from filterscope.atlas.plan import LOST, Chunk, Drawn

DEATHS = 3  # workers that may die over a chunk before its units are given up


@dataclass(frozen=True)
class Outcome:
    """A chunk came back: `drawn`, or lost with its worker; `guilty` if it was this one that was being drawn."""

    chunk: Chunk
    drawn: Drawn | None
    guilty: bool = False
    reason: str = ""


class Crew(Protocol):
    """Who draws the chunks."""

    def room(self) -> bool:
        """Whether another chunk can be handed out now."""

    def hand(self, chunk: Chunk) -> None:
        """Hand a chunk out."""

    def wait(self) -> Outcome | None:
        """The next chunk to come back; None where there is only more room than before."""


def schedule(
    chunks: Iterator[Chunk], crew: Crew, give_up: Callable[[Chunk, str], Drawn]
) -> Iterator[tuple[Chunk, Drawn]]:
    """Every chunk with what came of it, as they come back; one lost with its worker is handed out again, and
    given up when it has killed three."""
    again: deque[Chunk] = deque()
    deaths: Counter[Chunk] = Counter()
    out, more = 0, True
    while True:
        while (more or again) and crew.room():
            chunk = again.popleft() if again else next(chunks, None)
            if chunk is None:
                more = False
            else:
                crew.hand(chunk)
                out += 1
        if not out and not more and not again:
            return
        outcome = crew.wait()
        if outcome is None:
            continue
        out -= 1
        chunk = outcome.chunk
        if outcome.drawn is not None:
            deaths.pop(chunk, None)
            yield chunk, outcome.drawn
            continue
        deaths[chunk] += outcome.guilty
        if deaths[chunk] >= DEATHS:
            yield (
                chunk,
                give_up(chunk, f"{LOST} {DEATHS} times while it was drawn: {outcome.reason}"),
            )
        else:
            again.append(chunk)


class Alone:
    """A crew of one, in this process."""

    def __init__(self, draw: Callable[[Chunk], Drawn]):
        self._draw = draw
        self._chunk: Chunk | None = None

    def room(self) -> bool:
        return self._chunk is None

    def hand(self, chunk: Chunk) -> None:
        self._chunk = chunk

    def wait(self) -> Outcome | None:
        chunk, self._chunk = self._chunk, None
        return None if chunk is None else Outcome(chunk, self._draw(chunk))
