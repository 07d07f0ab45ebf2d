"""Weights files opened by their ending, and compared with what a network wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from filterscope.errors import WeightsError
from filterscope.networks.files.kinds import require_weights
from filterscope.networks.weights.hdf5 import hdf5_table
from filterscope.networks.weights.table import Array, Slots, Table, WeightTable, sha256_file

FORMATS = (".safetensors", ".weights.h5", ".h5")


def open_weights(path: str | Path, slots: Slots) -> WeightTable:
    """The weights in a file (.safetensors, .weights.h5, .h5), compared with what the network wants."""
    path = Path(path)
    require_weights(path, takes=("safetensors", "hdf5"))
    if path.name.endswith(".safetensors"):
        table = _safetensors(path)
    elif path.name.endswith((".h5", ".hdf5")):
        table = hdf5_table(path, path.name, slots)
    else:
        raise WeightsError(f"{path.name!r}: a weights file ends in {', '.join(FORMATS)}")
    for name in table:
        if name not in slots and table[name]:
            tensor, shape, _ = table[name][0]
            raise WeightsError(
                f"{path.name} is of another architecture: {name}/{tensor} {list(shape)} is not in this network"
            )
    weights = WeightTable(path.name, slots, table, lambda: sha256_file(path), path)
    weights.check()
    return weights


_ORDER = (
    "kernel",
    "depthwise_kernel",
    "pointwise_kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
)


def _safetensors(path: Path) -> Table:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} is no whole safetensors file (cut short?): {error}") from error

    def reader(name: str) -> Callable[[], Array]:
        def read() -> Array:
            with safe_open(path, framework="np") as file:
                return np.asarray(file.get_tensor(name))

        return read

    table: Table = {}
    for name in sorted(
        shapes, key=lambda n: _ORDER.index(v) if (v := n.rpartition("/")[2]) in _ORDER else 99
    ):
        layer, _, tensor = name.rpartition("/")
        table.setdefault(layer, []).append((tensor, shapes[name], reader(name)))
    return table
