"""A layer's activations at one random place of each image, and how far each raises each class.

Carter et al. 2019, "Exploring Neural Networks with Activation Atlases". A place's vote for a class is the linear
approximation of what its activation adds to the logit: activation times gradient, summed over the channels. One
derivative along the activation (forward mode) gives the votes for all classes at once.
"""

from __future__ import annotations

import operator
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from filterscope.errors import ArgumentError, ImageError
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.reading import load_batch

BATCH = 50  # images at a time
RIM = 5  # maps of as many rows and columns or more leave their outermost ones out, which the padding affects
LEAST_IMAGES = 50


@dataclass(frozen=True)
class Samples:
    """names: of the images that could be read, within their folder. places: (N, 2), row and column. activations: (N, units)
    float32. votes: (N, classes) float32; None where the network has no classes behind the layer."""

    names: tuple[str, ...]
    places: np.ndarray
    activations: np.ndarray
    votes: np.ndarray | None


def check_layer(network: Network, layer: str) -> None:
    """ArgumentError for a layer whose activations are no map."""
    row = network.layer(layer)
    network.targets(f"{layer}:0")
    if not row.spatial or row.output_shape[1] * row.output_shape[2] < 2:
        maps = [name for name, one in network.layers.items() if one.spatial and one.parameters]
        raise ArgumentError(
            f"an activation atlas is of a layer whose output is a map with several places ({layer} of {network.name} has "
            f"{' x '.join(map(str, row.output_shape))}); such layers are {', '.join(maps[-3:])}"
        )


@in_our_torch
def collect(
    network: Network,
    layer: str,
    images: Sequence[Path],
    folder: Path,
    *,
    seed: int,
    on_batch: Callable[[int], object] = lambda _: None,
    on_skip: Callable[[Path, str], object] = lambda _, __: None,
) -> Samples:
    """The activations of a layer for images, each at a place that follows from the seed and the image's name alone.

    on_batch: called with how many images are done. on_skip: called with each file that is no picture. ArgumentError where
    fewer than 50 are left.
    """
    probe = network.probe([layer]).eval()
    voting = _voting(network, layer)
    names: list[str] = []
    places, activations, votes = [], [], []
    for begin in range(0, len(images), BATCH):
        some = images[begin : begin + BATCH]
        read = _read(some, network, on_skip)
        if read:
            own = [path.relative_to(folder).as_posix() for path, _ in read]
            x = network.input.preprocess(torch.stack([pixels for _, pixels in read]))
            with torch.no_grad():
                (maps,) = probe(x)
            spots = [choose_place((maps.shape[2], maps.shape[3]), seed, name) for name in own]
            rows, columns = torch.tensor(spots).T
            found = maps[torch.arange(len(maps)), :, rows, columns].float()
            names += own
            places += spots
            activations.append(found.numpy())
            if voting is not None:
                votes.append(_votes(voting, x, maps, rows, columns))
        on_batch(begin + len(some))
    if len(names) < LEAST_IMAGES:
        raise ArgumentError(
            f"an activation atlas needs {LEAST_IMAGES} images or more, and better some thousands (got {len(names)} in "
            f"{str(folder)!r})"
        )
    return Samples(
        tuple(names), np.array(places, np.int32), np.concatenate(activations), np.concatenate(votes) if votes else None
    )  # fmt: skip


def choose_place(shape: tuple[int, int], seed: int, name: str) -> tuple[int, int]:
    """A random place of a map (rows, columns), not at its rim where there is room.

    >>> choose_place((4, 1), 0, "a.png") == choose_place((4, 1), 0, "a.png")
    True
    """
    drawn = random.Random(f"{seed}/{name}")
    rims = [1 if side >= RIM else 0 for side in shape]
    row, column = (
        rim + int(drawn.random() * (side - 2 * rim)) for side, rim in zip(shape, rims, strict=True)
    )
    return row, column


def _read(
    paths: Sequence[Path], network: Network, on_skip: Callable[[Path, str], object]
) -> list[tuple[Path, Tensor]]:
    found = []
    for path in paths:
        try:
            found.append((path, load_batch([path], network.input)[0]))
        except ImageError as error:
            on_skip(path, str(error))
    return found


def classes_layer(network: Network) -> str | None:
    """The layer of the network's classes: the last that has names for its units, else the last with a softmax; None where
    there is neither."""
    layers = list(reversed(network.layers.values()))
    named = [row.name for row in layers if network.class_names(row.name)]
    return next(iter([*named, *(row.name for row in layers if row.softmax is not None)]), None)


def _voting(network: Network, layer: str) -> fx.GraphModule | None:
    """The network from preprocessed pictures and a change of the layer's maps, (B, C, H, W), to its classes' logits; None
    where it has no classes, or the layer is not on the way to them."""
    classes = classes_layer(network)
    if classes is None or classes == layer:
        return None
    row, last = network.layer(layer), network.layer(classes)
    network.part(classes)
    graph = network.cut([row.output, last.logits or last.output]).graph
    end: Any = next(node for node in graph.nodes if node.op == "output")
    maps, logits = end.args[0]
    users = [node for node in maps.users if node is not end]
    if not users:
        return None
    picture = next(node for node in graph.nodes if node.op == "placeholder")
    with graph.inserting_after(picture):
        change = graph.placeholder("change")
    with graph.inserting_after(maps):
        changed = graph.call_function(operator.add, (maps, change))
    for user in users:
        user.replace_input_with(maps, changed)
    end.args = (logits,)
    return fx.GraphModule(network.graph, graph).eval()


def _votes(voting: fx.GraphModule, x: Tensor, maps: Tensor, rows: Tensor, columns: Tensor) -> np.ndarray:
    """What the activation at each picture's place adds to each logit, (B, classes), by the derivative along it."""
    along = torch.zeros_like(maps)
    pictures = torch.arange(len(maps))
    along[pictures, :, rows, columns] = maps[pictures, :, rows, columns]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own, when it first derives forward
        both: Any = torch.func.jvp(lambda change: voting(x, change), (torch.zeros_like(maps),), (along,))
    values: np.ndarray = both[1].float().numpy()
    return values
