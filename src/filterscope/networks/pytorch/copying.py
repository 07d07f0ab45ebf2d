"""A private copy of a person's module: float32, on the processor, in evaluation mode, without their hooks.

The person's own module is read and never touched: not its parameters, mode, hooks, device or statistics.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from filterscope.errors import NetworkError
from filterscope.networks.pytorch.own_hooks import OF_TORCH, OwnHook, isolated

Convert = Callable[[Tensor], Tensor]
TRIES = 20  # to copy what another thread changes at that moment


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


@torch.no_grad()
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

    The module may run in another thread meanwhile: what it notes down as it runs is read once, as it then is.
    What cannot be copied (a lock, an open file) is shared.
    """
    memo: dict[int, Any] = {}
    parts = list(_parts(module))
    for part in parts:
        for tensors in (part._parameters, part._buffers, part.__dict__):
            for value in list(tensors.values()):
                if isinstance(value, Tensor) and id(value) not in memo:
                    memo[id(value)] = _like(value, convert(value.detach()))
    for part in parts:
        memo[id(part)] = (
            TorchScript(part) if isinstance(part, torch.jit.ScriptModule) else object.__new__(type(part))
        )
    twins = {id(part): memo[id(part)] for part in parts}
    for part in parts:
        if not isinstance(part, torch.jit.ScriptModule):
            made = memo[id(part)].__dict__ = {n: _copied(n, v, memo) for n, v in dict(part.__dict__).items()}
            for name, value in made.items():
                if name == "forward" or (isinstance(value, FunctionType) and value.__closure__):
                    made[name] = isolated(value, twins)  # what it holds of the module is the copy's
    twin: nn.Module = memo[id(module)]
    return twin


def _parts(module: nn.Module, seen: set[int] | None = None) -> Iterator[nn.Module]:
    """The module and all within it, each once; of TorchScript nothing within."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    yield module
    if not isinstance(module, torch.jit.ScriptModule):
        for child in list(module._modules.values()):
            if child is not None:
                yield from _parts(child, seen)


def _copied(name: str, value: Any, memo: dict[int, Any]) -> Any:
    """An attribute of a module, copied."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if name in ("_parameters", "_buffers", "_modules"):
        return type(value)((n, memo.get(id(v), v)) for n, v in list(value.items()))
    if isinstance(value, torch.Generator):
        twin = torch.Generator(value.device)
        twin.set_state(value.get_state())
        return twin
    if "_hooks" in name and isinstance(value, dict):
        return OrderedDict(_kept(value))
    for _ in range(TRIES):
        try:
            return copy.deepcopy(value, memo)
        except RuntimeError as error:
            if "changed size" not in str(error) and "mutated" not in str(error):  # by another thread
                break
        except Exception:  # whatever a person's attributes raise when copied
            break
    if isinstance(value, list | tuple) and value and all(isinstance(v, nn.Module) for v in value):
        return type(value)(memo.get(id(v), v) for v in value)  # self.blocks = [self.a, self.b]
    return value


class TorchScript(nn.Module):
    """A TorchScript part of a network: run as it is, in float32, and never looked into.

    Its weights stand here too, under other names, so that they count and are known by their numbers.
    """

    def __init__(self, script: nn.Module):
        super().__init__()
        with torch.no_grad():
            own = copy.deepcopy(script).float().cpu()
        self.held = _Held(own)
        for name, value in own.named_parameters():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(value.detach(), requires_grad=False))
        for name, tensor in own.named_buffers():
            self.register_buffer(name.replace(".", "_"), tensor.detach())
        self.training = False

    def forward(self, *args: Any) -> Any:
        """Of shapes alone, what zeros of these shapes give; of other number types, in theirs."""
        given = [a for a in args if isinstance(a, Tensor)]
        place = torch.device("cpu") if any(a.is_meta for a in given) else given[0].device if given else None
        script = self.held.on(place or torch.device("cpu"))
        if any(a.is_meta for a in given):
            outs = script(*(_zeros(a) if isinstance(a, Tensor) else a for a in args))
            return tree_map(lambda t: t.to("meta") if isinstance(t, Tensor) else t, outs)
        kinds = {a.dtype for a in given if a.is_floating_point()} - {torch.float32}
        outs = script(*(a.float() if isinstance(a, Tensor) and a.dtype in kinds else a for a in args))
        if len(kinds) != 1:
            return outs
        (kind,) = kinds
        return tree_map(
            lambda t: t.to(kind) if isinstance(t, Tensor) and t.dtype == torch.float32 else t, outs
        )


class _Held:
    """A TorchScript module by device, shared by all copies: none changes it."""

    def __init__(self, script: nn.Module):
        script.eval()
        self.scripts = {torch.device("cpu"): script}

    def on(self, device: torch.device) -> nn.Module:
        if device not in self.scripts:
            self.scripts[device] = copy.deepcopy(self.scripts[torch.device("cpu")]).to(device)
        return self.scripts[device]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Held:
        return self


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=torch.float32 if like.is_floating_point() else like.dtype)


def _kept(hooks: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Those that are part of the computation: torch's own, and a person's that `keep_hooks` kept."""
    for key, hook in list(hooks.items()):
        if type(hook).__module__ in OF_TORCH or isinstance(hook, OwnHook) or hook is True:
            yield key, copy.copy(hook)


def _plain(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.to("cpu", dtype, copy=True)


def _like(old: Tensor, new: Tensor) -> Tensor:
    return nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new


def _require_numbers(module: nn.Module) -> None:
    normed = {
        id(b)
        for m in module.modules()
        if hasattr(m, "running_var")
        for b in m._buffers.values()
        if b is not None
    }
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise NetworkError(
                f"{name} has no shape yet (a lazy module): run the network once before it is opened"
            )
        if tensor.is_meta:
            raise NetworkError(
                f"{name} is on the meta device and holds no numbers: load the network's weights first"
            )
        constant = not isinstance(tensor, nn.Parameter) and id(tensor) not in normed
        if not is_sound(tensor, constant=constant):
            raise NetworkError(f"{name} holds values that are NaN or infinite")


def is_sound(tensor: Tensor, *, constant: bool) -> bool:
    """Whether numbers may be as they are: none NaN, and infinite only in a mask (0 and infinity) or a constant
    that nothing trained, as a causal attention mask is."""
    if tensor.is_floating_point() and tensor.element_size() == 1:
        tensor = tensor.float()  # torch computes nothing in 8 bits
    if not tensor.is_floating_point() or tensor.sum().isfinite() or tensor.isfinite().all():
        return True  # a sum is finite only where all is, and five times as fast
    finite = tensor[tensor.isfinite()]
    mask = bool(len(finite)) and not finite.any()
    return not tensor.isnan().any() and (constant or mask)


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
