"""Which class another network gives a picture: the check that a class picture shows more than one network's quirks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from filterscope.errors import ArgumentError
from filterscope.measure.classify import class_layer
from filterscope.measure.legibility import Features, legibility, pair_files
from filterscope.measure.natural import looked_up
from filterscope.networks.layer import Taps
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.picture import Opinion, Picture
from filterscope.pictures.reading import mode_of, pixels_of
from filterscope.selection import name_key
from filterscope.target import Target


@dataclass(frozen=True)
class Judge:
    """A network that had no part in the ascent and is shown its pictures, resized to the size that it was trained on.

    ArgumentError, as soon as it is made, where the network has no classes or takes no picture.
    """

    network: Network

    def __post_init__(self) -> None:
        try:
            layer = class_layer(self.network)
            self.network.output_shape(layer, self.network.input.size)
            mode_of(self.network.input.channels, self.network.name)
            self.network.part(layer, softmax=True)  # its weights are there
        except ArgumentError as error:
            raise ArgumentError(f"{self.network.name} can judge no picture: {error}") from None

    @property
    def layer(self) -> str:
        """The layer whose units are its classes."""
        return class_layer(self.network)

    def judged(self, network: Network, pictures: Sequence[Picture]) -> list[Picture]:
        """The pictures, drawn from `network`, each with the judge's opinion.

        A class is found by its names, or by its number where the judge's classes have none but are as many; one
        that the judge does not know has no probability and no rank. Channels and classes have their legibility in the
        judge's features too, where `find_examples` has looked up photographs for their layer.
        """
        classes = [network.class_of(p.target) for p in pictures]
        places = {name: self.places(network, name) for name in {c.layer for c in classes if c}}
        taps = self.look([p.to_pil() for p in pictures])
        assert taps.softmax is not None  # of a class layer
        judged = []
        for picture, own, values, shares in zip(pictures, classes, taps.output, taps.softmax, strict=True):
            place = None if own is None else places[own.layer][own.unit]
            judged.append(replace(self.tested(network, picture), judge=self._opinion(values, shares, place)))
        return judged

    def tested(self, network: Network, picture: Picture) -> Picture:
        """The picture with its legibility, where that can be known."""
        target = picture.target
        natural = looked_up(network, target.layer) if isinstance(target, Target) and not target.at else None
        if natural is None or not isinstance(target, Target):
            return picture
        found = legibility(self._features, picture.to_pil(), pair_files(natural, target.unit))
        if found is None:
            return picture
        scores = replace(picture.scores, legibility=found.legibility, legibility_ceiling=found.ceiling)
        return replace(picture, scores=scores)

    @cached_property
    def _features(self) -> Features:
        return Features(self.network)

    @in_our_torch
    def look(self, images: Sequence[Image.Image]) -> Taps:
        """The judge's values for pictures of any size: `output` and `softmax`, (B, classes)."""
        part = self.network.part(self.layer, softmax=True).eval()
        pixels = torch.stack([pixels_of(image, self.network.input) for image in images])
        with torch.no_grad():
            taps: Taps = part(self.network.input.preprocess(pixels))
        return taps

    def places(self, network: Network, layer: str) -> list[int | None]:
        """For each class of another network's layer the judge's own of the same name, or None."""
        names, own = network.class_names(layer), self.network.class_names(self.layer)
        if own:
            return matching(names, own)
        count = self.network.layer(self.layer).units
        return [*range(count)] if count == len(names) else [None] * len(names)

    def _opinion(self, values: Tensor, shares: Tensor, place: int | None) -> Opinion:
        best = int(values.argmax())
        names = self.network.class_names(self.layer)
        return Opinion(
            network=self.network.name,
            named=names[best][0] if names else str(best),
            confidence=float(shares[best]),
            probability=None if place is None else float(shares[place]),
            rank=None if place is None else rank(values, place),
        )


def rank(values: Tensor, place: int) -> int:
    """Of a class among all by their values before the softmax, (classes,): 1 for the largest."""
    return 1 + int((values > values[place]).sum())


def matching(wanted: Sequence[Sequence[str]], own: Sequence[Sequence[str]]) -> list[int | None]:
    """For each of the wanted classes that of the own which shares most names with it (name, WordNet id), the first
    of several; None where none shares any.

    >>> matching([("goldfish", "n01443537"), ("sea slug",)], [("Goldfish", "n01443537"), ("Sea_Slug",)])
    [0, 1]
    """
    keys = [{name_key(name) for name in names} for names in own]
    found: list[int | None] = []
    for names in wanted:
        asked = {name_key(name) for name in names}
        shared = [len(asked & some) for some in keys]
        most = max(shared, default=0)
        found.append(shared.index(most) if most else None)
    return found
