"""How far natural images excite each unit: mean, 99th percentile, best, and which forty are best.

Computed by `filterscope examples`, kept in the cache by the weights' hash, shipped for the embedded network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from filterscope.cache import cache_folder
from filterscope.errors import ArgumentError, ImageError, OutputError
from filterscope.files import safe_name, writing
from filterscope.formats import NATURAL
from filterscope.measure.classify import class_layer
from filterscope.measure.concepts import ConceptUnits
from filterscope.measure.gathering import Gathered
from filterscope.measure.selectivity import exciting, folder_classes
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.notices import log_once
from filterscope.objective import Objective
from filterscope.pictures.reading import load_batch
from filterscope.sides import Size, sides_of
from filterscope.target import Target

MAX_ACTIVATION_BYTES = 256 * 2**20  # bytes of a batch's maps, of all layers that are measured together

OnSkip = Callable[[Path, str], object]  # a file that could not be read, and why


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


@dataclass(frozen=True)
class Activations:
    """What a network's layers gave for a set of images: `layers` by name, the images' `names` within `folder`; `named`, the
    number of each one's first class, where that was asked for."""

    layers: dict[str, Gathered]
    names: tuple[str, ...]
    folder: str
    named: np.ndarray | None = None


def natural_activations(
    network: Network,
    layers: Sequence[str],
    images: Sequence[Path],
    *,
    folder: Path | None = None,
    size: Size | None = None,
    batch: int | None = None,
    on_batch: Callable[[int], object] | None = None,
    on_skip: OnSkip | None = None,
    concepts: Mapping[str, ConceptUnits] | None = None,
) -> dict[str, NaturalActivations]:
    """Run the network over the images, once for all layers, in batches, in float32.

    folder: what the images' names are relative to; the first one's own folder where it is None.
    batch: images at a time; as many as keep the maps of the layers within 256 MiB where it is None.
    on_batch: called with how many images are done. on_skip: called with each file that is no picture, which is left out;
    without it such a file raises ImageError, as does a set that has no picture at all.

    concepts: by the names among `layers` that stand for a file's concepts, these: the units are the concepts.

    The images' classes are the folders that they lie in; without such folders those that the network names, where it has
    classes whose weights are here.
    """
    place = images[0].parent if folder is None else folder
    by_folder = folder_classes([_name(path, place) for path in images]) is not None
    classes = None if by_folder else _own_classes(network, size or network.input.size)
    before = _named_before(network, images, size or network.input.size) if classes else None
    found = gather(
        network,
        layers,
        images,
        folder=place,
        size=size,
        batch=batch,
        on_batch=on_batch,
        on_skip=on_skip,
        classes=classes if before is None else None,
        concepts=concepts,
    )
    of_folders = folder_classes(found.names)
    named = found.named if before is None else before.get(found.names)
    names, numbers = of_folders or (tuple(_class_names(network, classes)), named)
    return {
        layer: NaturalActivations(
            layer=layer, images=found.names, folder=found.folder, class_names=names, by_folder=of_folders is not None,
            **rows.arrays(numbers),
        )
        for layer, rows in found.layers.items()
    }  # fmt: skip


@in_our_torch
def gather(
    network: Network,
    layers: Sequence[str],
    images: Sequence[Path],
    *,
    folder: Path,
    size: Size | None = None,
    batch: int | None = None,
    on_batch: Callable[[int], object] | None = None,
    on_skip: OnSkip | None = None,
    classes: str | None = None,
    concepts: Mapping[str, ConceptUnits] | None = None,
) -> Activations:
    """Every unit's activation for every image; arguments as for `natural_activations`.

    classes: a layer of classes, whose first one is noted for each image.
    """
    known = concepts or {}
    probed = [known[name].layer if name in known else name for name in layers]
    probed += [classes] if classes else []
    probe = network.probe(probed).eval()
    gathered = {layer: Gathered() for layer in layers}
    names: list[str] = []
    named: list[torch.Tensor] = []
    more = [
        name for name, one in known.items() for _ in range(-(-one.count // network.layer(one.layer).units))
    ]
    batch = batch or images_together(
        network, [*probed, *(known[n].layer for n in more)], size or network.input.size
    )
    for begin in range(0, len(images), batch):
        some = images[begin : begin + batch]
        read = _load(some, network, size, on_skip)
        names += [_name(path, folder) for path, _ in read]
        if read:
            pixels = torch.stack([values for _, values in read])
            with torch.no_grad():
                maps = probe(network.input.preprocess(pixels).to(memory_format=torch.channels_last))
            for layer, found in zip(layers, maps[: len(layers)], strict=True):
                gathered[layer].add(known[layer].of_maps(found) if layer in known else found)
            named += [maps[-1].argmax(1)] if classes else []
        if on_batch is not None:
            on_batch(begin + len(some))
    if not names:
        raise ImageError(f"none of the {len(images)} files in {str(folder)!r} can be read as a picture")
    numbers = torch.cat(named).numpy().astype(np.int32) if classes else None
    return Activations(gathered, tuple(names), str(folder), numbers)


def _own_classes(network: Network, size: Size) -> str | None:
    """The network's layer of classes, where it has one whose weights are here."""
    try:
        layer = class_layer(network)
        return layer if network.is_here(layer) and network.runs(layer, size) else None
    except ArgumentError:
        return None


def _class_names(network: Network, layer: str | None) -> list[str]:
    if layer is None:
        return []
    names = network.class_names(layer)
    return [name[0] for name in names] if names else [str(i) for i in range(network.layer(layer).units)]


def images_together(network: Network, layers: Sequence[str], size: Size) -> int:
    """How many images go through the network together."""
    numbers = sum(math.prod(network.layer(layer).output_shape) for layer in layers)
    return max(
        1,
        min(
            100,
            int(
                MAX_ACTIVATION_BYTES
                / (4 * numbers * math.prod(sides_of(size)) / math.prod(sides_of(network.input.size)))
            ),
        ),
    )


def _load(
    paths: Sequence[Path], network: Network, size: Size | None, on_skip: OnSkip | None
) -> list[tuple[Path, torch.Tensor]]:
    """The pictures' pixel values beside their paths; the unreadable are left out where `on_skip` is given."""
    read = []
    for path in paths:
        try:
            read.append((path, load_batch([path], network.input, size=size)[0]))
        except ImageError as error:
            if on_skip is None:
                raise
            on_skip(path, str(error))
    return read


def _name(path: Path, folder: Path) -> str:
    """A file's name within the folder, with `/` on every machine; its whole path where it lies elsewhere."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def layers_with_units(network: Network) -> list[str]:
    """The layers whose units are worth a picture: all that have trained weights, but for plain plumbing."""
    plumbing = ("InputLayer", "Rescaling", "Normalization", "Flatten", "Dropout", "ZeroPadding2D")
    return [n for n, row in network.layers.items() if row.kind not in plumbing and network.has_weights(n)]


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


def _named_before(
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


def chosen_units(network: Network, texts: Sequence[str]) -> set[tuple[str, int]]:
    """The layers and units that texts as "LAYER:3,7" name, of a layer alone all; empty where they name layers alone."""
    chosen = [network.selection(text) for text in texts if text != "*"]
    if "*" in texts or not any(one.units for one in chosen):
        return set()
    whole = [replace(one, units=one.units or "*") for one in chosen]
    return {(target.layer, target.unit) for one in whole for target in network.targets(one)}


def check_layers(network: Network, texts: Sequence[str]) -> list[str]:
    """Layer names, or "*" for all; ArgumentError where there is nothing to measure."""
    if "*" in texts:
        return layers_with_units(network)
    if not texts:
        raise ArgumentError("name a layer, or '*' for all")
    for text in texts:
        network.targets(text)
    return list(dict.fromkeys(network.selection(text).layer for text in texts))
