"""The networks that are looked at, their natural activations, and which of their units are drawn."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.quality.scores import Scorer
from benchmarks.quality.spectrum import natural_profile
from PIL import Image

from filterscope.files import write_text
from filterscope.measure.activations import natural_activations
from filterscope.measure.examples import find_examples
from filterscope.measure.natural import recall
from filterscope.measure.units import layers_with_units
from filterscope.networks import Network, open_network
from filterscope.pictures.png import read_image
from filterscope.pictures.reading import list_images
from filterscope.sides import sides_of

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
# Drawn by every program, the first ones in a quick run. Of VGG16: five filters whose excitation under lucent was known,
# one that stayed grey in the blog's figures, two others. Of tiny-vgg16: three classes and some of each depth.
SIDE_BY_SIDE = {
    "vgg16": [
        ("block3_conv1", 34), ("block2_conv1", 13), ("block3_conv1", 22), ("block3_conv1", 240), ("block3_conv1", 86),
        ("block3_conv1", 210), ("block3_conv3", 40), ("block1_conv2", 5),
    ],
    "tiny-vgg16": [
        ("predictions", 65), ("block4_conv3", 7), ("predictions", 0), ("predictions", 18), ("block5_conv3", 52),
        ("block4_conv3", 100), ("block3_conv3", 40), ("block2_conv2", 12),
    ],
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
    return Scorer(net, best, natural_profile(max(sides_of(net.input.size))))


def unit_layers(network: Network) -> list[str]:
    """The layers with weights of their own: pools and activations show what the layer before them does."""
    return [n for n in layers_with_units(network) if network.layer(n).parameters]


def side_by_side(scorer: Scorer, count: int = 8) -> dict[str, list[int]]:
    """The few units that every program draws, by layer; the first of the list first where fewer are asked for."""
    chosen: dict[str, list[int]] = {}
    for layer, unit in SIDE_BY_SIDE[scorer.network.name][:count]:
        chosen.setdefault(layer, []).append(unit)
    return {layer: chosen[layer] for layer in scorer.best if layer in chosen}


def sample(
    scorer: Scorer, count: int | None, *, first: Mapping[str, Sequence[int]] | None = None
) -> dict[str, list[int]]:
    """By layer `count` units, or all: those of `first`, then others by chance, the same each time."""
    chosen = {}
    for layer in scorer.best:
        units = scorer.network.layer(layer).units
        begin = list((first or {}).get(layer, []))
        rest = [u for u in range(units) if u not in begin]
        random.Random(f"quality/{layer}").shuffle(rest)
        chosen[layer] = sorted(begin + rest[: max(0, units if count is None else count - len(begin))])
    return chosen


def texts(units: Mapping[str, Sequence[int]]) -> list[str]:
    """Target texts, one a layer."""
    return [f"{layer}:{','.join(map(str, some))}" for layer, some in units.items() if some]


def best_photographs(
    scorer: Scorer, units: Mapping[str, Sequence[int]], folder: Path | None, out: Path
) -> dict[tuple[str, int], Image.Image]:
    """For each unit the photograph of the folder that excites it most; found once, kept in `out`."""
    if folder is None:
        return {}
    known = out / f"photographs-{scorer.network.name}.json"
    names: dict[str, str] = json.loads(known.read_text()) if known.is_file() else {}
    missing = [layer for layer, some in units.items() if any(f"{layer}:{u}" not in names for u in some)]
    if missing:
        paths = list_images(folder)
        found = natural_activations(scorer.network, missing, paths)
        for layer in missing:
            for unit in units[layer]:
                names[f"{layer}:{unit}"] = str(paths[found[layer].top[unit][0]].relative_to(folder))
        write_text(known, json.dumps(names))
    return {
        (layer, unit): read_image(folder / names[f"{layer}:{unit}"]).convert("RGB")
        for layer, some in units.items()
        for unit in some
    }
