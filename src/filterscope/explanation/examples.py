"""The natural images that excite a unit most, where `filterscope examples` has looked them up, each cropped to the unit's
effective receptive field in it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from filterscope.measure.fields import example_crops
from filterscope.measure.natural import looked_up
from filterscope.networks import Network
from filterscope.pictures.reading import Photograph


def natural_examples(
    network: Network, layer: str, units: Sequence[int], count: int, *, but: Photograph
) -> dict[int, list[Image.Image]]:
    """At most `count` for each unit, best first; none where they are not known or their files are gone.

    but: the photograph that is explained, which is no example, under whatever name it lies among them.
    """
    found = looked_up(network, layer)
    if found is None or not found.folder:
        return {}
    folder, is_explained = Path(found.folder), functools.cache(but.is_file)
    there: list[tuple[int, Path]] = []
    for unit in units:
        paths = (folder / found.images[i] for i in found.examples(unit)[0])
        own = (path for path in paths if path.is_file() and not is_explained(path))
        there += [(unit, path) for path in itertools.islice(own, count)]
    images: dict[int, list[Image.Image]] = {}
    for (unit, _), crop in zip(there, example_crops(network, layer, there), strict=True):
        if crop is not None:
            images.setdefault(unit, []).append(crop)
    return images
