"""The activations of a network's layers over a set of images, in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from filterscope.errors import ArgumentError, ImageError
from filterscope.measure.classify import class_layer
from filterscope.measure.concepts import ConceptUnits
from filterscope.measure.gathering import Gathered
from filterscope.measure.natural import NaturalActivations, named_before
from filterscope.measure.selectivity import folder_classes
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.reading import load_batch
from filterscope.sides import Size, sides_of

MAX_ACTIVATION_BYTES = 256 * 2**20  # bytes of a batch's maps, of all layers that are measured together

OnSkip = Callable[[Path, str], object]  # a file that could not be read, and why


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
    before = named_before(network, images, size or network.input.size) if classes else None
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
