"""The classes that a network gives pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from filterscope.errors import ArgumentError
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.reading import load_pixels
from filterscope.sides import Size, as_size


@dataclass(frozen=True)
class Guess:
    """One class and its probability."""

    unit: int
    name: str
    probability: float


def class_layer(network: Network) -> str:
    """The layer whose units are the classes: the first that a softmax, or the sigmoid at the end, belongs to."""
    if network.members:
        raise ArgumentError(f"{network.name} is an ensemble: one of its networks can be asked for classes")
    for name, row in network.layers.items():
        if row.softmax is not None and not row.spatial:
            return name
    raise ArgumentError(
        f"{network.name} ends in no softmax or sigmoid, so it has no class probabilities to give"
    )


def last_maps(network: Network) -> str:
    """The last layer before the classes that has maps of more than one place and is no pool; of a network without maps the
    classes themselves.

    >>> from filterscope.networks import open_network
    >>> last_maps(open_network("tiny-vgg16"))
    'block5_conv3'
    """
    classes = class_layer(network)
    names = list(network.layers)
    for row in reversed([network.layers[name] for name in names[: names.index(classes)]]):
        several = row.spatial and row.output_shape[1] * row.output_shape[2] > 1
        if several and row.kind != "InputLayer" and "Pool" not in row.kind:
            return row.name
    return classes


@in_our_torch
def classify(
    network: Network, images: Sequence[str | os.PathLike[str]], *, top: int = 5, size: Size | None = None
) -> list[list[Guess]]:
    """For each picture file the `top` classes with their probabilities, best first."""
    layer = class_layer(network)
    part = network.part(layer, softmax=True).eval()
    names = network.class_names(layer)
    guesses = []
    for path in images:
        pixels = load_pixels(path, network.input, size=size)[None]
        network.output_shape(layer, as_size(*pixels.shape[2:]))
        with torch.no_grad():
            softmax = part(network.input.preprocess(pixels)).softmax
        best = softmax[0].topk(min(top, softmax.shape[1]))
        guesses.append(
            [
                Guess(i, names[i][0] if names else str(i), p)
                for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        )
    return guesses
