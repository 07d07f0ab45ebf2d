"""Model objects that were opened, remembered until something of them changes: opening one again is then at once."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filterscope.networks.network import Network

MOST = 3  # networks, whose copies of the weights stay in memory for as long as their models do


@dataclass(frozen=True)
class _Kept:
    model: weakref.ref[Any]
    key: Any
    network: Network
    state: Any


class Remembered:
    """The last few models opened, no more than `most`. Used by one thread at a time."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.kept: list[_Kept] = []  # the last one used stands last

    def opened_once(
        self,
        model: Any,
        key: Any,
        open_it: Callable[[], Network],
        state_of: Callable[[Any], Any],
        is_same: Callable[[Any, Network], bool] = lambda model, network: True,
    ) -> Network:
        """The network that `open_it` makes of a model, or the one that it made, where nothing has changed since then.

        key: how it is opened. state_of: what is compared, None where that cannot be. is_same: whether what else the
        network holds of the model is still so.
        """
        state = state_of(model)
        self._forget(lambda kept: kept.model() is None)
        for kept in self.kept:
            if kept.model() is model and kept.key == key:
                self.kept.remove(kept)
                if state is not None and state == kept.state and is_same(model, kept.network):
                    self.kept.append(kept)
                    return _fresh(kept.network)
                break
        network = open_it()
        if state is not None and state == state_of(model):
            ref = weakref.ref(model, lambda gone: self._forget(lambda kept: kept.model is gone))
            self.kept.append(_Kept(ref, key, network, state))
            del self.kept[: -self.most]
        return _fresh(network)

    def _forget(self, which: Callable[[_Kept], bool]) -> None:
        self.kept[:] = [kept for kept in self.kept if not which(kept)]


def _fresh(network: Network) -> Network:
    """The same network as an object of its own: what a person sets on one does not show on another."""
    own = dataclasses.replace(network, layers=dict(network.layers), tokens=dict(network.tokens))
    own.shapes = network.shapes
    return own
