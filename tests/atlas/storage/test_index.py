"""index: a format that pandas reads."""

import pandas
import pytest

from filterscope.atlas.storage.index import INDEX, read_index, schema, table_of, write_table
from filterscope.errors import ArgumentError


def test_index_survives_parquet(store):
    """Rows come back as they were, by read_index and by pandas; what a row lacks is null."""
    row = {
        "network": "n", "layer": "a/b", "unit": 3, "facet": 0, "status": "ok", "seed": 2**40, "file": "n/a.b/x.png",
        "curve": [1.0, 2.5], "alike": [{"unit": 1, "likeness": 0.5}],
        "examples": [{"image": "i.jpg", "file": None, "activation": 2.0, "row": 0.5, "column": None}],
    }  # fmt: skip
    write_table(store, INDEX, iter([table_of([row]), table_of([]), table_of([{**row, "unit": 4}])]))
    table = read_index(store)
    assert table.column_names == schema().names
    first = table.to_pylist()[0]
    assert first == {**dict.fromkeys(schema().names), **row}
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
