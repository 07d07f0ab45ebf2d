"""Which units are active at each place of a photograph, and which classes they raise: what the viewer shows at a click."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from filterscope.ascent.engine.prepare import choose_device
from filterscope.errors import ArgumentError, TargetError
from filterscope.explanation.attribution import attribute
from filterscope.explanation.behind import Behind
from filterscope.explanation.goals import Seen, see, value_of
from filterscope.explanation.layers import choose_layers
from filterscope.networks import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.reading import Photograph
from filterscope.target import Target

UNITS = 6  # at each place
MOST_PLACES = 32 * 32  # of a layer


@dataclass(frozen=True, eq=False)
class Votes:
    """One layer's units at each place of a photograph.

    units: (H, W, N), those whose activation at the place raises or lowers one of the classes most, strongest first.
    activations: (H, W, N), theirs there. votes: (H, W, N, K), each one's activation times the gradient of the logits of the
    photograph's K most probable classes.
    """

    layer: str
    units: np.ndarray = field(repr=False)
    activations: np.ndarray = field(repr=False)
    votes: np.ndarray = field(repr=False)


@in_our_torch
def count_votes(
    network: Network, photograph: Photograph, among: Collection[str] = (), *, device: str = "auto"
) -> tuple[Seen, list[Votes]]:
    """What a network names in a photograph, and at the usual layers, by preference those of `among`, each place's units.

    Raises ArgumentError where the network has no classes, or none of the layers a map of at most 32 x 32 places.
    """
    seen = see(network, photograph, choose_device(device))
    if seen.layer is None:
        raise ArgumentError(f"{network.name} ends in no classes, for which units could vote")
    goal = Target(seen.layer, seen.classes[0].unit)
    found: dict[str, Votes] = {}

    def works(name: str) -> bool:
        if _places(network, name) <= MOST_PLACES:
            with contextlib.suppress(TargetError):  # no effect on the classes: the next one is asked
                found[name] = _at_layer(network, seen, name)
        return name in found

    names = choose_layers(network, goal, among, works=works)
    return seen, [found[name] for name in names]


def _places(network: Network, layer: str) -> int:
    return int(np.prod(network.layer(layer).output_shape[1:]))


def _at_layer(network: Network, seen: Seen, layer: str) -> Votes:
    end = str(seen.layer)
    behind = Behind(network, layer, [end], seen.pixels)
    found = [attribute(behind, value_of(Target(end, guess.unit))) for guess in seen.classes]
    votes = np.stack([one.relevance for one in found], -1)  # (C, H, W, K)
    count = min(UNITS, len(votes))
    units = np.argsort(-np.abs(votes).max(-1), axis=0, kind="stable")[:count]  # (N, H, W)
    activations = np.take_along_axis(found[0].activations, units, 0)
    own = np.take_along_axis(votes, units[..., None], 0)
    return Votes(layer, np.moveaxis(units, 0, 2), np.moveaxis(activations, 0, 2), np.moveaxis(own, 0, 2))
