"""table.py: rows that show themselves in a notebook and go to pandas."""

import builtins

import pytest

import filterscope as fs
from filterscope.errors import ArgumentError


def test_a_table(tiny, monkeypatch):
    """Layers as a table: in a notebook escaped, in pandas by columns, without pandas an error with the extra."""
    table = fs.list_layers(tiny)
    assert len(table) == len(tiny.layers)
    assert list(table.to_pandas().columns) == table.columns
    assert table._repr_html_().startswith("<table><tr><th>name</th>")
    assert "<td>a&lt;b</td>" in fs.Table([{"name": "a<b"}])._repr_html_()
    real = builtins.__import__

    def without_pandas(name, *args, **kw):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[pandas\]'"):
        table.to_pandas()
