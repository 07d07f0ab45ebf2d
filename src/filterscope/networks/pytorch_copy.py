"""A private copy of a person's module: float32, on the processor, in evaluation mode, without their hooks.

The person's own module is read and never touched: not its parameters, mode, hooks, device or statistics.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.errors import NetworkError

Convert = Callable[[Tensor], Tensor]
# hooks that are part of the computation; a person's own only watch it, and are left out
_OF_TORCH = ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm", "torch.nn.utils.prune")


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel or torch.compile; NetworkError for TorchScript."""
    while True:
        if isinstance(module, torch.jit.ScriptModule):
            raise NetworkError(
                "a TorchScript module hides its layers: pass the nn.Module it was made from, or a torch.export program"
            )
        wrapper = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
        inner = getattr(module, "module" if wrapper else "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def private_copy(module: nn.Module) -> nn.Module:
    """The module as float32 numbers of our own on the processor, in evaluation mode, gradients off.

    Weight norm, spectral norm, pruning and parametrizations are worked into plain weights. NetworkError where
    there are no numbers to copy.
    """
    module = unwrapped(module)
    _require_numbers(module)
    twin = duplicate(module, _plain)
    _bake(twin)
    for part in twin.modules():
        part.training = False
    twin.requires_grad_(False)
    return twin


def on_meta(module: nn.Module) -> nn.Module:
    """The same module with shapes and no numbers."""
    return duplicate(module, lambda t: torch.empty_like(t, device="meta"))


def duplicate(module: nn.Module, convert: Convert) -> nn.Module:
    """A deep copy whose every tensor went through `convert`; shared tensors and modules stay shared.

    Where something in the module cannot be copied (a lock, an open file), only modules and tensors are.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers, part.__dict__):
            for value in tensors.values():
                if isinstance(value, Tensor) and id(value) not in memo:
                    memo[id(value)] = _like(value, convert(value.detach()))
        for name, hooks in part.__dict__.items():
            if "_hooks" in name and isinstance(hooks, dict):
                memo[id(hooks)] = OrderedDict(_kept(hooks))
    try:
        return copy.deepcopy(module, memo)
    except Exception:  # whatever a person's attributes raise when copied
        return _structure(module, memo, {})


def _structure(module: nn.Module, memo: dict[int, Any], done: dict[int, nn.Module]) -> nn.Module:
    if id(module) in done:
        return done[id(module)]
    twin = done[id(module)] = copy.copy(module)
    twin.__dict__ = {n: memo.get(id(v), v) for n, v in module.__dict__.items()}
    twin._parameters = {n: memo.get(id(p), p) for n, p in module._parameters.items()}
    twin._buffers = {n: memo.get(id(b), b) for n, b in module._buffers.items()}
    twin._modules = {n: m and _structure(m, memo, done) for n, m in module._modules.items()}
    for name, value in module.__dict__.items():  # self.blocks = [self.a, self.b]: lists of its own modules
        if isinstance(value, list | tuple) and value and all(isinstance(v, nn.Module) for v in value):
            twin.__dict__[name] = type(value)(_structure(v, memo, done) for v in value)
    return twin


def _kept(hooks: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return ((key, copy.copy(hook)) for key, hook in hooks.items() if type(hook).__module__ in _OF_TORCH)


def _plain(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.to("cpu", dtype, copy=True)


def _like(old: Tensor, new: Tensor) -> Tensor:
    return nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new


def _require_numbers(module: nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise NetworkError(
                f"{name} has no shape yet (a lazy module): run the network once before it is opened"
            )
        if tensor.is_meta:
            raise NetworkError(
                f"{name} is on the meta device and holds no numbers: load the network's weights first"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NetworkError(f"{name} holds values that are NaN or infinite")


def _bake(module: nn.Module) -> None:
    """Weights that are computed on each call become plain weights."""
    from torch.nn.utils import parametrize

    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            _bake_parametrized(part)
        for key, hook in list(part._forward_pre_hooks.items()):
            part.eval()
            hook(part, ())
            hook.remove(part)  # type: ignore[attr-defined]
            part._forward_pre_hooks.pop(key, None)
        for name, value in list(part.__dict__.items()):  # plain tensors move and convert with the rest
            if isinstance(value, Tensor) and not hasattr(type(part), name):
                del part.__dict__[name]
                part.register_buffer(name, value, persistent=False)


def _bake_parametrized(part: nn.Module) -> None:
    """torch's own removal would change the class, which the person's module shares."""
    names = list(part.get_submodule("parametrizations")._modules)
    values = {name: getattr(part, name).detach() for name in names}
    del part._modules["parametrizations"]
    part.__class__ = type(part).__bases__[0]
    for name, value in values.items():
        part.register_parameter(name, nn.Parameter(value, requires_grad=False))
