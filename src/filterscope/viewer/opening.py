"""The networks of an atlas, opened from their network.json."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filterscope.atlas.storage.manifest import NetworkManifest
from filterscope.errors import ArgumentError, WorkError

if TYPE_CHECKING:
    from filterscope.networks import Network

MAX_OPEN = 2  # networks held in memory


class OpenNetworks:
    """Networks by their folder in the atlas, each opened when it is first needed; the last few stay open.

    given: networks that are open already.
    """

    def __init__(self, manifests: Mapping[str, NetworkManifest], given: Mapping[str, Network] | None = None):
        self._manifests = dict(manifests)
        self._given = dict(given or {})
        self._opened: OrderedDict[str, Network] = OrderedDict()

    def get(self, folder: str) -> Network:
        """The network of that folder; ArgumentError where it cannot be opened."""
        if folder in self._given:
            return self._given[folder]
        if folder not in self._opened:
            while len(self._opened) >= MAX_OPEN:
                self._opened.popitem(last=False)
            self._opened[folder] = open_recorded(self._manifests[folder])
        self._opened.move_to_end(folder)
        return self._opened[folder]


def open_recorded(manifest: NetworkManifest) -> Network:
    """The network that an atlas was drawn from, opened by its record; ArgumentError where it cannot be."""
    from filterscope.networks import open_network
    from filterscope.networks.pytorch.factory import is_factory
    from filterscope.rerun import find_weights

    source, weights = manifest.source, manifest.weights
    if not source:
        raise ArgumentError(
            f"{manifest.name} was drawn from a model object, which the viewer cannot open by itself; "
            "in Python: filterscope.viewer.app.view(DIR, networks={NAME: model})"
        )
    if is_factory(source.partition("?")[0]):
        raise ArgumentError(
            f"{manifest.name} was drawn from {source}: code that an atlas names is never run by itself; in Python: "
            "filterscope.viewer.app.view(DIR, networks={NAME: module})"
        )
    if weights and not Path(weights).is_file():
        found = find_weights(manifest.model_dump(), Path())
        return open_network(source, weights=found)
    return open_network(source, weights=weights)


def check_weights(network: Network, manifest: NetworkManifest) -> None:
    """WorkError where a network has other weights than the atlas was drawn with."""
    wanted = manifest.weights_sha256
    if wanted and network.weights.sha256 != wanted:
        raise WorkError(
            f"the weights of {network.name} here (sha256 {network.weights.sha256[:12]}) are not those that the atlas was "
            f"drawn with ({wanted[:12]})"
        )
