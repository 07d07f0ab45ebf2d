"""Writes an atlas: what is finished of a network's layers, what is left, chunks, complete layers."""

from __future__ import annotations

from collections.abc import Sequence

from filterscope.atlas.plan import FIRST, Chunk, ChunkResult, PlannedLayer
from filterscope.atlas.run.examples import ExampleMeasure
from filterscope.atlas.run.layer import LegibilityMeasure, finish_layer, is_finished
from filterscope.atlas.storage.index import LAYER_TABLE
from filterscope.atlas.storage.journal import LayerJournal, chunk_number
from filterscope.atlas.storage.manifest import LayerEntry
from filterscope.atlas.storage.rows import FAILED
from filterscope.atlas.storage.store import Store


class AtlasWriter:
    """Keeps account of the layers that are being drawn; a layer's journal is held from its first chunk to its last.

    finished: units that have a journal. drawn: pictures drawn in this run.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        entries: Sequence[LayerEntry],
        measures: Sequence[LegibilityMeasure | ExampleMeasure] = (),
    ):
        self.store = store
        self.folder = folder
        self._measures = measures
        self.entries = {entry.name: entry for entry in entries}
        self.layers = {entry.name: entry.plan() for entry in entries}
        self.units = sum(layer.units for layer in self.layers.values())
        self.finished = 0
        self.drawn = 0
        self._journals: dict[str, LayerJournal] = {}
        self._left: dict[str, int] = {}
        self._changed: set[str] = set()

    def place(self, layer: str) -> str:
        """The layer's folder in the atlas."""
        return f"{self.folder}/{self.layers[layer].folder}"

    def count_left(self) -> dict[str, int]:
        """How many units of each layer have no journal yet, by the names of the files alone."""
        left = {}
        for name, layer in self.layers.items():
            files = self.store.sizes(self.place(name))
            numbers = (chunk_number(file) for file in files if file.startswith(f"{FIRST}-"))
            left[name] = layer.units - sum(
                len(layer.chunk(n, seed=0).units) for n in numbers if n < layer.chunks
            )
        self.finished = self.units - sum(left.values())
        return left

    def open_layer(self, layer: PlannedLayer) -> set[int]:
        """The numbers of a layer's finished chunks; a layer that lacks nothing but its end gets that."""
        place = self.place(layer.name)
        self.store.sweep(place)
        sizes = self.store.sizes(place)
        if is_finished(self.store, place, sizes, layer.units):
            return set(range(layer.chunks))
        journal = LayerJournal.read(self.store, self.folder, layer.folder)
        done = journal.finished() & set(range(layer.chunks))
        self._journals[layer.name] = journal
        self._left[layer.name] = layer.chunks - len(done)
        if LAYER_TABLE in sizes:
            self.store.remove(f"{place}/{LAYER_TABLE}")
        if not self._left[layer.name]:
            self._finish(layer.name)
        return done

    def journal(self, layer: str) -> LayerJournal:
        """A layer's journal, read where it is not held."""
        if layer not in self._journals:
            self._journals[layer] = LayerJournal.read(self.store, self.folder, self.layers[layer].folder)
        return self._journals[layer]

    def reopen(self, layer: str) -> None:
        """A complete layer is to change: its `layer.parquet` goes until `finish` writes it anew."""
        self.store.remove(f"{self.place(layer)}/{LAYER_TABLE}")
        self._changed.add(layer)

    def write(self, chunk: Chunk, result: ChunkResult) -> None:
        """Write what came of a chunk, and the layer's end with its last."""
        self.journal(chunk.layer).write(chunk, result)
        self.drawn += sum(row.status != FAILED for row in result.rows)
        if chunk.kind != FIRST:
            return
        self.finished += len(chunk.units)
        self._left[chunk.layer] -= 1
        if not self._left[chunk.layer]:
            self._finish(chunk.layer)

    def finish(self) -> None:
        """Write the ends of the layers that a retry has changed."""
        for layer in sorted(self._changed):
            self._finish(layer)
        self._changed.clear()

    def _finish(self, layer: str) -> None:
        finish_layer(self.store, self.folder, self.entries[layer], self._measures)
        self._journals.pop(layer, None)
        self._left.pop(layer, None)
