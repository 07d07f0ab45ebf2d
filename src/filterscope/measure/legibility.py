"""How far a unit's picture says which photographs excite the unit: the two-alternative test, answered by another network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from filterscope.errors import ImageError
from filterscope.measure.alternatives import ceiling, share_right
from filterscope.measure.classify import last_maps
from filterscope.measure.natural import NaturalActivations
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.png import read_image
from filterscope.pictures.reading import pixels_of

BATCH = 16  # pictures that go through the other network together


@dataclass
class Features:
    """Pictures as another network describes them: the mean over space of its last maps before the classifier, over its
    length. Pictures are resized to the network's own size. Those of a file are computed once.
    """

    network: Network
    known: dict[Path, np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.layer = last_maps(self.network)

    @in_our_torch
    def of(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(B, D), of unit length (0 where the network's maps are)."""
        probe, spec = self.network.probe([self.layer]).eval(), self.network.input
        found = []
        for begin in range(0, len(images), BATCH):
            pixels = torch.stack([pixels_of(image, spec) for image in images[begin : begin + BATCH]])
            with torch.no_grad():
                (maps,) = probe(spec.preprocess(pixels))
            found.append(maps.flatten(2).mean(2) if maps.ndim > 2 else maps)
        values = torch.cat(found).float().numpy()
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return np.asarray(values / np.where(length > 0, length, 1))

    def of_files(self, paths: Sequence[Path]) -> np.ndarray:
        """(B, D); ImageError for a file that cannot be read."""
        missing = [path for path in dict.fromkeys(paths) if path not in self.known]
        for begin in range(0, len(missing), BATCH):
            some = missing[begin : begin + BATCH]
            found = self.of([read_image(path) for path in some])
            self.known |= dict(zip(some, found, strict=True))
        return np.stack([self.known[path] for path in paths])


@dataclass(frozen=True)
class Legible:
    """legibility: the share of pairs in which the picture names the photograph that excites the unit, 0.5 by chance.
    ceiling: the share that the unit's own best photographs reach in its stead."""

    legibility: float
    ceiling: float | None


def pair_files(natural: NaturalActivations, unit: int) -> tuple[list[Path], list[Path]] | None:
    """The photographs of a unit's test, of its best 2 % and from around its median; None of a set of fewer than 50, or where
    they excite the unit all alike."""
    if natural.tested_best is None or natural.tested_median is None:
        return None
    if natural.least is not None and natural.least[unit] >= natural.best[unit]:
        return None
    folder = Path(natural.folder)
    best, median = natural.tested_best[unit], natural.tested_median[unit]
    return [folder / natural.images[i] for i in best], [folder / natural.images[i] for i in median]


def legibility(
    features: Features, image: Image.Image | np.ndarray, files: tuple[Sequence[Path], Sequence[Path]] | None
) -> Legible | None:
    """The two-alternative test of one picture of a channel or class, against the photographs of `pair_files`.

    image: a Pillow image, or uint8 (H, W, 3). None where there are no such photographs (any more).
    """
    if files is None:
        return None
    try:
        best, median = features.of_files(files[0]), features.of_files(files[1])
    except ImageError:
        return None
    shown = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return Legible(share_right(features.of([shown])[0], best, median), ceiling(best, median))
