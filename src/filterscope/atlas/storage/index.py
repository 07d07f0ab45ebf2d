"""The index of an atlas: one row a picture, in a Parquet file that pandas opens.

    table = read_index("out/atlas")              # a pyarrow.Table; its columns are in docs/atlas-format.md

A layer that is finished has its rows in `layer.parquet`, one that is not yet in its chunks' journals. The index
is put together from these, a row group a layer, and holds one layer in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import EXTRA, Store, open_store
from filterscope.errors import ArgumentError, DamagedError, first_line
from filterscope.formats import ATLAS

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = "index.parquet"
LAYER_TABLE = "layer.parquet"  # in a layer's folder


def import_pyarrow() -> Any:
    """pyarrow, or ArgumentError that names the extra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ArgumentError(f"an atlas needs pyarrow: {EXTRA}") from None
    return pyarrow


def make_schema() -> pa.Schema:
    """The columns of the index, in order."""
    pa = import_pyarrow()
    text, whole, number, half = pa.string(), pa.int32(), pa.float64(), pa.float32()
    example = {"image": text, "file": text, "activation": half, "row": half, "column": half}
    examples = pa.list_(pa.struct(list(example.items())))
    columns = {
        "network": text, "layer": text, "unit": whole, "facet": whole, "class_name": text, "status": text, "reason": text,
        "activation": number, "excitation": number, "probability": number, "start": number,
        "legibility": number, "legibility_ceiling": number, "attempt": whole,
        "seconds": number, "seed": pa.int64(), "recipe": text, "file": text, "bytes": pa.int64(),
        "alpha": text, "curve": pa.list_(half), "natural_mean": half, "natural_p99": half, "natural_best": half,
        "histogram": pa.list_(whole), "histogram_low": half, "histogram_high": half,
        "examples": examples, "crops": text,
        "classes": pa.list_(pa.struct([("name", text), ("mean", half), ("examples", examples)])),
        "best_class": text, "selectivity": half, "sparsity": half, "clarity": half, "polysemanticity": half,
        "label": text, "label_similarity": number,
        "alike": pa.list_(pa.struct([("unit", whole), ("likeness", half)])), "rank": whole, "top_unit": whole,
    }  # fmt: skip
    return pa.schema(list(columns.items()))


def read_index(address: str | os.PathLike[str] | Store) -> pa.Table:
    """The whole index of an atlas as a table; ArgumentError where there is none."""
    store = address if isinstance(address, Store) else open_store(address)
    try:
        return read_table(store, INDEX)
    except FileNotFoundError:
        raise ArgumentError(
            f"{store.address} holds no atlas ({INDEX} is not there); filterscope atlas NET with out=DIR makes one"
        ) from None
    except DamagedError as error:
        raise ArgumentError(str(error)) from None


def list_network_folders(store: Store) -> list[str]:
    """The folders of the networks in an atlas, in the order in which they came."""
    atlas = store.read_json("atlas.json")
    if atlas is None:
        return []
    where = f"{store.address}/atlas.json"
    atlas = ATLAS.newest(atlas, where) if isinstance(atlas, dict) else {}
    if not isinstance(atlas.get("networks"), list):
        raise DamagedError(f"{where} is damaged: it names no networks")
    return [str(name) for name in atlas["networks"]]


def make_table(rows: Iterable[Row]) -> pa.Table:
    """Rows as a table of the index's columns; what a row does not hold is null."""
    columns = make_schema()
    names = set(columns.names)
    return import_pyarrow().Table.from_pylist([row.model_dump(include=names) for row in rows], columns)


def read_table(
    store: Store, name: str, columns: Sequence[str] | None = None, filters: Any = None
) -> pa.Table:
    """A Parquet file, of some columns or all; FileNotFoundError where it is absent, DamagedError where it is something
    else."""
    pa = import_pyarrow()
    with store.open(name) as file:
        try:
            return pa.parquet.read_table(
                file, columns=None if columns is None else list(columns), filters=filters
            )
        except pa.ArrowException as error:
            raise DamagedError(
                f"{store.address}/{name} is damaged ({first_line(error)}); remove it and run again"
            ) from None


def read_rows(
    store: Store, name: str, columns: Sequence[str] | None = None, filters: Any = None
) -> Iterator[Row]:
    """A Parquet file's rows; errors as for `read_table`."""
    for batch in read_table(store, name, columns, filters).to_batches(max_chunksize=4096):
        try:
            yield from map(Row.model_validate, batch.to_pylist())
        except ValidationError as error:
            raise DamagedError(f"{store.address}/{name} is damaged ({first_line(error)})") from None


def write_table(store: Store, name: str, tables: Iterator[pa.Table]) -> None:
    """Write tables as one Parquet file, each a row group of its own; whole or not at all."""
    pa = import_pyarrow()
    with (
        store.writing(name) as spare,
        pa.parquet.ParquetWriter(spare, make_schema(), compression="zstd") as writer,
    ):
        for table in tables:
            if len(table):
                writer.write_table(with_all_columns(table))


def with_all_columns(table: pa.Table) -> pa.Table:
    """A table of the index's columns, those null that an older filterscope did not write."""
    columns, nulls = make_schema(), import_pyarrow().nulls
    for column in columns:
        if column.name not in table.column_names:
            table = table.append_column(column, nulls(len(table), column.type))
    return table.select(columns.names)
