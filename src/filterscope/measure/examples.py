"""`filterscope examples`: the natural images that excite each unit most, computed once and kept."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from filterscope.measure.alternatives import LEAST_PHOTOGRAPHS
from filterscope.measure.natural import (
    NaturalActivations,
    OnSkip,
    check_layers,
    images_digest,
    natural_activations,
    recall,
    remember,
)
from filterscope.networks.network import Network
from filterscope.pictures.png import read_image
from filterscope.pictures.reading import list_images, mode_of
from filterscope.pictures.sheet import Tile, compose
from filterscope.sides import Size, cropped


def find_examples(
    network: Network,
    layers: Sequence[str],
    folder: Path,
    *,
    size: Size | None = None,
    fresh: bool = False,
    shown: bool | None = None,
    on_skip: OnSkip | None = None,
) -> dict[str, NaturalActivations]:
    """Each layer's natural activations over a folder of pictures, from the cache where it has them.

    layers: layer names, or "*" for all. shown: whether to show a progress bar (None: on a terminal).
    on_skip: called with each file that cannot be read, which is left out; None gives a warning. ImageError where
    none can be read.
    """
    from tqdm.auto import tqdm

    mode_of(network.input.channels, network.name)  # before any picture is read
    names = check_layers(network, layers)
    folder = folder.absolute()
    images = list_images(folder)
    digest, side = images_digest(images), size or network.input.size
    known = {} if fresh else {n: recall(network, n, images=digest, size=side) for n in names}
    missing = [n for n in names if _lacks_something(known.get(n))]
    computed: dict[str, NaturalActivations] = {}
    if missing:
        with tqdm(
            total=len(images), unit="picture", disable=None if shown is None else not shown, leave=False
        ) as bar:
            computed = natural_activations(
                network,
                missing,
                images,
                folder=folder,
                size=side,
                on_batch=lambda done: bar.update(done - bar.n),
                on_skip=on_skip or _warn,
            )
        for found in computed.values():
            remember(network, found, images=digest, size=side)
    return {n: computed.get(n) or known[n] for n in names}  # type: ignore[misc]


def _lacks_something(known: NaturalActivations | None) -> bool:
    """Whether activations are not known, or only as an older filterscope kept them."""
    return known is None or (known.tested_best is None and len(known.images) >= LEAST_PHOTOGRAPHS)


def _warn(path: Path, why: str) -> None:
    warnings.warn(f"left out: {why}", stacklevel=4)


def unit_rows(found: NaturalActivations) -> list[dict[str, Any]]:
    """One row a unit, for machines: mean, p99, best, and the nine best pictures with their activations."""
    return [
        {
            "layer": found.layer,
            "unit": unit,
            "mean": float(found.mean[unit]),
            "p99": float(found.p99[unit]),
            "best": float(found.best[unit]),
            "top": [found.images[i] for i in found.top[unit]],
            "top_activations": [float(v) for v in found.top_values[unit]],
        }
        for unit in range(len(found.best))
    ]


def example_sheet(
    network: Network, found: NaturalActivations, units: Sequence[int], folder: Path
) -> Image.Image:
    """A row of its best nine pictures for each unit, from the folder in which they were found."""
    names = network.class_names(found.layer)
    tiles = [
        Tile(
            _as_seen(read_image(folder / found.images[i]), network.input.size),
            (names[unit][0] if names else f"filter: {unit}") if place == 0 else "",
        )
        for unit in units
        for place, i in enumerate(found.top[unit])
    ]
    return compose(tiles, columns=found.top.shape[1], side=112)


def _as_seen(image: Image.Image, size: Size) -> Image.Image:
    """The part of a photograph that the network is shown."""
    return image.convert("RGB").crop(cropped((image.height, image.width), size))
