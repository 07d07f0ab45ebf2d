"""`filterscope concepts`: concepts of a layer found in images, drawn, with importance and best crops, as a folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from PIL import Image

from filterscope.api import Asked, DrawingOptions
from filterscope.errors import ArgumentError
from filterscope.factorization.crops import crop_image
from filterscope.factorization.finding import Found, Request, find, rows_of
from filterscope.factorization.importance import How
from filterscope.factorization.page import write_page
from filterscope.pictures import Picture
from filterscope.pictures.sheet import BACKGROUND, Tile, compose, save_sheet
from filterscope.pictures.shown import Shown
from filterscope.report import add_to_report, stamped

SIDE = 112  # of a tile and of a crop, in pixels
ON_SHEET = 5  # crops beside each picture


@dataclass(frozen=True, eq=False)
class FoundConcepts(Shown):
    """Concepts that were found in images, each drawn: `names`, `directions` (count, channels) float32, `share` of each in
    what all explain, `importance` by class, `pictures`; it shows itself in a notebook as a sheet of pictures and crops."""

    found: Found = field(repr=False)
    pictures: list[Picture] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """A name for each: the class that a third or more of its best crops are of, else `concept 3`."""
        return self.found.names

    @property
    def directions(self) -> Any:
        """(count, channels), float32, of length 1 each, none of it below 0."""
        return self.found.factors.directions

    @property
    def share(self) -> list[float]:
        """Of each in what all of them explain; they add up to 1."""
        return [float(value) for value in self.found.factors.share]

    @property
    def importance(self) -> dict[str, list[float]]:
        """By class, of each concept."""
        return self.found.importance

    def to_pil(self) -> Image.Image:
        """The sheet: a row for each concept, its picture and its best crops."""
        tiles = []
        blank = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
        for number, picture in enumerate(self.pictures):
            label = f"{number}: {self.names[number]}"
            tiles.append(Tile(picture.to_pil(), label, f"{self.share[number]:.0%} of what is explained"))
            crops = [
                crop_image(self.found.folder / self.found.images[c.image], c.box, SIDE)
                for c in self._best(number)
            ]
            tiles += [Tile(image) for image in [*crops, *[blank] * (ON_SHEET - len(crops))]]
        return compose(tiles, columns=ON_SHEET + 1, side=SIDE)

    def _best(self, number: int) -> Sequence[Any]:
        return self.found.best(number)[:ON_SHEET]

    def report(self) -> list[dict[str, Any]]:
        """The rows of report.json, one a concept."""
        rows = zip(self.pictures, rows_of(self.found), strict=True)
        return stamped([{**picture.report(f"{picture.stem}.png"), **row} for picture, row in rows])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write LAYER.concepts.safetensors, the pictures, concepts.png, report.json and a page into a folder; the page's
        path."""
        folder = Path(path)
        self.found.write(folder)
        for picture in self.pictures:
            picture.save(folder / f"{picture.stem}.png")
        return self.finish(folder)

    def finish(self, folder: Path, on_moved: Callable[[Path], object] = lambda _: None) -> Path:
        """The sheet, the report and the page, where the file and the pictures are there; on_moved: called with where a sheet
        of other pictures that was there is now."""
        shown = [f"{picture.stem}.png" for picture in self.pictures]
        moved = save_sheet(self.to_pil(), folder / "concepts.png", shown)
        if moved is not None:
            on_moved(moved)
        add_to_report(folder, self.report())
        return write_page(folder, self.found, self.pictures)


def find_concepts(
    network: Any,
    layer: str,
    images: str | os.PathLike[str],
    *,
    count: int = 25,
    crop: float = 0.3,
    importance: How = "sobol",
    **options: Unpack[DrawingOptions],
) -> FoundConcepts:
    """Find concepts of a layer in a folder of images, and draw each (CRAFT: Fel et al. 2023, "Concept Recursive Activation
    FacTorization for Explainability").

    The layer's values for crops of the images, each a mean over space, are taken apart into `count` directions and
    weights that are not negative, by scikit-learn's NMF (extra: concepts). A concept is drawn as a direction; its best
    crops are those in which it weighs most. Values below 0 count as 0 where they are small (SiLU, GELU); else the layer is
    refused.

    images: a folder; its subfolders are the classes, else those that the network names are. crop: a crop's side as a
    share of the image's shorter side. importance: how much a class depends on each concept, by Sobol's total indices
    ("sobol"), gradient times concept ("gradient") or not at all ("none"), for the eight classes of most images, six
    images of each. Options as for `visualize`.

    Raises TargetError for a layer that is not there, ArgumentError for what cannot be found so, ImageError where no image
    can be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(4):
    ...         Image.new("RGB", (64, 64), (60 * i, 80, 200)).save(f"{folder}/{i}.png")
    ...     found = find_concepts(
    ...         "tiny-vgg16", "block1_conv1", folder, count=2, importance="none", steps=1, size=32, progress=False
    ...     )
    >>> found.directions.shape
    (2, 32)
    """
    asked = Asked.read(network, f"layer({layer})", options)
    request = Request(count, crop, importance, asked.run.seed)
    found = find(
        asked.network, checked_layer(asked, layer), Path(images), request, shown=asked.progress,
        on_skip=lambda path, why: warnings.warn(f"left out: {why}", stacklevel=3),
    )  # fmt: skip
    pictures = list(replace(asked, goals=[*found.goals()]).pictures())
    return FoundConcepts(found, pictures)


def checked_layer(asked: Asked, layer: str) -> str:
    """The layer that is meant; ArgumentError for other than a layer's name."""
    (goal,) = asked.goals
    if goal.layers != (layer.strip(),):
        raise ArgumentError(f"concepts are found at one layer, by its name (got {layer!r})")
    return layer.strip()
