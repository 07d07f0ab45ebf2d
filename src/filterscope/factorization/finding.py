"""Concepts of a layer from a folder of images: what is found, how it is named, and the file that it is saved as.

found = find_concepts("efficientnet-lite0", "blocks.6.0.bn3", "photographs", count=25)
found.save("out")                    # LAYER.concepts.safetensors, pictures, sheets, a page, report.json
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from filterscope.concept import Concept
from filterscope.errors import ArgumentError, ImageError
from filterscope.factorization.crops import Crop, OnSkip, read_crops
from filterscope.factorization.factors import Factors, factorize, import_nmf, require_positive
from filterscope.factorization.importance import HOWS, How, importance, mean_importance
from filterscope.factorization.tail import Tail
from filterscope.files import safe_name, writing
from filterscope.measure.classify import class_layer
from filterscope.measure.selectivity import folder_classes
from filterscope.networks.concepts.arrays import FORM
from filterscope.networks.concepts.binding import place_concepts
from filterscope.networks.concepts.table import ConceptFile, ConceptTable
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.reading import list_images
from filterscope.selection import name_key

BEST = 9  # crops of each concept that are kept
MOST_CLASSES = 8  # for which importance is measured: those of most images
MOST_IMAGES = 6  # of each of these
TOGETHER = 16  # pictures that go through the network at a time


@dataclass(frozen=True)
class Request:
    """count: concepts. crop: a crop's side as a share of the image's shorter one. importance: how it is measured."""

    count: int = 25
    crop: float = 0.3
    importance: How = "sobol"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or self.count < 1:
            raise ArgumentError(f"count is a whole number from 1 on (got {self.count!r})")
        if not 0.05 <= self.crop <= 1:
            raise ArgumentError(f"crop is a share of the image's shorter side, 0.05 to 1 (got {self.crop!r})")
        if self.importance not in HOWS:
            raise ArgumentError(f"importance is {', '.join(HOWS)} (got {self.importance!r})")


@dataclass(frozen=True, eq=False)
class Found:
    """Concepts of a layer. crops: all that were cut, one a row of `factors.weights`. images: the files' names within
    `folder`. classes: of each image its class' name, or "". importance: by class, of each concept. why_not: why there is no
    importance, "" where there is. below: the share of the layer's values, by size, that was below 0 and taken as 0."""

    network: Network
    layer: str
    request: Request
    factors: Factors = field(repr=False)
    crops: Sequence[Crop] = field(repr=False)
    images: Sequence[str] = field(repr=False)
    folder: Path
    classes: Sequence[str] = field(repr=False)
    importance: dict[str, list[float]] = field(repr=False)
    why_not: str = ""
    below: float = 0.0

    @property
    def count(self) -> int:
        """How many concepts there are."""
        return len(self.factors.directions)

    @cached_property
    def names(self) -> list[str]:
        """A name for each: the class that a third or more of its best crops are of, numbered where several have the same;
        else `concept 3`."""
        told: Counter[str] = Counter()
        names = []
        for number in range(self.count):
            of = Counter(name for crop in self.best(number) if (name := self.classes[crop.image]))
            name, crops = of.most_common(1)[0] if of else ("", 0)
            if 3 * crops < max(2, len(self.best(number))):
                names.append(f"concept {number}")
                continue
            told[name] += 1
            names.append(f"{name} {told[name]}" if told[name] > 1 else name)
        return names

    def best(self, number: int) -> list[Crop]:
        """The crops in which a concept weighs most, best first, one of each image."""
        weights = self.factors.weights[:, number]
        chosen: dict[int, Crop] = {}
        for row in np.argsort(-weights, kind="stable").tolist():
            if weights[row] <= 0 or len(chosen) == BEST:
                break
            chosen.setdefault(self.crops[row].image, self.crops[row])
        return list(chosen.values())

    def weight(self, number: int, crop: Crop) -> float:
        """A concept's weight in a crop."""
        return float(self.factors.weights[self.crops.index(crop), number])

    @property
    def file_name(self) -> str:
        """Of the file that it is saved as."""
        return f"{safe_name(self.layer)}.concepts.safetensors"

    @cached_property
    def data(self) -> bytes:
        """That file: `concepts`, float32 (count, channels), of length 1 each; what it says of them as metadata, JSON."""
        from safetensors.numpy import save

        told = {
            "layer": self.layer, "names": self.names, "network": self.network.name,
            "weights_sha256": self.network.weights.sha256, "images": len(set(self.images)), "crop": self.request.crop,
            "seed": self.request.seed, "explained": self.factors.explained, "share": self.factors.share.tolist(),
            "examples": [self.examples(number) for number in range(self.count)],
            "importance": {"how": self.request.importance, "classes": self.importance},
        }  # fmt: skip
        return save({"concepts": self.factors.directions}, metadata={FORM: json.dumps(told)})

    def examples(self, number: int) -> list[dict[str, Any]]:
        """A concept's best crops, for machines: file, box in pixels, weight."""
        return [
            {
                "image": self.images[c.image],
                "box": list(c.box),
                "weight": float(f"{self.weight(number, c):.4g}"),
            }
            for c in self.best(number)
        ]

    def write(self, folder: Path) -> Path:
        """Write the file into a folder; its path."""
        with writing(folder / self.file_name) as spare:
            spare.write_bytes(self.data)
        return folder / self.file_name

    def goals(self, place: Path | None = None) -> list[Concept]:
        """The concepts as objectives of the file as it is, or will be, at `place`."""
        table = ConceptTable(
            ".safetensors", self.factors.directions, layer=self.layer, names=tuple(self.names)
        )
        path = place or Path(self.file_name)
        file = ConceptFile(path, self.file_name, hashlib.sha256(self.data).hexdigest(), table)
        layer, file = place_concepts(self.network, file, self.layer)
        return [file.concept(number, "dot", layer) for number in range(self.count)]


def find(
    network: Network, layer: str, images: Path, request: Request, *, shown: bool | None, on_skip: OnSkip
) -> Found:
    """Find the concepts of a layer in a folder of images; ArgumentError for what cannot be found so, ImageError where no
    image can be read."""
    import_nmf()
    row = network.layer(layer)
    folder = images.absolute()
    files = list_images(folder)
    values, crops, wholes, classes, below = _measured(network, layer, files, request, shown, on_skip)
    if not crops:
        raise ImageError(f"none of the {len(files)} files in {str(images)!r} can be read as a picture")
    factors = factorize(values, request.count, request.seed)
    assert factors.directions.shape[1] == row.units
    names = [path.relative_to(folder).as_posix() for path in files]
    of_folders = folder_classes(names)
    if of_folders is not None:
        classes = {i: of_folders[0][number] for i, number in enumerate(of_folders[1])}
    found, why_not = _importances(network, layer, wholes, files, classes, factors, request, shown)
    return Found(
        network, layer, request, factors, crops, names, folder, [classes.get(i, "") for i in range(len(files))],
        found, why_not, below,
    )  # fmt: skip


@in_our_torch
def _measured(
    network: Network, layer: str, files: Sequence[Path], request: Request, shown: bool | None, on_skip: OnSkip
) -> tuple[np.ndarray, list[Crop], list[int], dict[int, str], float]:
    """The layer's values for all crops, each a mean over space, (crops, channels); the crops, the images that were read,
    the class that the network names for each, and which share of the values was below 0."""
    own = classes_of(network)
    probe = network.probe([layer, *([own] if own else [])]).eval()
    names = network.class_names(own) if own else ()
    rows: list[np.ndarray] = []
    crops: list[Crop] = []
    read: list[int] = []
    classes: dict[int, str] = {}
    negative = whole = 0.0
    with _bar(len(files), "image", shown) as bar, torch.no_grad():
        before = 0
        for number, pixels, cut, some in read_crops(files, network.input, request.crop, on_skip):
            for begin in range(0, len(cut), TOGETHER):
                maps = probe(network.input.preprocess(torch.stack(cut[begin : begin + TOGETHER])))[0].float()
                negative += float(maps.clamp(max=0).abs().sum())
                whole += float(maps.abs().sum())
                maps = maps.clamp(min=0)
                rows.append((maps.flatten(2).mean(2) if maps.ndim > 2 else maps).numpy())
            if own:
                first = int(probe(network.input.preprocess(pixels[None]))[1][0].argmax())
                classes[number] = names[first][0] if names else str(first)
            crops += some
            read.append(number)
            bar.update(number + 1 - before)
            before = number + 1
    below = require_positive(negative, whole, layer)
    values = np.concatenate(rows) if rows else np.zeros((0, network.layer(layer).units), np.float32)
    return values, crops, read, classes, below


@in_our_torch
def _importances(
    network: Network, layer: str, read: Sequence[int], files: Sequence[Path], classes: dict[int, str],
    factors: Factors, request: Request, shown: bool | None,
) -> tuple[dict[str, list[float]], str]:  # fmt: skip
    """By class, of each concept; and why there is none, "" where there is."""
    from filterscope.pictures.reading import load_pixels

    if request.importance == "none":
        return {}, "it was not asked for"
    own = classes_of(network)
    if own is None:
        return {}, f"{network.name} has no classes"
    if own not in network.layers or layer == own or not network.is_here(own):
        return {}, f"{layer} is no layer before the classes {own}, or their weights are not here"
    try:
        tail = Tail(network, layer, own)
    except ArgumentError as error:
        return {}, str(error)
    names = network.class_names(own)
    units = {name_key(n): i for i, some in reversed([*enumerate(names)]) for n in some} or {
        str(i): i for i in range(network.layer(own).units)
    }
    by_class: dict[str, list[int]] = {}
    for number in read:
        by_class.setdefault(classes.get(number, ""), []).append(number)
    known = [name for name in by_class if name_key(name) in units]
    if not known:
        return {}, "the folders of the images are called as none of the network's classes"
    chosen = sorted(known, key=lambda name: -len(by_class[name]))[:MOST_CLASSES]
    jobs = [(name, number) for name in chosen for number in by_class[name][:MOST_IMAGES]]
    found: dict[str, list[np.ndarray]] = {}
    with _bar(len(jobs), "importance", shown) as bar:
        for name, number in jobs:
            pixels = network.input.preprocess(load_pixels(files[number], network.input)[None])
            one = importance(tail, pixels, units[name_key(name)], factors, request.importance, request.seed)
            found.setdefault(name, []).append(one)
            bar.update(1)
    return {name: mean_importance(some) for name, some in found.items()}, ""


def classes_of(network: Network) -> str | None:
    """The layer of classes, None of a network that has none."""
    try:
        return class_layer(network)
    except ArgumentError:
        last = list(network.layers)[-1]
        return last if network.class_names(last) else None


def _bar(total: int, unit: str, shown: bool | None) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, unit=unit, disable=None if shown is None else not shown, leave=False)


def rows_of(found: Found) -> Iterator[dict[str, Any]]:
    """What report.json has of each concept beside its picture."""
    for number in range(found.count):
        yield {
            "concept": number, "name": found.names[number], "share": float(f"{found.factors.share[number]:.4g}"),
            "importance": {name: values[number] for name, values in found.importance.items()},
            "examples": found.examples(number),
        }  # fmt: skip
