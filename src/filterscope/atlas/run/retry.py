"""`--retry`: failed and dead units drawn again, in rounds that can be cut short like everything else.

A round is written down (NETWORK/retry-001.json) before its first picture, so that a run which goes on draws the
same chunks. A failed unit keeps its seed; a dead one gets another, since the same noise would leave it dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from filterscope.atlas.plan import Chunk, retry_chunks
from filterscope.atlas.run.work import Work
from filterscope.atlas.storage.index import PART, import_pyarrow
from filterscope.atlas.storage.manifest import planned
from filterscope.atlas.storage.store import Store
from filterscope.errors import SEEDS

AGAIN = ("failed", "dead")


@dataclass(frozen=True)
class Round:
    """A round of `--retry`: for each layer the units with their seeds."""

    turn: int
    units: dict[str, list[tuple[int, int]]]

    @property
    def count(self) -> int:
        """How many units it draws again."""
        return sum(len(units) for units in self.units.values())

    def chunks(self, work: Work) -> Iterator[Chunk]:
        """All its chunks in those layers that this run is about."""
        for layer, units in self.units.items():
            if layer in work.by_name:
                yield from retry_chunks(planned(work.by_name[layer]), units, turn=self.turn)


def pending_round(store: Store, folder: str, work: Work) -> Round | None:
    """The last round, where it was cut short."""
    turns = _turns(store, folder)
    if not turns:
        return None
    told = store.read_json(f"{folder}/retry-{turns[-1]:03d}.json")
    last = Round(told["turn"], {k: [(u, s) for u, s in v] for k, v in told["units"].items()})
    done = all(
        chunk.journal.rpartition("/")[2] in store.sizes(f"{folder}/{chunk.folder}")
        for chunk in last.chunks(work)
    )
    return None if done else last


def start_round(store: Store, folder: str, work: Work, seed: int) -> Round | None:
    """A new round over all units that are failed or dead; None where there are none."""
    turns = _turns(store, folder)
    turn = turns[-1] + 1 if turns else 1
    units: dict[str, list[tuple[int, int]]] = {}
    for row in work.layers:
        found = _not_drawn(store, f"{folder}/{row['folder']}")
        if found:
            units[row["name"]] = [
                (unit, (seed + turn) % SEEDS if status == "dead" else own) for unit, status, own in found
            ]
    if not units:
        return None
    store.write_json(f"{folder}/retry-{turn:03d}.json", {"turn": turn, "units": units})
    return Round(turn, units)


def round_chunks(waiting: Round, work: Work) -> Iterator[Chunk]:
    """The chunks of a round that are not done."""
    for layer in dict.fromkeys(chunk.layer for chunk in waiting.chunks(work)):
        work.unfinish(layer)
    for chunk in waiting.chunks(work):
        if chunk.journal.rpartition("/")[2] not in work.journal(chunk.layer).done:
            yield chunk


def _turns(store: Store, folder: str) -> list[int]:
    return sorted(int(n[6:9]) for n in store.sizes(folder) if n.startswith("retry-") and n.endswith(".json"))


def _not_drawn(store: Store, folder: str) -> list[tuple[int, str, int]]:
    """(unit, status, seed) of the failed and dead units of a complete layer."""
    with store.open(f"{folder}/{PART}") as file:
        table = import_pyarrow().parquet.read_table(file, columns=["unit", "status", "seed"])
    rows = table.to_pylist()
    found = {row["unit"]: (row["unit"], row["status"], row["seed"]) for row in rows if row["status"] in AGAIN}
    return list(found.values())
