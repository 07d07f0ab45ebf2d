"""Retries: failed and dead units drawn again, in rounds that can be cut short like everything else.

A round is written down (NETWORK/retry-001.json) before its first picture, so that a run which goes on draws the
same chunks. A failed unit keeps its seed; a dead one gets another, since the same noise would leave it dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from filterscope.atlas.plan import Chunk, retry_chunks
from filterscope.atlas.run.writer import AtlasWriter
from filterscope.atlas.storage.index import LAYER_TABLE, read_rows
from filterscope.errors import SEEDS, DamagedError, first_line

AGAIN = ("failed", "dead")


class Round(BaseModel):
    """A round of retries: for each layer the units with their seeds."""

    turn: int = Field(ge=0)
    units: dict[str, list[tuple[NonNegativeInt, Annotated[int, Field(ge=0, lt=SEEDS)]]]]

    @property
    def count(self) -> int:
        """How many units it draws again."""
        return sum(len(units) for units in self.units.values())

    def chunks(self, writer: AtlasWriter) -> Iterator[Chunk]:
        """All its chunks in those layers that this run is about."""
        for layer, units in self.units.items():
            if layer in writer.layers:
                yield from retry_chunks(writer.layers[layer], units, turn=self.turn)


def find_pending_round(writer: AtlasWriter) -> Round | None:
    """The last round, where it was cut short."""
    turns = _turns(writer)
    if not turns:
        return None
    written = writer.store.read_json(f"{writer.folder}/retry-{turns[-1]:03d}.json")
    try:
        last = Round.model_validate(written)
    except ValidationError as error:
        raise DamagedError(
            f"{writer.store.address}/{writer.folder}/retry-{turns[-1]:03d}.json is damaged ({first_line(error)}); remove it "
            "and run again"
        ) from None
    done = all(_name(chunk) in writer.store.sizes(writer.place(chunk.layer)) for chunk in last.chunks(writer))
    return None if done else last


def start_round(writer: AtlasWriter, seed: int) -> Round | None:
    """A new round over all units that are failed or dead; None where there are none."""
    turns = _turns(writer)
    turn = turns[-1] + 1 if turns else 1
    units: dict[str, list[tuple[int, int]]] = {}
    for layer in writer.layers:
        rows = read_rows(writer.store, f"{writer.place(layer)}/{LAYER_TABLE}", ["unit", "status", "seed"])
        again = {row.unit: row for row in rows if row.status in AGAIN}
        if again:
            units[layer] = [
                (unit, (seed + turn) % SEEDS if row.status == "dead" else row.seed or 0)
                for unit, row in again.items()
            ]
    if not units:
        return None
    writer.store.write_json(f"{writer.folder}/retry-{turn:03d}.json", {"turn": turn, "units": units})
    return Round(turn=turn, units=units)


def remaining_chunks(pending: Round, writer: AtlasWriter) -> Iterator[Chunk]:
    """The chunks of a round that are not done."""
    for layer in dict.fromkeys(chunk.layer for chunk in pending.chunks(writer)):
        writer.reopen(layer)
    for chunk in pending.chunks(writer):
        if _name(chunk) not in writer.journal(chunk.layer).done:
            yield chunk


def _name(chunk: Chunk) -> str:
    return chunk.journal.rpartition("/")[2]


def _turns(writer: AtlasWriter) -> list[int]:
    """The numbers of the rounds that have been begun."""
    files = writer.store.sizes(writer.folder)
    return sorted(int(n[6:9]) for n in files if n.startswith("retry-") and n.endswith(".json"))
