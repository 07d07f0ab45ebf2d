"""What another network sees in a picture: the check that a class picture shows more than one network's quirks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from filterscope.measure.classify import class_layer
from filterscope.networks.network import Network
from filterscope.pictures.picture import Opinion, Picture
from filterscope.pictures.reading import pixels_of
from filterscope.target import Target


@dataclass(frozen=True)
class Judge:
    """A network that had no part in the ascent and is shown its pictures, as they are where it takes any size, else
    resized to its own."""

    network: Network

    def judged(self, network: Network, pictures: Sequence[Picture]) -> list[Picture]:
        """The pictures, drawn from `network`, each with the judge's opinion.

        A class is found by any of its names, or by its number where the judge's classes have none but are as many;
        one that the judge does not know has no probability and no rank.
        """
        layer = class_layer(self.network)
        part = self.network.part(layer, softmax=True).eval()
        spec = self.network.input
        sides = {min(p.image.shape[:2]) for p in pictures}
        keep = not spec.fixed and all(self.network.runs(layer, side) for side in sides)
        pixels = torch.stack([pixels_of(p.to_pil(), spec, keep=keep) for p in pictures])
        with torch.no_grad():
            rows = part(spec.preprocess(pixels)).softmax
        return [
            replace(picture, judge=self._opinion(row, self._place(network, picture)))
            for picture, row in zip(pictures, rows, strict=True)
        ]

    def _place(self, network: Network, picture: Picture) -> int | None:
        if picture.class_name is None or not isinstance(picture.target, Target):
            return None
        known = self.network.class_names(class_layer(self.network))
        names = network.class_names(picture.target.layer)
        if not known:
            same = self.network.layer(class_layer(self.network)).units == len(names)
            return picture.target.unit if same else None
        own = set(names[picture.target.unit])
        return next((i for i, some in enumerate(known) if own & set(some)), None)

    def _opinion(self, row: Tensor, place: int | None) -> Opinion:
        best = int(row.argmax())
        names = self.network.class_names(class_layer(self.network))
        return Opinion(
            network=self.network.name,
            named=names[best][0] if names else str(best),
            confidence=float(row[best]),
            probability=None if place is None else float(row[place]),
            rank=None if place is None else 1 + int((row > row[place]).sum()),
        )
