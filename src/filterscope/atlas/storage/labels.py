"""The labels of a network's units in an atlas: NETWORK/labels.csv, which the index takes them from.

They are kept beside the layers, not in them, so that labels come and go without a layer's being written anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from filterscope.atlas.storage.index import import_pyarrow, make_schema, with_all_columns
from filterscope.atlas.storage.store import Store
from filterscope.errors import ArgumentError, DamagedError
from filterscope.measure.labels import Label, format_labels, parse_labels

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "labels.csv"

Labels = dict[str, dict[int, Label]]  # by layer and unit


def read_kept_labels(store: Store, network: str) -> Labels:
    """The labels that an atlas keeps of a network; DamagedError where the file is something else."""
    where = f"{store.address}/{network}/{FILE}"
    try:
        found = parse_labels(store.read(f"{network}/{FILE}").decode(), where)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ArgumentError, UnicodeDecodeError) as error:
        raise DamagedError(f"{where} is damaged ({error}); remove it and give the labels again") from None
    labels: Labels = {}
    for _, label in found:
        labels.setdefault(label.layer, {})[label.unit] = label
    return labels


def keep_labels(store: Store, network: str, labels: Iterable[Label]) -> None:
    """Keep labels: those of the layers that they name take the place of what was there."""
    fresh: Labels = {}
    for label in labels:
        fresh.setdefault(label.layer, {})[label.unit] = label
    both = {**read_kept_labels(store, network), **fresh}
    text = format_labels(label for layer in both.values() for label in layer.values())
    store.write(f"{network}/{FILE}", text.encode())


def with_labels(table: pa.Table, labels: Labels) -> pa.Table:
    """A layer's table with each unit's label."""
    pa, schema = import_pyarrow(), make_schema()
    table = with_all_columns(table)
    keys = zip(table["layer"].to_pylist(), table["unit"].to_pylist(), strict=True)
    found = [labels.get(layer, {}).get(unit) for layer, unit in keys]
    values = {
        "label": [label and label.description for label in found],
        "label_similarity": [label and label.similarity for label in found],
    }
    for name, column in values.items():
        place = schema.get_field_index(name)
        table = table.set_column(place, schema.field(place), pa.array(column, schema.field(place).type))
    return table
