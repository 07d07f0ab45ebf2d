"""Live modules that were opened, remembered until something of them changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from filterscope.networks.input_spec import InputOptions
from filterscope.networks.network import Network
from filterscope.networks.pytorch.state import named_tensors, state_of
from filterscope.networks.remembered import Remembered

REMEMBERED = Remembered()


def opened_once(module: nn.Module, options: InputOptions, open_it: Callable[[], Network]) -> Network:
    """The network that `open_it` makes of a module, or the one that it made, where nothing has changed since then.

    Every number of the module is compared with the copy's, since `tensor.data` changes without a trace; its attributes
    and its code are compared too (`state`). Called by one thread at a time.
    """
    return REMEMBERED.opened_once(module, options, open_it, state_of, _same_numbers)


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
