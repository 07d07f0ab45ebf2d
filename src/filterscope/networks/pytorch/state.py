"""What a live module's results depend on besides its tensors, in a form that can be compared with what it was.

Attributes of its modules by value, through lists, dictionaries and objects; the code of its forward pass, with the
globals that this code names. What cannot be compared (a random generator, an open file) makes the whole unknown.
"""

from __future__ import annotations

import enum
import functools
import logging
import math
import re
import threading
import types
from collections import deque
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from filterscope.networks.pytorch.code import is_as_it_is
from filterscope.networks.pytorch.own_hooks import global_hooks

MOST = 100_000  # values looked at: a module that holds more is not compared
MOST_NUMBERS = 1_000_000  # of a tensor or an array among attributes
_OURS = (
    "_parameters",
    "_buffers",
    "_modules",
    "training",
)  # compared elsewhere, or of no consequence for a copy
_PLAIN = (
    type(None), bool, int, str, bytes, complex, type(Ellipsis), type(NotImplemented), torch.dtype, torch.device,
    torch.layout, torch.memory_format, np.dtype, np.generic, enum.Enum, PurePath, re.Pattern, range,
)  # fmt: skip
_BY_NAME = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType,
    types.MemberDescriptorType, types.MethodWrapperType, types.ClassMethodDescriptorType, types.ModuleType,
    logging.Logger, type(threading.Lock()), type(threading.RLock()), np.ufunc, torch._ops.OpOverload,
    torch._ops.OpOverloadPacket,
)  # fmt: skip


class UnknownError(Exception):
    """Something that cannot be compared with what it was."""


def state_of(module: nn.Module) -> Any:
    """All that is compared, as nested tuples; None where something cannot be compared."""
    try:
        return _State(module).whole()
    except (
        UnknownError,
        RuntimeError,
        RecursionError,
    ):  # a RuntimeError: another thread changes it at this moment
        return None


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters, buffers and plain tensors by name, shared ones under each."""
    return {
        f"{path}.{name}".lstrip("."): value
        for path, part in module.named_modules(remove_duplicate=False)
        for kept in (part._parameters, part._buffers, vars(part))
        for name, value in list(kept.items())
        if isinstance(value, Tensor)
    }


def named_globals(module: nn.Module) -> Iterator[tuple[Any, frozenset[str]]]:
    """What the code of a module's forward passes names in its files, with all names of the function that does so; also
    of functions that it calls."""
    todo = list(_forward_functions(module))
    seen = set()
    while todo:
        function = todo.pop()
        if function in seen or is_as_it_is(function.__globals__.get("__name__", "")):
            continue
        seen.add(function)
        names = _names(function.__code__)
        closed = [c.cell_contents for c in function.__closure__ or () if not _is_empty(c)]
        for value in (*(function.__globals__[n] for n in names if n in function.__globals__), *closed):
            todo += _functions(value)
            yield value, names


def _forward_functions(module: nn.Module) -> Iterator[types.FunctionType]:
    """Functions that the modules' classes have, or that modules hold."""
    parts = list(module.modules())
    kinds = dict.fromkeys(c for part in parts for c in type(part).__mro__ if not is_as_it_is(c.__module__))
    for value in [v for holder in (*parts, *kinds) for v in list(vars(holder).values())]:
        yield from _functions(value.func if isinstance(value, functools.partial) else value)


class _State:
    def __init__(self, module: nn.Module):
        self.parts = dict(module.named_modules(remove_duplicate=False))
        self.places = {id(part): path for path, part in reversed(self.parts.items())}
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no number in `seen` is given to something else meanwhile
        self.count = 0

    def whole(self) -> Any:
        attributes = tuple((path, type(part), *self._attributes(part)) for path, part in self.parts.items())
        return (attributes, *map(self.of, global_hooks()), *self._code())

    def _attributes(self, part: nn.Module) -> Iterator[Any]:
        for name, value in list(vars(part).items()):
            if name not in _OURS:
                yield name, Tensor if isinstance(value, Tensor) else self.of(value)
        yield tuple(vars(part)["_modules"])  # their order counts

    def _code(self) -> Iterator[Any]:
        """The forward passes, and whatever else of the modules' classes these name."""
        kinds = list(dict.fromkeys(type(part) for part in self.parts.values()))
        own = [c for k in kinds for c in k.__mro__ if not is_as_it_is(c.__module__)]
        members = [(c, name, value) for c in dict.fromkeys(own) for name, value in list(vars(c).items())]
        named, done = {"forward", "__call__", "__getattr__", "__getattribute__"}, 0
        while len(named) > done:  # until nothing more is named
            done = len(named)
            for _, name, value in members:
                if name in named:
                    for function in _functions(value):
                        named |= _names(function.__code__)
        for kind, name, value in members:
            if name in named:
                yield kind, name, self.of(value)

    def of(self, value: Any) -> Any:
        """A value in comparable form."""
        self.count += 1
        if self.count > MOST:
            raise UnknownError("too much")
        if isinstance(value, float):
            return math.copysign(1, value), repr(value)
        if isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, _BY_NAME):
            return (value,) if isinstance(value, types.ModuleType) else (type(value), id(value), value)
        if id(value) in self.places:
            return "part", self.places[id(value)]
        if id(value) in self.seen:
            return "again", self.seen[id(value)]
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)
        return self._within(value)

    def _within(self, value: Any) -> Any:
        if isinstance(value, Tensor | np.ndarray):
            return _numbers(value)
        if isinstance(value, type):
            return (value,) if is_as_it_is(value.__module__) else (value, *self._members(value))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return types.MethodType, self.of(value.__self__), self.of(value.__func__)
        if isinstance(value, functools.partial):
            return functools.partial, *map(self.of, (value.func, value.args, value.keywords))
        if isinstance(value, staticmethod | classmethod):
            return type(value), self.of(value.__func__)
        if isinstance(value, property):
            return property, *map(self.of, (value.fget, value.fset, value.fdel))
        if isinstance(value, functools._lru_cache_wrapper):
            return functools.lru_cache, self.of(value.__wrapped__)
        if isinstance(value, dict):
            return type(value), *((self.of(k), self.of(v)) for k, v in list(value.items())), *self._own(value)
        if isinstance(value, list | tuple | deque):
            return type(value), *map(self.of, list(value)), *self._own(value)
        if isinstance(value, set | frozenset):
            return type(value), frozenset(map(self.of, list(value)))
        if isinstance(value, nn.Module):  # kept where torch does not see it
            return tuple(
                (path, type(m), *map(self.of, named_tensors(m).values()), *self._attributes(m))
                for path, m in value.named_modules()
            )
        return self._object(value)

    def _object(self, value: Any) -> Any:
        kind = type(value)
        if not hasattr(value, "__dict__") or (
            is_as_it_is(kind.__module__) and kind is not types.SimpleNamespace
        ):
            raise UnknownError(kind.__name__)
        if any("__slots__" in vars(c) and vars(c)["__slots__"] for c in kind.__mro__):
            raise UnknownError(kind.__name__)
        return kind, *self._own(value)

    def _own(self, value: Any) -> Iterator[Any]:
        """The attributes of an object."""
        return ((name, self.of(v)) for name, v in list(getattr(value, "__dict__", {}).items()))

    def _members(self, kind: type) -> Iterator[Any]:
        return (
            (name, self.of(value))
            for name, value in list(vars(kind).items())
            if isinstance(value, (types.FunctionType, staticmethod, classmethod, property, float, *_PLAIN))
        )

    def _function(self, function: types.FunctionType) -> Any:
        own = function.__globals__
        if is_as_it_is(own.get("__name__", "")):
            return "function", id(function), function
        found = [(name, self.of(own[name])) for name in sorted(_names(function.__code__)) if name in own]
        told = map(self.of, (function.__defaults__, function.__kwdefaults__))
        closed = [self.of(c.cell_contents) for c in function.__closure__ or () if not _is_empty(c)]
        return "function", function.__code__, *told, *closed, *found, *self._modules(function, own)

    def _modules(self, function: types.FunctionType, own: dict[str, Any]) -> Iterator[Any]:
        """What a function may take out of modules that it names: `config.SCALE`."""
        names = _names(function.__code__)
        for module in [own[n] for n in sorted(names) if isinstance(own.get(n), types.ModuleType)]:
            if not is_as_it_is(module.__name__):
                yield (
                    module.__name__,
                    *((n, self.of(vars(module)[n])) for n in sorted(names) if n in vars(module)),
                )


@functools.lru_cache(maxsize=10_000)
def _names(code: types.CodeType) -> frozenset[str]:
    """All global names and attributes that code names, also that of functions within it."""
    within = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return frozenset(code.co_names).union(*within)


def _functions(value: Any) -> list[types.FunctionType]:
    members = (
        (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
    )
    return [f for f in members if isinstance(f, types.FunctionType)]


def _is_empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True


def _numbers(value: Tensor | np.ndarray) -> Any:
    count = value.numel() if isinstance(value, Tensor) else value.size
    if count > MOST_NUMBERS or (isinstance(value, Tensor) and (value.is_meta or value.is_sparse)):
        raise UnknownError("many numbers")
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise UnknownError("objects")
        return value.shape, value.dtype, value.tobytes()
    plain = value.detach().cpu().contiguous().flatten()
    return tuple(value.shape), value.dtype, plain.view(torch.uint8).numpy().tobytes() if count else b""
