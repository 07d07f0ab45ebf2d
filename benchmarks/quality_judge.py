"""What another network sees in a class picture: the class's rank among its own classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from filterscope.measure.classify import class_layer
from filterscope.networks import Network
from filterscope.pictures.reading import pixels_of


@dataclass(frozen=True)
class Judge:
    """A network that names pictures; `rows` holds for each class of the judged network its own class, or None."""

    network: Network
    rows: Sequence[int | None]

    @classmethod
    def of(cls, judge: Network, judged: Network) -> Judge:
        """Classes that share a name or WordNet id are the same; a judge without names has the same classes in order."""
        own = judge.class_names(class_layer(judge))
        wanted = judged.class_names(class_layer(judged))
        if own:
            return cls(judge, matching(wanted, own))
        count = judge.layer(class_layer(judge)).units
        if count != len(wanted):
            raise SystemExit(f"the judge has {count} classes without names (wanted {len(wanted)})")
        return cls(judge, range(count))

    def rank(self, image: np.ndarray, unit: int) -> int | None:
        """1 where the judge names the picture, resized to the judge's own size, by the class of `unit`."""
        row = self.rows[unit]
        if row is None:
            return None
        pixels = pixels_of(Image.fromarray(image), self.network.input)[None]
        probe = self.network.probe([class_layer(self.network)]).eval()
        with torch.no_grad():
            (values,) = probe(self.network.input.preprocess(pixels))
        return int((values[0] > values[0, row]).sum()) + 1


def matching(wanted: Sequence[Sequence[str]], own: Sequence[Sequence[str]]) -> list[int | None]:
    """For each of the wanted classes the first of the own that shares a name with it.

    >>> matching([("goldfish", "n01443537"), ("sea slug",)], [("Carassius", "n01443537")])
    [0, None]
    """
    places: dict[str, int] = {}
    for i, names in enumerate(own):
        for name in names:
            places.setdefault(_key(name), i)
    return [next((places[_key(n)] for n in names if _key(n) in places), None) for names in wanted]


def _key(name: str) -> str:
    return name.lower().replace("_", " ").strip()
