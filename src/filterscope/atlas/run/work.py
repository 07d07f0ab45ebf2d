"""The work on a network's folder: what is finished, what is left, chunks written, layers finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from filterscope.atlas.plan import PLAIN, Chunk, Drawn, PlannedLayer
from filterscope.atlas.run.layer import finish_layer, is_finished
from filterscope.atlas.storage.index import PART
from filterscope.atlas.storage.journal import LayerJournal
from filterscope.atlas.storage.manifest import planned
from filterscope.atlas.storage.store import Store


class Work:
    """Keeps account of the layers that are being drawn; a layer's journal is held from its first chunk to its last.

    drawn: pictures drawn in this run.
    """

    def __init__(self, store: Store, folder: str, layers: Sequence[Mapping[str, Any]]):
        self.store = store
        self.folder = folder
        self.layers = list(layers)
        self.by_name = {row["name"]: row for row in layers}
        self.units = sum(row["units"] for row in layers)
        self.finished = 0
        self.drawn = 0
        self._journals: dict[str, LayerJournal] = {}
        self._left: dict[str, int] = {}
        self._stale: set[str] = set()

    def left(self) -> dict[str, int]:
        """How many units of each layer have no journal yet, by the names of the files alone."""
        found = {}
        for row in self.layers:
            names = self.store.sizes(f"{self.folder}/{row['folder']}")
            layer = planned(row)
            numbers = (int(n[len(PLAIN) + 1 : -5]) for n in names if n.startswith(f"{PLAIN}-"))
            done = sum(len(layer.chunk(n, seed=0).units) for n in numbers if n < layer.chunks)
            found[layer.name] = layer.units - done
        self.finished = self.units - sum(found.values())
        return found

    def open(self, layer: PlannedLayer) -> set[int]:
        """The numbers of a layer's finished chunks; a layer that lacks nothing but its end gets that."""
        place = f"{self.folder}/{layer.folder}"
        self.store.sweep(place)
        sizes = self.store.sizes(place)
        if is_finished(self.store, place, sizes, layer.units):
            return set(range(layer.chunks))
        journal = LayerJournal.read(self.store, self.folder, layer.folder)
        done = journal.finished() & set(range(layer.chunks))
        self._journals[layer.name] = journal
        self._left[layer.name] = layer.chunks - len(done)
        if PART in sizes:
            self.store.remove(f"{place}/{PART}")
        if not self._left[layer.name]:
            self._finish(layer.name)
        return done

    def journal(self, layer: str) -> LayerJournal:
        """A layer's journal, read where it is not held."""
        if layer not in self._journals:
            self._journals[layer] = LayerJournal.read(self.store, self.folder, self.by_name[layer]["folder"])
        return self._journals[layer]

    def unfinish(self, layer: str) -> None:
        """A layer is to change: its `layer.parquet` goes until `finish` writes it anew."""
        self.store.remove(f"{self.folder}/{self.by_name[layer]['folder']}/{PART}")
        self._stale.add(layer)

    def commit(self, chunk: Chunk, drawn: Drawn) -> None:
        """Write what came of a chunk, and the layer's end with its last."""
        self.journal(chunk.layer).commit(chunk, drawn)
        self.drawn += sum(row["status"] != "failed" for row in drawn.rows)
        if chunk.kind != PLAIN:
            return
        self.finished += len(chunk.units)
        self._left[chunk.layer] -= 1
        if not self._left[chunk.layer]:
            self._finish(chunk.layer)

    def finish(self) -> None:
        """Write the ends of the layers that a retry has changed."""
        for layer in sorted(self._stale):
            self._finish(layer)
        self._stale.clear()

    def _finish(self, layer: str) -> None:
        finish_layer(self.store, self.folder, self.by_name[layer])
        self._journals.pop(layer, None)
        self._left.pop(layer, None)
