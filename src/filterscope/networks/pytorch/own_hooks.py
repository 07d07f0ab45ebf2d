"""A person's own forward hooks: those that change what a network computes belong to it, those that watch do not."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _all

from filterscope.errors import first_line
from filterscope.networks.pytorch.code import derived
from filterscope.networks.pytorch.outputs import tensors_of

# hooks of torch's own, which are worked into the weights
OF_TORCH = ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm", "torch.nn.utils.prune")


class OwnHook:
    """A person's hook on a private copy. What it writes down it writes into copies of its own.

    changes: whether it gave another value or changed one in place. failed: what it raised when it was tried. kept: it
    belongs to the network.
    """

    def __init__(self, hook: Callable[..., Any]):
        self.hook = hook
        self.trying, self.changes, self.failed = True, False, ""

    @property
    def kept(self) -> bool:
        return self.changes and not self.failed

    def __call__(self, module: nn.Module, *args: Any) -> Any:
        if not self.trying:
            return self.hook(module, *args)
        given = list(tensors_of(list(args)).values())
        before = [t._version for t in given]
        try:
            result = self.hook(module, *args)
        except Exception as error:
            self.failed = f"{type(error).__name__}: {first_line(error)}"
            return None
        given_back = result is not None and not any(result is a for a in args)
        self.changes |= given_back or any(t._version != v for t, v in zip(given, before, strict=True))
        return result


def keep_hooks(module: nn.Module, net: nn.Module, run: Callable[[], object]) -> tuple[list[str], list[str]]:
    """Put the hooks of a person's module that change what it computes on its private copy `net`; `run` runs that once.
    Hooks for all modules of the process count as hooks of each.

    The names of the modules that have such hooks, and what others raised that are left out.
    """
    copies = dict(net.named_modules())
    twins = {id(part): copies[path] for path, part in module.named_modules() if path in copies}
    common = list(_adopted_by_all(net, twins))
    hooks = [*common, *_adopted(module, copies, twins)]
    if not hooks:
        return [], []
    kinds = _without_common_hooks(net) if common else {}
    with torch.no_grad():
        try:
            run()
        except Exception:  # what they make of its values may be more than the network takes
            for _, own, _ in hooks:
                own.changes = own.changes and not own.failed
    for _, own, handle in hooks:
        own.trying = False
        if not own.kept:
            handle.remove()
    if not any(own.kept for _, own, _ in common):
        for part, kind in kinds.items():
            object.__setattr__(part, "__class__", kind)
    kept = dict.fromkeys(path or "the network" for path, own, _ in hooks if own.kept)
    return list(kept), [f"{path or 'the network'} ({own.failed})" for path, own, _ in hooks if own.failed]


def has_hooks(net: nn.Module) -> bool:
    """Whether hooks of a person's belong to what the private copy computes."""
    return any(
        isinstance(hook, OwnHook)
        for part in net.modules()
        for hooks in (part._forward_hooks, part._forward_pre_hooks)
        for hook in hooks.values()
    )


def global_hooks() -> tuple[Any, ...]:
    """The hooks that torch runs for all modules of the process."""
    return (*_all._global_forward_pre_hooks.values(), *_all._global_forward_hooks.values())


def _adopted(
    module: nn.Module, copies: dict[str, nn.Module], twins: dict[int, nn.Module]
) -> Iterator[tuple[str, OwnHook, Any]]:
    for path, part in module.named_modules():
        twin = copies.get(path)
        if twin is None or isinstance(part, torch.jit.ScriptModule):
            continue
        for key, hook in list(part._forward_pre_hooks.items()):
            if type(hook).__module__ not in OF_TORCH:
                named = key in part._forward_pre_hooks_with_kwargs
                own = OwnHook(isolated(hook, twins))
                yield path, own, twin.register_forward_pre_hook(own, with_kwargs=named)
        for key, hook in list(part._forward_hooks.items()):
            if type(hook).__module__ not in OF_TORCH:
                named = key in part._forward_hooks_with_kwargs
                own = OwnHook(isolated(hook, twins))
                yield path, own, twin.register_forward_hook(own, with_kwargs=named)


def _adopted_by_all(net: nn.Module, twins: dict[int, nn.Module]) -> Iterator[tuple[str, OwnHook, Any]]:
    for hook in list(_all._global_forward_pre_hooks.values()):
        for path, part in net.named_modules():
            own = OwnHook(isolated(hook, twins))
            yield path, own, part.register_forward_pre_hook(own)
    for key, hook in list(_all._global_forward_hooks.items()):
        named = key in _all._global_forward_hooks_with_kwargs
        for path, part in net.named_modules():
            own = OwnHook(isolated(hook, twins))
            yield path, own, part.register_forward_hook(own, with_kwargs=named)


def _without_common_hooks(net: nn.Module) -> dict[nn.Module, type]:
    """Let the modules of a private copy run hooks of their own alone, as long as they have such; the classes they had."""
    kinds = {part: type(part) for part in net.modules()}
    made = {kind: derived(kind, {"__call__": _run_alone}) for kind in dict.fromkeys(kinds.values())}
    for part, kind in kinds.items():
        object.__setattr__(part, "__class__", made[kind])
    return kinds


def _run_alone(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """A module's forward pass between its own hooks."""
    for key, before in list(self._forward_pre_hooks.items()):
        if key in self._forward_pre_hooks_with_kwargs:
            args, kwargs = before(self, args, kwargs) or (args, kwargs)
        elif (given := before(self, args)) is not None:
            args = given if isinstance(given, tuple) else (given,)
    out = self.forward(*args, **kwargs)
    for key, after in list(self._forward_hooks.items()):
        named = key in self._forward_hooks_with_kwargs
        made = after(self, args, kwargs, out) if named else after(self, args, out)
        out = out if made is None else made
    return out


def isolated(hook: Any, twins: dict[int, nn.Module]) -> Any:
    """The hook over copies of what it holds, so that what it notes down does not reach the person's lists."""
    if isinstance(hook, FunctionType):
        closure = tuple(CellType(_held(_content(cell), twins)) for cell in hook.__closure__ or ())
        names = {
            n: _held(v, twins) if n in hook.__code__.co_names else v for n, v in hook.__globals__.items()
        }
        usual = tuple(_held(v, twins) for v in hook.__defaults__ or ())
        made = FunctionType(hook.__code__, names, hook.__name__, usual or None, closure or None)
        made.__kwdefaults__ = {n: _held(v, twins) for n, v in (hook.__kwdefaults__ or {}).items()} or None
        return made
    if isinstance(hook, MethodType):
        return MethodType(hook.__func__, _held(hook.__self__, twins, whole=True))
    if isinstance(hook, functools.partial):
        args = [_held(a, twins) for a in hook.args]
        return functools.partial(
            isolated(hook.func, twins), *args, **{n: _held(v, twins) for n, v in hook.keywords.items()}
        )
    return _held(hook, twins, whole=True)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty yet
        return None


def _held(value: Any, twins: dict[int, nn.Module], *, whole: bool = False) -> Any:
    """What a hook holds, in our form: parts of the network are the copy's, tensors float32 on the processor."""
    if isinstance(value, nn.Module):
        return twins.get(id(value), value)
    if isinstance(value, MethodType) and id(value.__self__) in twins:
        return MethodType(value.__func__, twins[id(value.__self__)])
    if isinstance(value, Tensor):
        return value.detach().to(
            "cpu", torch.float32 if value.is_floating_point() else value.dtype, copy=True
        )
    if isinstance(value, dict):
        made = copy.copy(value)
        made.update({k: _held(v, twins) for k, v in value.items()})
        return made
    if isinstance(value, list | set):
        return type(value)(_held(v, twins) for v in value)
    if isinstance(value, FunctionType) and value.__closure__:
        return isolated(value, twins)
    if whole and hasattr(value, "__dict__"):
        made = copy.copy(value)
        made.__dict__.update({n: _held(v, twins) for n, v in vars(value).items()})
        return made
    return value
