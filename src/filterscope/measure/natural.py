"""How far natural images excite each unit: mean, 99th percentile, best, and which forty are best.

Computed by `filterscope examples`, kept in the cache by the weights' hash, shipped for the embedded network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from filterscope.cache import cache_folder
from filterscope.errors import ArgumentError, OutputError
from filterscope.files import safe_name, writing
from filterscope.formats import NATURAL
from filterscope.measure.selectivity import exciting
from filterscope.networks.network import Network
from filterscope.notices import log_once
from filterscope.objective import Objective
from filterscope.sides import Size
from filterscope.target import Target


@dataclass(frozen=True)
class NaturalActivations:
    """Of one layer over a set of natural images, per unit.

    mean, p99, best: (units,) of the unit's activation (a channel's mean over space). peak: (units,), the
    largest value at any place of any image. top: (units, 40) numbers of the images with the largest
    activations, best first (all of them where there are fewer); top_values: their activations. images: the files'
    names within `folder`, by number.

    None where an older file lacks them: top_places (units, 40, 2), row and column of the largest value on the
    map of each of the best (0, 0 of a dense layer); least (units,), the smallest activation; histogram
    (units, 32), how many images have an activation in each of 32 equal steps from least to best; tested_best,
    tested_median (units, K), numbers of images of each unit's best 2 % and from around its median (see
    alternatives.py), None of fewer than 50 images too; sparsity (units,), see selectivity.py.

    Where the images have classes, those of their folders or else those that the network itself names first:
    class_names; image_classes (images,), each one's; selectivity (units,); of each unit the classes that excite it most,
    class_order (units, C) with class_means, and their best images, class_top (units, C, K), -1 for none, with
    class_top_values. by_folder: whether the classes are folders.
    """

    layer: str
    mean: np.ndarray
    p99: np.ndarray
    best: np.ndarray
    peak: np.ndarray
    top: np.ndarray
    top_values: np.ndarray
    images: tuple[str, ...]
    folder: str = ""
    top_places: np.ndarray | None = None
    least: np.ndarray | None = None
    histogram: np.ndarray | None = None
    tested_best: np.ndarray | None = None
    tested_median: np.ndarray | None = None
    sparsity: np.ndarray | None = None
    image_classes: np.ndarray | None = None
    selectivity: np.ndarray | None = None
    class_order: np.ndarray | None = None
    class_means: np.ndarray | None = None
    class_top: np.ndarray | None = None
    class_top_values: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    by_folder: bool = False

    @property
    def digest(self) -> str:
        """Tells one set of images from another by their names."""
        return hashlib.sha256("\n".join(self.images).encode()).hexdigest()[:16]

    def examples(self, unit: int) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the images that excite a unit most, best first, forty at most, and their activations; none of those
        that do not excite it, whose activation is 0."""
        there = exciting(self.top_values[unit])
        return self.top[unit][there], self.top_values[unit][there]

    @property
    def edges(self) -> np.ndarray | None:
        """Where the steps of the histogram begin and end, (units, 33), or None where there is none."""
        if self.least is None or self.histogram is None:
            return None
        return np.linspace(self.least, self.best, self.histogram.shape[1] + 1, axis=1)

    def best_class(self, unit: int) -> str | None:
        """The name of the class that excites the unit most; None where none does or the images have no classes."""
        if self.class_order is None or self.selectivity is None or np.isnan(self.selectivity[unit]):
            return None
        return self.class_names[int(self.class_order[unit, 0])]


ARRAYS = ("mean", "p99", "best", "peak", "top", "top_values")
LATER_ARRAYS = (  # that older files lack
    "top_places", "least", "histogram", "tested_best", "tested_median", "sparsity", "image_classes", "selectivity",
    "class_order", "class_means", "class_top", "class_top_values",
)  # fmt: skip


def images_digest(images: Sequence[Path]) -> str:
    """Identifies a set of image files by names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in images:
        try:
            stat = path.stat()
        except OSError:  # a link to nothing: no picture, which is an error when it is read
            continue
        digest.update(os.fsencode(path) + f"|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def remember(network: Network, found: NaturalActivations, *, images: str, size: Size) -> None:
    """Keep a layer's activations in the cache; a cache that cannot be written is no error."""
    meta = {
        "images": images,
        "size": size,  # of a pair a list, as JSON has it
        "layer": found.layer,
        "folder": found.folder,
        "names": list(found.images),
        "class_names": list(found.class_names),
        "by_folder": found.by_folder,
    }
    arrays = {n: getattr(found, n) for n in (*ARRAYS, *LATER_ARRAYS)}
    with (
        contextlib.suppress(OutputError),
        writing(_cached(network, found.layer)) as spare,
        spare.open("wb") as file,
    ):
        known = {name: array for name, array in arrays.items() if array is not None}
        np.savez(file, meta=np.array(json.dumps(NATURAL.stamped(meta))), **known)


def recall(
    network: Network, layer: str, *, images: str | None = None, size: Size | None = None
) -> NaturalActivations | None:
    """A layer's natural activations: those shipped with the embedded network, else from the cache, else None.

    With `images` and `size` only those computed from that very set at that size. A set that is shipped stays
    the measure of excitation whatever a person looks up in a folder of their own.
    """
    if images is None and (known := shipped(network, layer)) is not None:
        return known
    return looked_up(network, layer, images=images, size=size)


def looked_up(
    network: Network, layer: str, *, images: str | None = None, size: Size | None = None
) -> NaturalActivations | None:
    """The same from the cache alone: over photographs of a person's own, in the folder that they were found in."""
    try:
        with _cached(network, layer).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            record = json.loads(str(file["meta"]))
            if words := NATURAL.too_new(record, str(_cached(network, layer))):
                log_once(logging.WARNING, "%s; what excites %s most is taken as not known", words, layer)
                return None
            meta = NATURAL.newest(record, layer)
            arrays = _arrays(file)
        if meta["layer"] != layer:
            return None
        asked = (images, list(size) if isinstance(size, tuple) else size)
        if images is not None and (meta["images"], meta["size"]) != asked:
            return None
        return NaturalActivations(
            layer=layer, **arrays, images=tuple(meta["names"]), folder=meta["folder"],
            class_names=tuple(meta["class_names"]), by_folder=bool(meta["by_folder"]),
        )  # fmt: skip
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError, ArgumentError,
        zipfile.BadZipFile, zlib.error,
    ):  # fmt: skip
        return None


def named_before(
    network: Network, images: Sequence[Path], size: Size
) -> dict[tuple[str, ...], np.ndarray] | None:
    """The classes that the network named of these very images while another layer was measured, by the images' names; None
    where they are not known. So the whole network runs once over a set of images, however many layers are looked up."""
    asked = (images_digest(images), list(size) if isinstance(size, tuple) else size)
    for place in sorted(_cached(network, "any").parent.glob("*.npz")):
        try:
            with np.load(place, allow_pickle=False) as file:
                meta = json.loads(str(file["meta"]))
                if (meta["images"], meta["size"], meta["by_folder"]) == (*asked, False):
                    return {tuple(meta["names"]): file["image_classes"]}
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            continue
    return None


def shipped(network: Network, layer: str) -> NaturalActivations | None:
    """The embedded network's own, measured over the 10,000 validation pictures of Tiny ImageNet."""
    place = resources.files("filterscope.networks") / "data" / f"{network.name}.natural.npz"
    if not place.is_file():
        return None
    with resources.as_file(place) as path, np.load(path, allow_pickle=False) as file:
        if str(file["weights_sha256"]) != network.weights.sha256 or f"{layer}/best" not in file:
            return None
        arrays = _arrays(file, f"{layer}/")
        count = int(file["images"])
    return NaturalActivations(layer=layer, **arrays, images=tuple(f"val-{i:05d}" for i in range(count)))


def _arrays(file: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, Any]:
    """One layer's arrays in a file, those of LATER_ARRAYS where it has them."""
    later = [name for name in LATER_ARRAYS if f"{prefix}{name}" in file]
    return {name: file[f"{prefix}{name}"] for name in (*ARRAYS, *later)}


def natural_best(network: Network, goals: Sequence[Objective]) -> list[float | None]:
    """Each target's largest activation on natural images, None where none are known.

    Of a channel the largest mean over space; of a neuron the largest value at any place; of anything but a
    unit nothing is known.
    """
    targets = {g.layer for g in goals if isinstance(g, Target)}
    known = {layer: recall(network, layer) for layer in targets}

    def best(goal: Objective) -> float | None:
        found = known[goal.layer] if isinstance(goal, Target) else None
        if found is None or not isinstance(goal, Target):
            return None
        return float((found.peak if goal.at else found.best)[goal.unit])

    return [best(goal) for goal in goals]


def _cached(network: Network, layer: str) -> Path:
    name = safe_name(layer, also="-#@")
    fed = hashlib.sha256(network.name.encode()).hexdigest()[:12] if "?" in network.name else ""
    key = (
        f"{network.weights.sha256}-{fed}" if fed else network.weights.sha256
    )  # fed otherwise, excited otherwise
    return cache_folder() / "natural" / key / f"{name}.npz"
