"""index: a format that pandas reads."""

import pandas
import pytest

from filterscope.atlas.storage.index import (
    INDEX,
    make_schema,
    make_table,
    read_index,
    read_table,
    write_table,
)
from filterscope.atlas.storage.rows import Row
from filterscope.errors import ArgumentError


def test_index_survives_parquet(store):
    """Rows come back as they were, by read_index and by pandas; what a row lacks is null."""
    row = {
        "network": "n", "layer": "a/b", "unit": 3, "facet": 0, "status": "ok", "seed": 2**40, "file": "n/a.b/x.png",
        "curve": [1.0, 2.5], "alike": [{"unit": 1, "likeness": 0.5}],
        "examples": [{"image": "i.jpg", "file": None, "activation": 2.0, "row": 0.5, "column": None}],
    }  # fmt: skip
    one = Row.model_validate(row)
    write_table(store, INDEX, iter(map(make_table, [[one], [], [one.model_copy(update={"unit": 4})]])))
    table = read_index(store)
    assert table.column_names == make_schema().names
    older = make_table([one]).drop_columns(["alpha"])  # of a layer that an older filterscope finished
    write_table(store, "older.parquet", iter([older, make_table([one])]))
    assert read_table(store, "older.parquet").column_names == make_schema().names
    first = table.to_pylist()[0]
    assert first == {**dict.fromkeys(make_schema().names), **row}
    with store.open(INDEX) as file:
        frame = pandas.read_parquet(file)
    assert list(frame.unit) == [3, 4]


def test_no_index(tmp_path):
    """A folder without an atlas, and one whose index is damaged."""
    with pytest.raises(ArgumentError, match="holds no atlas"):
        read_index(tmp_path)
    (tmp_path / INDEX).write_bytes(b"PAR1 no")
    with pytest.raises(ArgumentError, match="damaged"):
        read_index(tmp_path)
