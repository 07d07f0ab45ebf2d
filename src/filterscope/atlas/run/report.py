"""The end of a run: the index over all networks of an atlas, and the report of what is not ok."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from filterscope.atlas.run.layer import read_layer_rows
from filterscope.atlas.storage.index import (
    INDEX,
    LAYER_TABLE,
    list_network_folders,
    make_table,
    read_table,
    write_table,
)
from filterscope.atlas.storage.labels import read_kept_labels, with_labels
from filterscope.atlas.storage.manifest import REPORT, read_manifest
from filterscope.atlas.storage.rows import FAILED, STATUSES
from filterscope.atlas.storage.store import Store
from filterscope.concept import is_concept, one_of

if TYPE_CHECKING:
    import pyarrow as pa

Report = dict[str, dict[str, Any]]  # by the networks' folders


def write_index(store: Store) -> Report:
    """Write index.parquet and report.json from what is there; returns the report."""
    report: Report = {}
    write_table(store, INDEX, _count(_read_tables(store), report))
    store.write_json(REPORT, report)
    return report


def _read_tables(store: Store) -> Iterator[pa.Table]:
    """The rows of all layers of all networks, a table a layer."""
    for folder in list_network_folders(store):
        manifest, labels = read_manifest(store, folder), read_kept_labels(store, folder)
        for layer in manifest.layers if manifest else ():
            place = f"{folder}/{layer.folder}/{LAYER_TABLE}"
            if store.exists(place):
                table = read_table(store, place)
            else:
                table = make_table(read_layer_rows(store, folder, layer, complete=False))
            yield with_labels(table, labels)


def _count(tables: Iterator[pa.Table], report: Report) -> Iterator[pa.Table]:
    """The tables as they come; what they hold is counted into the report."""
    columns = ("facet", "class_name", "status", "excitation", "reason")
    for table in tables:
        for row in table.select(["network", "layer", "unit", *columns]).to_pylist():
            new = {"pictures": 0, **dict.fromkeys(STATUSES, 0), "not_ok": []}
            entry = report.setdefault(row["network"], new)
            entry["pictures"] += row["status"] != FAILED
            entry[row["status"]] += 1
            if row["status"] != "ok":
                layer, unit = row["layer"], row["unit"]
                target = one_of(layer, unit) if is_concept(layer) else f"{layer}:{unit}"
                entry["not_ok"].append({"target": target, **{key: row[key] for key in columns}})
        yield table
