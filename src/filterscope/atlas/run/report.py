"""The end of a run: the index over all networks of an atlas, and the report of what is not ok."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from filterscope.atlas.run.layer import layer_rows
from filterscope.atlas.storage.index import (
    INDEX,
    PART,
    import_pyarrow,
    network_folders,
    table_of,
    write_table,
)
from filterscope.atlas.storage.manifest import REPORT, read_manifest
from filterscope.atlas.storage.store import Store
from filterscope.errors import DamagedError

STATUSES = ("ok", "no-gain", "dead", "failed")


def write_index(store: Store) -> dict[str, dict[str, Any]]:
    """Write index.parquet and report.json from what is there; returns the report, by the networks' folders."""
    report: dict[str, dict[str, Any]] = {}
    write_table(store, INDEX, _counted(_tables(store), report))
    store.write_json(REPORT, report)
    return report


def _tables(store: Store) -> Iterator[Any]:
    """The rows of all layers of all networks, a table a layer."""
    pa = import_pyarrow()
    for folder in network_folders(store):
        manifest = read_manifest(store, folder)
        for layer in manifest["layers"] if manifest else ():
            place = f"{folder}/{layer['folder']}/{PART}"
            if store.exists(place):
                try:
                    with store.open(place) as file:
                        table = pa.parquet.read_table(file)
                except pa.ArrowException as error:
                    raise DamagedError(
                        f"{store.address}/{place} is damaged ({error}); remove it and run again"
                    ) from None
                yield table
            else:
                yield table_of(layer_rows(store, folder, layer, complete=False))


def _counted(tables: Iterator[Any], report: dict[str, dict[str, Any]]) -> Iterator[Any]:
    for table in tables:
        columns = table.select(
            ["network", "layer", "unit", "facet", "class_name", "status", "reason", "excitation"]
        )
        for row in columns.to_pylist():
            entry = report.setdefault(
                row["network"], {"pictures": 0, **dict.fromkeys(STATUSES, 0), "not_ok": []}
            )
            entry["pictures"] += row["status"] != "failed"
            entry[row["status"]] += 1
            if row["status"] != "ok":
                entry["not_ok"].append(
                    {
                        "target": f"{row['layer']}:{row['unit']}",
                        **{
                            key: row[key] for key in ("facet", "class_name", "status", "excitation", "reason")
                        },
                    }
                )
        yield table
