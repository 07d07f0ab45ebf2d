"""The index of an atlas: one row a picture, in a Parquet file that pandas opens.

    table = read_index("out/atlas")              # a pyarrow.Table; its columns are in docs/atlas-format.md

A layer that is finished has its rows in `layer.parquet`, one that is not yet in its chunks' journals. The index
is put together from these, a row group a layer, and holds one layer in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from filterscope.atlas.storage.store import EXTRA, Store, open_store
from filterscope.errors import ArgumentError, DamagedError
from filterscope.formats import ATLAS

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = "index.parquet"
PART = "layer.parquet"  # of a layer, in its folder
Row = dict[str, Any]


def import_pyarrow() -> Any:
    """pyarrow, or ArgumentError that names the extra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ArgumentError(f"an atlas needs pyarrow: {EXTRA}") from None
    return pyarrow


def schema() -> pa.Schema:
    """The columns of the index, in order."""
    pa = import_pyarrow()
    example = pa.struct(
        [
            ("image", pa.string()), ("file", pa.string()), ("activation", pa.float32()), ("row", pa.float32()),
            ("column", pa.float32()),
        ]
    )  # fmt: skip
    alike = pa.struct([("unit", pa.int32()), ("likeness", pa.float32())])
    return pa.schema(
        [
            ("network", pa.string()),
            ("layer", pa.string()),
            ("unit", pa.int32()),
            ("facet", pa.int32()),
            ("class_name", pa.string()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("activation", pa.float64()),
            ("excitation", pa.float64()),
            ("probability", pa.float64()),
            ("start", pa.float64()),
            ("attempt", pa.int32()),
            ("seconds", pa.float64()),
            ("seed", pa.int64()),
            ("recipe", pa.string()),
            ("file", pa.string()),
            ("bytes", pa.int64()),
            ("curve", pa.list_(pa.float32())),
            ("natural_mean", pa.float32()),
            ("natural_p99", pa.float32()),
            ("natural_best", pa.float32()),
            ("histogram", pa.list_(pa.int32())),
            ("histogram_low", pa.float32()),
            ("histogram_high", pa.float32()),
            ("examples", pa.list_(example)),
            ("alike", pa.list_(alike)),
            ("rank", pa.int32()),
            ("top_unit", pa.int32()),
        ]
    )


def read_index(address: str | os.PathLike[str] | Store) -> pa.Table:
    """The whole index of an atlas as a table; ArgumentError where there is none."""
    pa = import_pyarrow()
    store = address if isinstance(address, Store) else open_store(address)
    try:
        with store.open(INDEX) as file:
            return pa.parquet.read_table(file)
    except FileNotFoundError:
        raise ArgumentError(
            f"{store.address} holds no atlas ({INDEX} is not there); filterscope atlas NET --out DIR makes one"
        ) from None
    except pa.ArrowInvalid as error:
        raise ArgumentError(f"{store.address}/{INDEX} is damaged: {error}") from None


def network_folders(store: Store) -> list[str]:
    """The folders of the networks in an atlas, in the order in which they came."""
    told = store.read_json("atlas.json")
    if told is None:
        return []
    where = f"{store.address}/atlas.json"
    told = ATLAS.newest(told, where) if isinstance(told, dict) else {}
    if not isinstance(told.get("networks"), list):
        raise DamagedError(f"{where} is damaged: it names no networks")
    return [str(name) for name in told["networks"]]


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of the index's columns; what a row does not hold is null."""
    columns = schema()
    return import_pyarrow().Table.from_pylist(
        [{name: row.get(name) for name in columns.names} for row in rows], columns
    )


def write_table(store: Store, name: str, tables: Iterator[pa.Table]) -> None:
    """Write tables as one Parquet file, each a row group of its own; whole or not at all."""
    pa = import_pyarrow()
    with (
        store.writing(name) as spare,
        pa.parquet.ParquetWriter(spare, schema(), compression="zstd") as writer,
    ):
        for table in tables:
            if len(table):
                writer.write_table(table)
