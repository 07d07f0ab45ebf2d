"""Live modules that were opened, remembered until something of them changes: opening one again is then at once."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.networks.input_spec import InputOptions
from filterscope.networks.network import Network
from filterscope.networks.pytorch.state import named_tensors, state_of

MOST = 3  # networks, whose copies of the weights stay in memory for as long as their modules do


@dataclass(frozen=True)
class _Kept:
    module: weakref.ref[nn.Module]
    options: InputOptions
    network: Network
    state: Any


_kept: list[_Kept] = []  # the last one used stands last


def opened_once(module: nn.Module, options: InputOptions, open_it: Callable[[], Network]) -> Network:
    """The network that `open_it` makes of a module, or the one that it made, where nothing has changed since then.

    Every number of the module is compared with the copy's, since `tensor.data` changes without a trace; its attributes
    and its code are compared too (`state`). Called by one thread at a time.
    """
    state = state_of(module)
    _forget(lambda kept: kept.module() is None)
    for kept in _kept:
        if kept.module() is module and kept.options == options:
            _kept.remove(kept)
            if state is not None and state == kept.state and _same_numbers(module, kept.network):
                _kept.append(kept)
                return _fresh(kept.network)
            break
    network = open_it()
    if state is not None and state == state_of(module):
        ref = weakref.ref(module, lambda gone: _forget(lambda kept: kept.module is gone))
        _kept.append(_Kept(ref, options, network, state))
        del _kept[:-MOST]
    return _fresh(network)


def _forget(which: Callable[[_Kept], bool]) -> None:
    _kept[:] = [kept for kept in _kept if not which(kept)]


def _fresh(network: Network) -> Network:
    """The same network as an object of its own: what a person sets on one does not show on another."""
    own = dataclasses.replace(network, layers=dict(network.layers), tokens=dict(network.tokens))
    own.shapes = network.shapes
    return own


@torch.no_grad()
def _same_numbers(module: nn.Module, network: Network) -> bool:
    copies: Mapping[str, Tensor] = getattr(network.weights, "copies", {})
    named = named_tensors(module)
    return named.keys() == copies.keys() and all(_same(named[name], copies[name]) for name in named)


def _same(tensor: Tensor, copy: Tensor) -> bool:
    """Whether a copy, made in float32 on the processor, is still what the tensor is, to the bit."""
    if tensor.shape != copy.shape:
        return False
    plain = tensor.detach().to("cpu", copy.dtype)
    if copy.dtype == torch.float32 and plain.layout == copy.layout == torch.strided:
        plain, copy = plain.view(torch.int32), copy.view(torch.int32)
    return torch.equal(plain, copy)
