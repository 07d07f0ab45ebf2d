"""A complete layer's natural images as crops to each unit's effective receptive field, and how alike these are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from filterscope.atlas.storage.crops import Example, compose_crops, crops_name
from filterscope.atlas.storage.manifest import LayerEntry
from filterscope.atlas.storage.natural import NaturalRows, read_natural
from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import Store
from filterscope.measure.clarity import LEAST_EXAMPLES, clarity, polysemanticity
from filterscope.measure.concepts import ConceptUnits
from filterscope.measure.fields import (
    as_given,
    crop_to_field,
    example_fields,
    read_example,
    usual_field,
    usual_field_at,
)
from filterscope.networks.network import Network
from filterscope.sides import sides_of

EXACT = 9  # images whose own field is measured; the others are cropped to the mean of these, at their peaks
LEAST_KEPT_SIDE = 448  # of a photograph that is kept in memory, in pixels
MOST_KEPT = 512  # photographs
ENCODED = 20  # images of a unit by whose features its clarity is measured...
ENCODED_SIDE = 224  # ...as crops of this side

Encode = Callable[[Sequence[Image.Image]], np.ndarray]


@dataclass(frozen=True)
class ExampleMeasure:
    """Crops the natural images of a layer's units, of photographs in a folder. encode: features of images, (B, D), by which
    clarity and polysemanticity are measured; None where they are not. folder: the network's in the atlas. shown: whether to
    show a bar (None: on a terminal). concepts: of files, that are drawn in this run."""

    network: Network
    images: Path
    folder: str
    encode: Encode | None = None
    shown: bool | None = None
    concepts: Sequence[ConceptUnits] = ()
    _kept: dict[Path, Image.Image | None] = field(default_factory=dict, repr=False)

    def add_to(self, rows: Sequence[Row], store: Store, layer: LayerEntry) -> None:
        """Write a sheet of crops for each unit, and fill in the rows of a layer whose natural activations are of these
        photographs."""
        if not layer.natural or (layer.concepts and layer.name not in {one.name for one in self.concepts}):
            return
        from tqdm.auto import tqdm

        natural = read_natural(store, self.folder, str(layer.folder))
        there = store.sizes(f"{self.folder}/{layer.folder}")
        units = list(dict.fromkeys(row.unit for row in rows))
        hidden = None if self.shown is None else not self.shown
        for unit in tqdm(units, f"{layer.name}, photographs", unit="unit", disable=hidden, leave=False):
            name = crops_name(unit)
            own = [row for row in rows if row.unit == unit]
            if name not in there or self.encode is not None:
                examples = list(self._examples(natural, layer, unit))
                if not any(examples):
                    continue
                if name not in there:
                    store.write(f"{self.folder}/{layer.folder}/{name}", compose_crops(examples))
                self._measure(examples, own)
            for row in own:
                row.crops = f"{self.folder}/{layer.folder}/{name}"

    def _examples(self, natural: NaturalRows, layer: LayerEntry, unit: int) -> list[Example | None]:
        """The unit's best photographs with its field in each, best first; None for one that cannot be read."""
        files = natural.example_files(unit, self.images)
        one = next((one for one in self.concepts if one.name == layer.name), None)
        name, first = (one.layer if one else layer.name), [(unit, file) for file in files[:EXACT]]
        exact = list(example_fields(self.network, name, first, concepts=one, read=self._read))
        places = np.nan_to_num(natural.places[unit, : len(files)], nan=0.5)
        known = [(one[1], place) for one, place in zip(exact, places, strict=False) if one is not None]
        if not known:
            return []
        usual = usual_field([field for field, _ in known], np.array([place for _, place in known]))
        for file, place in islice(zip(files, places, strict=True), EXACT, None):
            image = self._read(file)
            exact.append(None if image is None else (image, usual_field_at(usual, place)))
        return exact

    def _read(self, file: Path) -> Image.Image | None:
        """A photograph as the network is given it, at no more than a crop needs. The last ones are kept: many units have the
        same, and a large photograph takes long to read."""
        if file not in self._kept:
            image, size = read_example(file), self.network.input.size
            if image is not None:
                image = as_given(image, size)
                most = max(LEAST_KEPT_SIDE, 2 * max(sides_of(size)))
                image.thumbnail((most, most), Image.Resampling.BICUBIC)
            self._kept[file] = image
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return self._kept[file]

    def _measure(self, examples: Sequence[Example | None], rows: Sequence[Row]) -> None:
        """Fill in clarity and polysemanticity where there is an encoder and there are examples enough."""
        some = [one for one in examples[:ENCODED] if one is not None]
        if self.encode is None or len(some) < LEAST_EXAMPLES:
            return
        found = self.encode([crop_to_field(*one, side=ENCODED_SIDE, dimmed=1) for one in some])
        for row in rows:
            row.clarity, row.polysemanticity = clarity(found), polysemanticity(found)
