"""`filterscope examples`: the natural images that excite each unit most, computed once and kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from filterscope.errors import ArgumentError
from filterscope.measure.activations import OnSkip, natural_activations
from filterscope.measure.alternatives import LEAST_PHOTOGRAPHS
from filterscope.measure.concepts import ConceptUnits
from filterscope.measure.fields import SIDE, example_crops
from filterscope.measure.gathering import BEST
from filterscope.measure.natural import NaturalActivations, images_digest, recall, remember
from filterscope.measure.selectivity import exciting
from filterscope.measure.units import check_layers
from filterscope.networks.network import Network
from filterscope.pictures.reading import list_images, mode_of
from filterscope.pictures.sheet import BACKGROUND, Tile, compose
from filterscope.sides import Size

SHOWN = 9  # of a unit's best images, where nothing else is asked for


def find_examples(
    network: Network,
    layers: Sequence[str],
    folder: Path,
    *,
    size: Size | None = None,
    fresh: bool = False,
    shown: bool | None = None,
    on_skip: OnSkip | None = None,
    concepts: Sequence[ConceptUnits] = (),
) -> dict[str, NaturalActivations]:
    """Each layer's natural activations over a folder of pictures, from the cache where it has them.

    layers: layer names, or "*" for all. shown: whether to show a progress bar (None: on a terminal).
    on_skip: called with each file that cannot be read, which is left out; None gives a warning. ImageError where
    none can be read. concepts: files' concepts, whose natural activations have their `key` for a layer's name.
    """
    from tqdm.auto import tqdm

    mode_of(network.input.channels, network.name)  # before any picture is read
    of_files = {one.key: one for one in concepts}
    names = [*(check_layers(network, layers) if layers or not of_files else ()), *of_files]
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
                concepts=of_files,
            )
        for found in computed.values():
            remember(network, found, images=digest, size=side)
    return {n: computed.get(n) or known[n] for n in names}  # type: ignore[misc]


def _lacks_something(known: NaturalActivations | None) -> bool:
    """Whether activations are not known, or only as an older filterscope kept them."""
    if known is None or known.sparsity is None or known.top.shape[1] < min(BEST, len(known.images)):
        return True
    return known.tested_best is None and len(known.images) >= LEAST_PHOTOGRAPHS


def _warn(path: Path, why: str) -> None:
    warnings.warn(f"left out: {why}", stacklevel=4)


def require_folders(found: NaturalActivations) -> None:
    """ArgumentError where the images lie in no folders that could be their classes."""
    if not found.by_folder:
        raise ArgumentError(
            f"the pictures in {found.folder!r} have no classes: these are the names of subfolders, two or more, with all "
            "pictures in one of them"
        )


def unit_rows(found: NaturalActivations, *, by_class: bool = False) -> list[dict[str, Any]]:
    """One row a unit, for machines: mean, p99, best, its numbers, and the best pictures, forty at most,
    with their activations; none that does not excite the unit.

    by_class: also the ten classes that excite it most, each with its mean and best pictures; ArgumentError where the
    pictures lie in no folders.
    """
    if by_class:
        require_folders(found)
    found_top = [found.examples(unit) for unit in range(len(found.best))]
    return [
        {
            "layer": found.layer,
            "unit": unit,
            "mean": float(found.mean[unit]),
            "p99": float(found.p99[unit]),
            "best": float(found.best[unit]),
            "best_class": found.best_class(unit),
            "selectivity": _number(found.selectivity, unit),
            "sparsity": _number(found.sparsity, unit),
            "top": [found.images[i] for i in top],
            "top_activations": [float(v) for v in values],
            **({"classes": list(class_rows(found, unit))} if by_class else {}),
        }
        for unit, (top, values) in enumerate(found_top)
    ]


def class_rows(found: NaturalActivations, unit: int) -> Iterator[dict[str, Any]]:
    """The classes that excite a unit most, best first: each one's name, mean activation and best pictures; none of a class
    or a picture that does not excite it."""
    orders = (found.class_order, found.class_means, found.class_top, found.class_top_values)
    if any(one is None for one in orders):
        return
    for number, mean, top, values in zip(*(one[unit] for one in orders if one is not None), strict=True):
        there = exciting(values)
        if not there.any():
            continue
        yield {
            "class": found.class_names[number],
            "mean": float(mean),
            "top": [found.images[i] for i in top[there]],
            "top_activations": [float(v) for v in values[there]],
        }


def _number(values: Any, unit: int) -> float | None:
    return None if values is None or values[unit] != values[unit] else float(values[unit])


def example_sheet(
    network: Network,
    found: NaturalActivations,
    units: Sequence[int],
    folder: Path,
    *,
    pictures: Mapping[int, Image.Image] | None = None,
    size: Size | None = None,
    count: int = SHOWN,
    by_class: bool = False,
) -> Image.Image:
    """A row of its best pictures for each unit, from the folder in which they were found, each cropped to the unit's
    effective receptive field in it (see fields.py).

    pictures: by unit the picture that was drawn of it, which stands first in its rows. size: as the network was given the
    photographs; its own where None. count: photographs of a row. by_class: a row for each of the ten classes that excite
    the unit most; ArgumentError where the pictures lie in no folders.
    """
    if by_class:
        require_folders(found)
    rows = [row for unit in units for row in _sheet_rows(found, unit, count, by_class)]
    wanted = [(unit, folder / file) for unit, _, files in rows for file in files]
    crops = example_crops(network, found.layer, wanted, size=size)
    names, blank = network.class_names(found.layer), Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    longest = max(1, *(len(files) for *_, files in rows))
    tiles = []
    for unit, caption, files in rows:
        label = names[unit][0] if names else f"filter: {unit}"
        images = [next(crops) or blank for _ in files]
        first = [pictures.get(unit, blank)] if pictures else []
        row = [*first, *images, *[blank] * (longest - len(files))]
        tiles += [
            Tile(image, label if not i else "", caption if not i else "") for i, image in enumerate(row)
        ]
    return compose(tiles, columns=longest + bool(pictures), side=SIDE)


def _sheet_rows(
    found: NaturalActivations, unit: int, count: int, by_class: bool
) -> Iterator[tuple[int, str, list[str]]]:
    """Unit, caption and files of each of its rows."""
    if not by_class:
        files = [found.images[i] for i in found.examples(unit)[0][:count]]
        yield unit, "" if files else "no picture excites it", files
        return
    classes = list(class_rows(found, unit))
    for one in classes:
        yield unit, f"{one['class']} {one['mean']:.3g}", one["top"][:count]
    if not classes:
        yield unit, "no picture excites it", []
