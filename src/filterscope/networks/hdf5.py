"""Keras' HDF5 weights files, old and new, as a table of tensors that are read when needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from filterscope.errors import NetworkError, WeightsError
from filterscope.networks.weights import Array, Slots, Table


def hdf5_config(path: Path) -> Any:
    """The config of a whole model that any Keras saved as `.h5`: plain data, of which nothing is run."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            if text is None:
                raise NetworkError(
                    f"{path.name} holds weights alone, no model: name the network and pass it as --weights"
                )
            return json.loads(_text(text))
    except (OSError, KeyError, RuntimeError, ValueError, RecursionError) as error:
        raise NetworkError(f"{path.name} is no whole HDF5 file of a model (cut short?): {error}") from error


def hdf5_table(source: Path | BinaryIO, label: str, slots: Slots) -> Table:
    """Keras 3's `.weights.h5` (layers/CLASS_N/vars/I, the layer's name beside them) and the older `.h5`."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            names = _keras3_names(file, slots) if "layers" in file else _legacy_names(file)
            shapes = {key: tuple(_dataset(file, key).shape) for keys in names.values() for key in keys}
    except (OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{label} is no whole HDF5 weights file (cut short?): {error}") from error

    def reader(key: str) -> Callable[[], Array]:
        def read() -> Array:
            with h5py.File(source, "r") as file:
                return np.asarray(_dataset(file, key)[()])

        return read

    table: Table = {}
    for layer, keys in names.items():
        wanted = slots[layer][1] if layer in slots else ()
        titles = [wanted[i].name if i < len(wanted) else f"tensor {i}" for i in range(len(keys))]
        table[layer] = [(title, shapes[key], reader(key)) for title, key in zip(titles, keys, strict=True)]
    return table


def _dataset(file: Any, key: str) -> Any:
    import h5py

    link = file.get(key, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise OSError(f"{key} points into another file, which is refused")
    found = file[key]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{key} is no tensor")
    return found


def _keras3_names(file: Any, slots: Slots) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    unnamed: list[str] = []
    for group in file["layers"]:
        variables = file.get(f"layers/{group}/vars")
        keys = [f"layers/{group}/vars/{i}" for i in range(len(variables or ()))]
        name = variables.attrs.get("name") if variables is not None else None
        if keys and name is None:
            unnamed += keys
        elif keys:
            names[str(name)] = keys
    if unnamed:  # files of the first Keras 3 releases: the class and its count stand for the name
        names.update(_by_class_order(unnamed, slots))
    return names


def _by_class_order(keys: list[str], slots: Slots) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.split("/")[1], []).append(key)

    def position(group: str) -> tuple[str, int]:
        stem, _, count = group.rpartition("_")
        return (stem, int(count)) if stem and count.isdigit() else (group, 0)

    kinds: dict[str, list[str]] = {}
    for group in sorted(groups, key=position):
        kinds.setdefault(position(group)[0], []).append(group)
    wanted: dict[str, list[str]] = {}
    for layer, (_, tensors) in slots.items():
        if tensors:
            wanted.setdefault("conv2d" if len(tensors[0].shape) == 4 else "dense", []).append(layer)
    return {
        layer: groups[group]
        for kind, found in kinds.items()
        for layer, group in zip(wanted.get(kind, found), found, strict=False)
    }


def _legacy_names(file: Any) -> dict[str, list[str]]:
    root, prefix = (file["model_weights"], "model_weights/") if "model_weights" in file else (file, "")
    layers = root.attrs.get("layer_names")
    if layers is None:
        raise KeyError("it lists no layer_names")
    names: dict[str, list[str]] = {}
    for layer in map(_text, layers):
        keys = [f"{prefix}{layer}/{_text(w)}" for w in root[layer].attrs.get("weight_names", ())]
        if keys:
            names[layer] = keys
    return names


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
