"""Which layers and units of a network are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from filterscope.errors import ArgumentError
from filterscope.networks.network import Network


def layers_with_units(network: Network) -> list[str]:
    """The layers whose units are worth a picture: all that have trained weights, but for those that only pass values on."""
    passing = ("InputLayer", "Rescaling", "Normalization", "Flatten", "Dropout", "ZeroPadding2D")
    return [n for n, row in network.layers.items() if row.kind not in passing and network.has_weights(n)]


def check_layers(network: Network, texts: Sequence[str]) -> list[str]:
    """Layer names, or "*" for all; ArgumentError where there is nothing to measure."""
    if "*" in texts:
        return layers_with_units(network)
    if not texts:
        raise ArgumentError("name a layer, or '*' for all")
    for text in texts:
        network.targets(text)
    return list(dict.fromkeys(network.selection(text).layer for text in texts))


def chosen_units(network: Network, texts: Sequence[str]) -> set[tuple[str, int]]:
    """The layers and units that texts as "LAYER:3,7" name, of a layer alone all; empty where they name layers alone."""
    chosen = [network.selection(text) for text in texts if text != "*"]
    if "*" in texts or not any(one.units for one in chosen):
        return set()
    whole = [replace(one, units=one.units or "*") for one in chosen]
    return {(target.layer, target.unit) for one in whole for target in network.targets(one)}
