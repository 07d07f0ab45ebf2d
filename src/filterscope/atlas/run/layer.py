"""A layer that is complete: which units are alike, what natural images say, its rows as one Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from filterscope.atlas.run.paint import response_of
from filterscope.atlas.storage.index import PART, import_pyarrow, table_of, write_table
from filterscope.atlas.storage.journal import Row, is_lost, read_journals
from filterscope.atlas.storage.natural import read_natural
from filterscope.atlas.storage.store import Store

ALIKE = 10


def finish_layer(store: Store, network: str, layer: Mapping[str, Any]) -> None:
    """Write a complete layer's rows to its `layer.parquet`."""
    folder = f"{network}/{layer['folder']}"
    rows = layer_rows(store, network, layer, complete=True)
    write_table(store, f"{folder}/{PART}", iter([table_of(rows)]))


def layer_rows(store: Store, network: str, layer: Mapping[str, Any], *, complete: bool) -> list[Row]:
    """A layer's rows with all columns of the index; likeness and ranks only where the layer is complete."""
    rows = read_journals(store, network, layer["folder"])
    natural = read_natural(store, network, layer["folder"]) if layer["natural"] else None
    if complete:
        _relate(rows, int(layer["units"]), None if natural is None else natural.best)
    for row in rows:
        row |= {"network": network, "layer": layer["name"]}
        row["file"] = row["file"] and f"{network}/{row['file']}"
        if natural is not None:
            row |= natural.row(row["unit"])
    return rows


def is_finished(store: Store, folder: str, sizes: Mapping[str, int], units: int) -> bool:
    """Whether a layer's `layer.parquet` is there and all the pictures that it names are whole; not where units
    were lost with their workers, which are to be drawn."""
    if PART not in sizes:
        return False
    pa = import_pyarrow()
    try:
        with store.open(f"{folder}/{PART}") as file:
            table = pa.parquet.read_table(file, columns=["unit", "file", "bytes", "status", "reason"])
    except (pa.ArrowException, OSError):
        return False
    whole = all(
        file is None or sizes.get(file.rpartition("/")[2]) == size
        for file, size in zip(table["file"].to_pylist(), table["bytes"].to_pylist(), strict=True)
    )
    lost = any(map(is_lost, table.select(["status", "reason"]).to_pylist()))
    return whole and not lost and len(set(table["unit"].to_pylist())) == units


def _relate(rows: Sequence[Row], units: int, best: np.ndarray | None) -> None:
    drawn = [row for row in rows if row.get("response")]
    if not drawn:
        return
    responses = np.stack([response_of(row) for row in drawn]).astype(np.float64)
    relative = responses / unit_scales(responses, best)
    order, likeness = most_alike(relative)
    ranks, tops = unit_ranks(relative, [row["unit"] for row in drawn])
    for row, rank, top in zip(drawn, ranks, tops, strict=True):
        row |= {"rank": int(rank), "top_unit": int(top)}
    for row in rows:
        unit = row["unit"]
        row["alike"] = [
            {"unit": int(other), "likeness": float(like)}
            for other, like in zip(order[unit], likeness[unit], strict=True)
        ]


def unit_scales(responses: np.ndarray, best: np.ndarray | None) -> np.ndarray:
    """What each unit's responses (pictures, units) are divided by: its natural best where that is known and
    positive, else their standard deviation; 1 for a unit that never changes."""
    spread = responses.std(0)
    scale = spread if best is None else np.where(best > 0, best, spread)
    return np.where((scale > 0) & np.isfinite(scale), scale, 1.0)


def most_alike(relative: np.ndarray, count: int = ALIKE) -> tuple[np.ndarray, np.ndarray]:
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
