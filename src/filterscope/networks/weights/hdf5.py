"""Keras' HDF5 files, of weights or whole models, old and new, as a table of tensors that are read when needed.

A file is not trusted: links, tensors that lie in other files, and tensors that claim to be far larger than the
file are refused before anything is read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from filterscope.errors import NetworkError, WeightsError, first_line
from filterscope.networks.weights.hdf5_members import dataset_at, group_at
from filterscope.networks.weights.table import Array, Slot, Slots, Table

Keys = dict[str, list[str]]  # layer -> the paths of its tensors, in the order of its slots
DEEPEST = 64  # groups within groups
ROOTS = (
    "layers",
    "_layer_checkpoint_dependencies",
)  # of the layers' folders; the other one is TensorFlow 2.12's

# what Keras keeps out of a layer's trainable weights, and lists behind them
_UNTRAINED = ("moving_mean", "moving_variance", "mean", "variance", "count")


def hdf5_config(path: Path) -> Any:
    """The config of a whole model that any Keras saved as `.h5`: plain data, of which nothing is run."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise NetworkError(f"{path.name} is no whole HDF5 file of a model (cut short?): {error}") from error
    if text is None:
        raise NetworkError(
            f"{path.name} holds weights alone, no model: open the network that they are for, with weights={path.name!r}"
        )
    try:
        return json.loads(_text(text))
    except (ValueError, RecursionError) as error:
        raise NetworkError(
            f"the model_config in {path.name} is no whole JSON: {first_line(error)}"
        ) from error


def hdf5_table(source: Path | BinaryIO, label: str, slots: Slots) -> Table:
    """Keras 3's `.weights.h5` (layers/CLASS_N/vars/I, the layer's name beside them) and the older `.h5`."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            found = _keras3(file, slots) if any(root in file for root in ROOTS) else _legacy(file, slots)
            keys = _best(found, slots, lambda key: tuple(dataset_at(file, key).shape))
            shapes = {
                key: tuple(dataset_at(file, key).shape) for of_layer in keys.values() for key in of_layer
            }
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"{label} is no whole HDF5 weights file (cut short?): {first_line(error)}"
        ) from error

    def reader(key: str) -> Callable[[], Array]:
        def read() -> Array:
            with h5py.File(source, "r") as file:
                value = np.asarray(dataset_at(file, key)[()])
            # bfloat16 is two opaque bytes to HDF5
            return _from_bfloat16(value) if value.dtype.kind == "V" and value.dtype.itemsize == 2 else value

        return read

    table: Table = {}
    for layer, of_layer in keys.items():
        wanted = slots[layer][1] if layer in slots else ()
        titles = [wanted[i].name if i < len(wanted) else f"tensor {i}" for i in range(len(of_layer))]
        table[layer] = [
            (title, shapes[key], reader(key)) for title, key in zip(titles, of_layer, strict=True)
        ]
    return table


def _best(candidates: Sequence[Keys], slots: Slots, shape: Callable[[str], tuple[int, ...]]) -> Keys:
    """The first way to lay the file's tensors on the network's layers whose shapes all fit, else the first."""
    for keys in candidates:
        if keys and all(
            layer in slots and [shape(k) for k in of_layer] == [s.shape for s in slots[layer][1]]
            for layer, of_layer in keys.items()
        ):
            return keys
    return candidates[0]


# --- Keras 3 ------------------------------------------------------------------------------------------------


Stored = tuple[str | None, list[str]]  # of a layer: its whole name, its tensors' paths


def _keras3(file: Any, slots: Slots) -> list[Keys]:
    """By the names that lie beside the tensors (since Keras 3.8), and by classes and their count, as Keras does:
    names that it counts up for itself differ from session to session."""
    stored = dict(_stored_layers(file, "", "", 0))
    usual = _usual(file, stored)
    places = {_folder(tensors[0].store): layer for layer, (_, tensors) in slots.items() if tensors}
    by_place = _by_place(stored, {place: places.get(usual[place]) for place in stored}, slots)
    if any(name is None for name, _ in stored.values()):
        return [by_place]
    by_name = _by_name(stored, slots)
    theirs = [str(stored[place][0]) for place in stored if usual[place] in places]
    return [by_name, by_place] if _may_stand_for(theirs, list(by_place), places.values()) else [by_name]


def _by_name(stored: Mapping[str, Stored], slots: Slots) -> Keys:
    """Each layer's tensors under its stored name, in the order of the slots of that name."""
    keys: Keys = {}
    for place, (name, own) in stored.items():
        label = name if name is not None else place
        order = {s: i for i, s in enumerate(_inner_places(slots[label][1]))} if label in slots else {}
        keys[label] = sorted(own, key=lambda k: order.get(_inside(k, place), len(order)))
    return keys


def _by_place(stored: Mapping[str, Stored], layers: Mapping[str, str | None], slots: Slots) -> Keys:
    """Each layer's tensors under the name of the layer whose folder this is, in the order of its slots."""
    keys: Keys = {}
    for place, (name, own) in stored.items():
        layer = layers[place]
        if layer is None:
            keys[name or place] = own
            continue
        inside = {_inside(k, place): k for k in own}
        wanted = [p for p in _inner_places(slots[layer][1]) if p in inside]
        keys[layer] = [inside.pop(p) for p in wanted] + list(inside.values())
    return keys


def _stored_layers(file: Any, place: str, prefix: str, depth: int) -> Iterator[tuple[str, Stored]]:
    """(folder, (the layer's whole name, its tensors' paths)) of all layers that hold tensors."""
    if depth > DEEPEST:
        raise OSError(f"its groups lie more than {DEEPEST} deep")
    root = next((r for r in ROOTS if r in group_at(file, place)), ROOTS[0])
    for group in group_at(file, f"{place}{root}"):
        folder = f"{place}{root}/{group}"
        inside = group_at(file, folder)
        name = inside["vars"].attrs.get("name") if "vars" in inside else None
        whole = None if name is None or prefix is None else prefix + _text(name)
        if any(r in inside for r in ROOTS):
            yield from _stored_layers(file, f"{folder}/", f"{whole or group}/", depth + 1)
            continue
        keys = list(_tensors(file, folder, depth))
        if keys:
            yield folder, (whole, keys)


def _usual(file: Any, places: Iterable[str]) -> dict[str, str]:
    """Each layer's folder as Keras calls it since 2.13; before, layers with weights were counted twice."""
    ranks: dict[str, dict[str, int]] = {}
    found = {}
    for place in places:
        parts = place.split("/")
        usual = list(parts)
        for i in [i for i in range(0, len(parts) - 1, 2) if parts[i] == ROOTS[1]]:
            parent = "/".join(parts[: i + 1])
            if parent not in ranks:
                ranks[parent] = _ranks(group_at(file, parent))
            rank = ranks[parent][parts[i + 1]]
            usual[i], usual[i + 1] = ROOTS[0], _stem(parts[i + 1]) + (f"_{rank}" if rank else "")
        found[place] = "/".join(usual)
    return found


def _ranks(groups: Iterable[str]) -> dict[str, int]:
    """Of folders that are called alike but for a count, which each is."""
    counts: Counter[str] = Counter()
    found = {}
    for group in sorted(groups, key=lambda name: (len(name), name)):
        found[group] = counts[_stem(group)]
        counts[_stem(group)] += 1
    return found


def _tensors(file: Any, folder: str, depth: int) -> Iterator[str]:
    """The tensors' paths in a layer's folder: its own in `vars`, and those of the layers it is made of."""
    if depth > DEEPEST:
        raise OSError(f"its groups lie more than {DEEPEST} deep")
    members = group_at(file, folder)
    if "vars" in members:
        yield from (f"{folder}/vars/{i}" for i in range(len(group_at(file, f"{folder}/vars"))))
    for name in members:
        if name != "vars" and hasattr(members[name], "keys"):
            yield from _tensors(file, f"{folder}/{name}", depth + 1)


def _inside(key: str, place: str) -> str:
    """Where in its layer's folder a tensor lies; Keras 2 calls `query_dense` `_query_dense`, as its attribute is."""
    return key[len(place) + 1 :].removeprefix("_")


def _folder(store: str) -> str:
    """The layer's folder in a tensor's path: up to the last `layers/CLASS_N`."""
    found = re.match(r"(.*layers/[^/]+)/", store)
    return found[1] if found else store


def _inner_places(tensors: Sequence[Slot]) -> list[str]:
    return [slot.store[len(_folder(slot.store)) + 1 :] for slot in tensors]


# --- before Keras 3 -----------------------------------------------------------------------------------------


def _legacy(file: Any, slots: Slots) -> list[Keys]:
    """By the names of the layers, and by their order, as Keras does."""
    root = "model_weights" if "model_weights" in file else ""
    top = group_at(file, root)
    layers = top.attrs.get("layer_names")
    if layers is None:
        raise KeyError("it lists no layer_names")
    stored: Keys = {}
    for layer in map(_text, layers):
        place = f"{root}/{layer}" if root else layer
        names = group_at(file, place).attrs.get("weight_names", ())
        keys = [f"{place}/{_text(name)}" for name in names]
        if keys:
            stored[layer] = keys
    wanted = list(dict.fromkeys(name.partition("/")[0] if name not in stored else name for name in slots))
    found = [_unfolded(stored, slots)]
    if _may_stand_for(list(stored), wanted[: len(stored)], wanted):
        by_order = dict(zip(wanted, stored.values(), strict=False))
        found.append(_unfolded(by_order, slots))
    return found


def _may_stand_for(theirs: Sequence[str], ours: Sequence[str], all_of_ours: Collection[str]) -> bool:
    """Whether layers may be matched by their order alone: the file holds as many as the network has, or they are
    called alike but for the counts (`conv2d_94` for `conv2d`)."""
    if len(theirs) == len(all_of_ours):
        return True
    return len(theirs) == len(ours) and all(_stem(a) == _stem(b) for a, b in zip(theirs, ours, strict=True))


def _stem(name: str) -> str:
    return re.sub(r"_\d+$", "", name)


def _unfolded(stored: Keys, slots: Slots) -> Keys:
    """The weights of models within the model, which stand in one list, given to the layers they are of."""
    keys: Keys = {}
    for name, of_layer in stored.items():
        inner = [layer for layer in slots if layer.startswith(f"{name}/")] if name not in slots else []
        if not inner:
            keys[name] = of_layer
            continue
        order = _inner_order(inner, of_layer, slots)
        if order is None:
            keys[name] = of_layer  # refused by name
            continue
        given = dict(zip(order, of_layer, strict=True))
        for layer in inner:
            keys[layer] = [given[layer, i] for i in range(len(slots[layer][1]))]
    return keys


def _inner_order(inner: Sequence[str], stored: Sequence[str], slots: Slots) -> list[tuple[str, int]] | None:
    """(layer, which of its tensors) for each tensor of an inner model's list: by their names, or else those that are
    not trained last; None where the list is of another length."""
    places = [(layer, i) for layer in inner for i in range(len(slots[layer][1]))]
    if len(places) != len(stored):
        return None
    by_name = {_tail(layer, slots[layer][1][i].name): (layer, i) for layer, i in places}
    tails = [_key_tail(key) for key in stored]
    if len(by_name) == len(places) and set(tails) == set(by_name):
        return [by_name[tail] for tail in tails]
    last = [p for p in places if slots[p[0]][1][p[1]].name in _UNTRAINED]
    return [p for p in places if p not in last] + last


def _tail(layer: str, tensor: str) -> tuple[str, str]:
    return layer.rpartition("/")[2], tensor.rpartition("/")[2]


def _key_tail(key: str) -> tuple[str, str]:
    parts = key.removesuffix(":0").split("/")
    return parts[-2], parts[-1]


def _from_bfloat16(value: Array) -> Array:
    return (value.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(value.shape)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
