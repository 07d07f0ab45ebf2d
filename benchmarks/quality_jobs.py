"""The networks that are looked at, their natural activations, and which of their units are drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from filterscope.measure.examples import find_examples
from filterscope.measure.natural import layers_with_units, recall
from filterscope.networks import Network, open_network
from quality_scores import Scorer
from quality_spectrum import natural_profile

VGG16_LAYERS = (
    "block1_conv1",
    "block1_conv2",
    "block2_conv1",
    "block2_conv2",
    "block3_conv1",
    "block3_conv2",
    "block3_conv3",
)
# Drawn by every program. Of VGG16: the five filters whose excitation under lucent was known, and filters that
# stayed grey in the blog's figures. Of tiny-vgg16: some of each depth and three classes.
SIDE_BY_SIDE = {
    "vgg16": {"block1_conv2": [5], "block2_conv1": [13], "block3_conv1": [34, 22, 240, 86, 210], "block3_conv3": [40]},
    "tiny-vgg16": {
        "block2_conv2": [12],
        "block3_conv3": [40],
        "block4_conv3": [7, 100],
        "block5_conv3": [52],
        "predictions": [0, 18, 65],
    },
}  # fmt: skip


def open_job(network: str, *, vgg16_weights: Path | None = None, images: Path | None = None) -> Scorer:
    """A network with the natural activations that its pictures are measured by."""
    if network == "vgg16":
        if vgg16_weights is None or images is None:
            raise SystemExit("vgg16 needs --vgg16-weights FILE and --images DIR")
        net = open_network("vgg16", weights=vgg16_weights)
        found = find_examples(net, VGG16_LAYERS, images)
        best = {layer: found[layer].best for layer in VGG16_LAYERS}
    else:
        net = open_network(network)
        known = {layer: recall(net, layer) for layer in unit_layers(net)}
        best = {layer: row.best for layer, row in known.items() if row is not None}
    return Scorer(net, best, natural_profile(net.input.size))


def unit_layers(network: Network) -> list[str]:
    """The layers with weights of their own: pools and activations show what the layer before them does."""
    return [n for n in layers_with_units(network) if network.layer(n).parameters]


def side_by_side(scorer: Scorer) -> dict[str, list[int]]:
    """The few units that every program draws."""
    return SIDE_BY_SIDE[scorer.network.name]


def sample(scorer: Scorer, count: int | None) -> dict[str, list[int]]:
    """By layer `count` units, or all: those of the side-by-side first, the rest by chance, the same each time."""
    chosen = {}
    for layer in scorer.best:
        units = scorer.network.layer(layer).units
        if count is None or count >= units:
            chosen[layer] = list(range(units))
            continue
        first = SIDE_BY_SIDE.get(scorer.network.name, {}).get(layer, [])
        rest = [u for u in range(units) if u not in first]
        random.Random(f"quality/{layer}").shuffle(rest)
        chosen[layer] = sorted([*first, *rest][: max(count, len(first))])
    return chosen


def texts(units: dict[str, Sequence[int]]) -> list[str]:
    """Target texts, one a layer."""
    return [f"{layer}:{','.join(map(str, some))}" for layer, some in units.items() if some]
