"""A layer that is complete: which units are alike, how natural images excite them, its rows as one Parquet file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from filterscope.atlas.run.examples import ExampleMeasure
from filterscope.atlas.storage.index import LAYER_TABLE, make_table, read_rows, write_table
from filterscope.atlas.storage.journal import is_lost, read_journals
from filterscope.atlas.storage.manifest import LayerEntry
from filterscope.atlas.storage.natural import read_natural
from filterscope.atlas.storage.rows import Alike, Row, decode_response
from filterscope.atlas.storage.store import Store
from filterscope.errors import DamagedError
from filterscope.measure.legibility import Features, legibility

MAX_ALIKE = 10  # units that are named as alike


@dataclass(frozen=True)
class LegibilityMeasure:
    """Measures the legibility of a layer's pictures by photographs in a folder; network: the folder in the atlas."""

    features: Features
    images: Path
    network: str

    def add_to(self, rows: Sequence[Row], store: Store, layer: LayerEntry) -> None:
        """Fill in the rows of a layer whose natural activations are of these photographs."""
        if not layer.natural:
            return
        natural = read_natural(store, self.network, str(layer.folder))
        for row in rows:
            files = natural.pair_files(row.unit, self.images)
            if row.file is None or files is None:
                continue
            with Image.open(io.BytesIO(store.read(row.file))) as image:
                found = legibility(self.features, image, files)
            if found is not None:
                row.legibility, row.legibility_ceiling = found.legibility, found.ceiling


def finish_layer(
    store: Store,
    network: str,
    layer: LayerEntry,
    measures: Sequence[LegibilityMeasure | ExampleMeasure] = (),
) -> None:
    """Write a complete layer's rows to its `layer.parquet`, with what is measured by photographs."""
    rows = read_layer_rows(store, network, layer, complete=True)
    for measure in measures:
        measure.add_to(rows, store, layer)
    write_table(store, f"{network}/{layer.folder}/{LAYER_TABLE}", iter([make_table(rows)]))


def read_layer_rows(store: Store, network: str, layer: LayerEntry, *, complete: bool) -> list[Row]:
    """A layer's rows with all columns of the index; likeness and ranks only where the layer is complete."""
    folder = str(layer.folder)
    rows = read_journals(store, network, folder)
    natural = read_natural(store, network, folder) if layer.natural else None
    if complete:
        _relate(rows, None if natural is None else natural.best)
    for row in rows:
        row.network, row.layer = network, layer.name
        row.file = row.file and f"{network}/{row.file}"
        row.alpha = row.alpha and f"{network}/{row.alpha}"
        if natural is not None:
            natural.add_to(row)
    return rows


def is_finished(store: Store, folder: str, sizes: Mapping[str, int], units: int) -> bool:
    """Whether a layer's `layer.parquet` is there and all the pictures that it names are whole; not where units
    were lost with their workers, which are to be drawn."""
    if LAYER_TABLE not in sizes:
        return False
    try:
        columns = ["unit", "file", "bytes", "status", "reason"]
        rows = list(read_rows(store, f"{folder}/{LAYER_TABLE}", columns))
    except (OSError, DamagedError):
        return False
    whole = all(row.file is None or sizes.get(row.file.rpartition("/")[2]) == row.bytes for row in rows)
    lost = any(is_lost(row.status, row.reason) for row in rows)
    return whole and not lost and len({row.unit for row in rows}) == units


def _relate(rows: Sequence[Row], best: np.ndarray | None) -> None:
    drawn = [row for row in rows if row.response]
    if not drawn:
        return
    responses = np.stack([decode_response(str(row.response)) for row in drawn]).astype(np.float64)
    relative = responses / unit_scales(responses, best)
    order, likeness = most_alike(relative)
    ranks, tops = unit_ranks(relative, [row.unit for row in drawn])
    for row, rank, top in zip(drawn, ranks, tops, strict=True):
        row.rank, row.top_unit = int(rank), int(top)
    for row in rows:
        found = zip(order[row.unit].tolist(), likeness[row.unit].tolist(), strict=True)
        row.alike = [Alike(unit=other, likeness=like) for other, like in found]


def unit_scales(responses: np.ndarray, best: np.ndarray | None) -> np.ndarray:
    """What each unit's responses (pictures, units) are divided by: its natural best where that is known and
    positive, else their standard deviation; 1 for a unit that never changes."""
    spread = responses.std(0)
    scale = spread if best is None else np.where(best > 0, best, spread)
    return np.where((scale > 0) & np.isfinite(scale), scale, 1.0)


def most_alike(relative: np.ndarray, count: int = MAX_ALIKE) -> tuple[np.ndarray, np.ndarray]:
    """For each unit the others most alike, (units, count), most alike first, and how much, -1 to 1.

    relative: (pictures, units). The likeness is the cosine of two columns, each minus its mean.
    """
    columns = relative - relative.mean(0)
    length = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(length > 0, length, 1)
    cosine = (columns.T @ columns).clip(-1, 1).round(6)  # so that rounding decides no order
    np.fill_diagonal(cosine, -np.inf)
    count = min(count, len(cosine) - 1)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosine, order, 1)


def unit_ranks(relative: np.ndarray, units: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each picture the place of its own unit among all, 1 for the most excited, and that one's number."""
    own = relative[np.arange(len(relative)), list(units)]
    return (relative > own[:, None]).sum(1) + 1, relative.argmax(1)
