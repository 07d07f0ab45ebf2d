"""The channels of a layer that an explanation shows, and the pictures of them: drawn now, or taken from an atlas."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps

from filterscope.atlas.gallery.data import FIRST_EXAMPLES, Index, NetworkPages, read_networks
from filterscope.atlas.gallery.paths import is_inside
from filterscope.atlas.storage.crops import cut_crops
from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import Store, open_store
from filterscope.errors import ArgumentError
from filterscope.explanation.attribution import Attribution
from filterscope.networks import Network
from filterscope.objective import Objective
from filterscope.pictures import Picture
from filterscope.pictures.reading import Photograph
from filterscope.target import Target

SAME = 4.0  # of 255: how far a thumbnail may be from its own photograph, by the mean over its values


@dataclass(frozen=True, eq=False)
class Channel:
    """A channel of a layer and what it contributed.

    contribution: to the target's value, negative where the channel lowers it. share: of the sum of the sizes of all
    contributions of the layer. activation: its mean over space. below: whether it is below 0 where it is relevant, so that
    its picture shows what makes it lower. votes: its contribution to the classes asked about and to the most
    probable ones, by their names.
    """

    layer: str
    unit: int
    contribution: float
    share: float
    activation: float
    relevance: np.ndarray = field(repr=False)  # (H, W)
    below: bool = False
    votes: Mapping[str, float] = field(default_factory=dict)

    @property
    def goal(self) -> Objective:
        """What its picture is drawn for."""
        unit = Target(self.layer, self.unit)
        return -1 * unit if self.below else unit


@dataclass(frozen=True, eq=False)
class Shape:
    """A picture of a channel or a group: its PNG with the recipe inside, and for one that was drawn now the Picture."""

    png: bytes = field(repr=False)
    picture: Picture | None = None

    @classmethod
    def drawn(cls, picture: Picture) -> Shape:
        """Of a picture that was drawn now."""
        return cls(picture.encoded(), picture)

    def to_pil(self) -> Image.Image:
        """It as a Pillow image, RGB or grey."""
        with Image.open(io.BytesIO(self.png)) as image:
            return image.convert("RGB")


def strongest(found: Attribution, count: int) -> tuple[list[int], list[int]]:
    """The channels that raise the target's value most, at most `count`, and those that lower it most, half as many, each
    from the strongest on; none whose contribution is 0."""
    order = np.argsort(-found.contributions, kind="stable")
    sizes = found.contributions
    raising = [int(i) for i in order[:count] if sizes[i] > 0]
    against = [int(i) for i in order[::-1][: (count + 1) // 2] if sizes[i] < 0]
    return raising, against


def channel_of(found: Attribution, unit: int, votes: Mapping[str, Attribution]) -> Channel:
    """A channel as an explanation shows it; `votes` has the attributions to classes by name."""
    relevance, activations = found.relevance[unit], found.activations[unit]
    return Channel(
        found.layer, unit, float(found.contributions[unit]), float(found.shares[unit]), float(activations.mean()), relevance,
        below=bool((activations * np.abs(relevance)).sum() < 0),
        votes={name: float(one.contributions[unit]) for name, one in votes.items()},
    )  # fmt: skip


class AtlasPictures:
    """The pictures and natural examples of a network's units in an atlas.

    ArgumentError where the folder holds no atlas, or none of a network with these weights.
    """

    def __init__(self, address: str | os.PathLike[str], network: Network):
        self.store: Store = open_store(address)
        self._index = Index(self.store)
        found = read_networks(self.store, self._index)
        # a network's hash is known once its weights have been read, which any attribution does
        own = [pages for pages in found if pages.record.weights_sha256 == network.weights.sha256]
        if not own:
            names = ", ".join(f"{p.name} ({(p.record.weights_sha256 or 'unknown')[:12]})" for p in found)
            raise ArgumentError(
                f"{self.store.address} holds no atlas of {network.name} with these weights ({network.weights.sha256[:12]}); "
                f"it has {names}"
            )
        self.pages: NetworkPages = own[0]
        self._rows: dict[str, dict[int, Row]] = {}

    @property
    def layers(self) -> list[str]:
        """The layers that it has units of."""
        return self.pages.layers()

    def shape(self, channel: Channel) -> Shape | None:
        """The channel's picture, None where the atlas has none of it."""
        row = self._row(channel.layer, channel.unit)
        if row is None or channel.below:
            return None
        file = self._inside(row.file)
        return None if file is None else Shape(file)

    def examples(self, layer: str, unit: int, *, but: Photograph) -> list[Image.Image]:
        """The natural images that excite a unit most, best first: as crops to the unit's effective receptive field where
        the atlas has these, else as thumbnails. but: the photograph that is explained, which is no example."""
        row = self._row(layer, unit)
        files = [self._inside(one.file) for one in (row.examples or [])[:FIRST_EXAMPLES]] if row else []
        small = [None if data is None else _opened(data) for data in files]
        crops = self._inside(row.crops) if row else None
        shown = small if crops is None else cut_crops(_opened(crops), len(small))
        return [
            image
            for image, whole in zip(shown, small, strict=False)
            if image is not None and (whole is None or not _is_of(whole, but.image))
        ]

    def _row(self, layer: str, unit: int) -> Row | None:
        if layer not in self._rows:
            units = self._index.read_layer(self.pages.folder, layer) if layer in self.pages.units else []
            self._rows[layer] = {one.number: one.rows[0] for one in units}
        return self._rows[layer].get(unit)

    def _inside(self, file: str | None) -> bytes | None:
        """A file of the atlas; None where there is none, or its path leads out."""
        if not file or not is_inside(file):
            return None
        try:
            return self.store.read(file)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _is_of(thumbnail: Image.Image, photograph: Image.Image) -> bool:
    """Whether a thumbnail, which has been through JPEG, is of a photograph."""
    fitted = ImageOps.fit(photograph.convert("RGB"), thumbnail.size, Image.Resampling.BICUBIC)
    apart = np.asarray(thumbnail, np.float32) - np.asarray(fitted, np.float32)
    return float(np.abs(apart).mean()) < SAME


def _opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")
