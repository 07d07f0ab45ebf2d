"""A file's concepts as the units of a layer: what each has to say of maps, and of natural images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from filterscope.ascent.objectives import rescaled
from filterscope.concept import ANY_LAYER, Concept, ConceptSelection, How
from filterscope.networks.concepts.binding import place_concepts
from filterscope.networks.concepts.reading import read_concepts
from filterscope.networks.concepts.table import ConceptFile
from filterscope.networks.network import Network

MOST_VALUES = 2**24  # of concepts x places that are computed at a time


@dataclass(frozen=True)
class ConceptUnits:
    """The concepts of a file that was placed at a layer, as that layer's units. name: as an atlas lists them beside its
    layers."""

    file: ConceptFile = field(repr=False)
    layer: str
    how: How = "dot"

    @property
    def name(self) -> str:
        """The text of all of them: `concept(blocks.8, sae, *)`."""
        return str(ConceptSelection(self.layer, self.file.name, "*", self.how))

    @property
    def key(self) -> str:
        """By which natural activations of these very concepts are kept."""
        return concept_key(self.layer, self.file.sha256, self.how)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.file.table.count

    def goals(self, numbers: Sequence[int]) -> list[Concept]:
        """These as objectives."""
        return [self.file.concept(number, self.how, self.layer) for number in numbers]

    def of_maps(self, maps: Tensor) -> Tensor:
        """What each concept is at each place of a layer's maps, (B, C, H, W) or (B, C), to (B, concepts, ...): the product
        with it, the cosine, or a latent's value before its activation."""
        weights, bias, rescale = self.file.arrays(self.how)
        rows = torch.from_numpy(weights).to(maps)
        if self.how == "cosine":
            rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
            maps = maps / maps.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
        shape = (1, -1, *(1,) * (maps.ndim - 2))
        found = torch.einsum("bc...,nc->bn...", rescaled(maps, rescale), rows)
        return found + torch.from_numpy(bias).to(maps).reshape(shape)

    def means(self, maps: Tensor) -> Tensor:
        """The same as a mean over space, (B, concepts), however many concepts and places there are."""
        places = maps.shape[2:].numel() if maps.ndim > 2 else 1
        together = max(1, MOST_VALUES // (self.count * places))
        parts = [self.of_maps(some) for some in torch.split(maps, together)]
        return torch.cat([part.flatten(2).mean(2) if part.ndim > 2 else part for part in parts])


def concept_key(layer: str, sha256: str, how: str) -> str:
    """The name that natural activations of a file's concepts have beside those of layers."""
    return f"{layer}-concepts-{sha256[:16]}-{how}"


def concepts_at(network: Network, source: str, layer: str = ANY_LAYER, how: How = "dot") -> ConceptUnits:
    """A file's concepts at a layer of a network, at the one that it names where none is given; errors as for a target
    concept(LAYER, FILE, 17)."""
    placed, file = place_concepts(network, read_concepts(source), layer)
    file.arrays(how)  # a latent of a file without any is refused now
    return ConceptUnits(file, placed, how)
