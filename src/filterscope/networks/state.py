"""Python values and code in a form that can be compared with what it was: so that an opened model object is opened anew
only once something of it has changed.

Attributes by value, through lists, dictionaries and objects; functions by their code, with the globals that this code
names. What cannot be compared (a random generator, an open file) raises UnknownError.
"""

from __future__ import annotations

import enum
import functools
import logging
import math
import re
import sys
import threading
import types
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST = 100_000  # values looked at: a module that holds more is not compared
MOST_NUMBERS = 1_000_000  # of a tensor or an array among attributes
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


# their functions know tensors of a traced graph, or never see one
_AS_IT_IS = {"torch", "numpy", *sys.stdlib_module_names}


def is_as_it_is(module: str) -> bool:
    """Whether code of a Python module of this name is torch's, NumPy's or Python's own, which nobody changes."""
    return module.partition(".")[0] in _AS_IT_IS


class Values:
    """Values in comparable form; `places` names by identity what is compared elsewhere."""

    def __init__(self, places: dict[int, Any]):
        self.places = places
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no number in `seen` is given to something else meanwhile
        self.count = 0

    def is_as_it_is(self, module: str) -> bool:
        """Whether nobody changes code of a Python module of this name."""
        return is_as_it_is(module)

    def code(self, kinds: Iterable[type], first: set[str]) -> Iterator[Any]:
        """Members of classes, their bases too, by the names in `first`, and whatever else of the classes these name."""
        own = [c for k in dict.fromkeys(kinds) for c in k.__mro__ if not self.is_as_it_is(c.__module__)]
        members = [(c, name, value) for c in dict.fromkeys(own) for name, value in list(vars(c).items())]
        named, done = set(first), 0
        while len(named) > done:  # until nothing more is named
            done = len(named)
            for _, name, value in members:
                if name in named:
                    for function in functions_of(value):
                        named |= names_of(function.__code__)
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
            return (value,) if self.is_as_it_is(value.__module__) else (value, *self._members(value))
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
        return self._object(value)

    def _object(self, value: Any) -> Any:
        kind = type(value)
        if not hasattr(value, "__dict__") or (
            self.is_as_it_is(kind.__module__) and kind is not types.SimpleNamespace
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
        if self.is_as_it_is(own.get("__name__", "")):
            return "function", id(function), function
        found = [(name, self.of(own[name])) for name in sorted(names_of(function.__code__)) if name in own]
        told = map(self.of, (function.__defaults__, function.__kwdefaults__))
        closed = [self.of(c.cell_contents) for c in function.__closure__ or () if not is_empty(c)]
        return "function", function.__code__, *told, *closed, *found, *self._modules(function, own)

    def _modules(self, function: types.FunctionType, own: dict[str, Any]) -> Iterator[Any]:
        """What a function may take out of modules that it names: `config.SCALE`."""
        names = names_of(function.__code__)
        for module in [own[n] for n in sorted(names) if isinstance(own.get(n), types.ModuleType)]:
            if not self.is_as_it_is(module.__name__):
                yield (
                    module.__name__,
                    *((n, self.of(vars(module)[n])) for n in sorted(names) if n in vars(module)),
                )


@functools.lru_cache(maxsize=10_000)
def names_of(code: types.CodeType) -> frozenset[str]:
    """All global names and attributes that code names, also that of functions within it."""
    within = [names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return frozenset(code.co_names).union(*within)


def functions_of(value: Any) -> list[types.FunctionType]:
    """The functions that a member of a class is: a property's both."""
    members = (
        (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
    )
    return [f for f in members if isinstance(f, types.FunctionType)]


def is_empty(cell: types.CellType) -> bool:
    """Whether a closure's cell holds nothing yet."""
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
