"""A person's code under globals of our own, for as long as a private copy of their module is traced.

torch's own tracer replaces functions in the person's files and methods of torch.nn.Module while it runs, which all
threads of the process see. Here nothing of theirs is touched: the modules of the private copy, which nobody else
has, get classes of their own, whose methods are the person's functions over other globals.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, ModuleType
from typing import Any

from torch import fx, nn
from torch.fx.node import map_aggregate

from filterscope.networks.state import is_as_it_is

Call = Callable[..., Any]
OnCall = Callable[[nn.Module, Call, tuple[Any, ...], dict[str, Any]], Any]
OnAttribute = Callable[[str, Any], Any]

_NOT_COPIED = {
    "__dict__",
    "__weakref__",
    "__slots__",
    "__init_subclass__",
    "__abstractmethods__",
    "_abc_impl",
}
_MATH = {id(value) for name, value in vars(math).items() if not name.startswith("_") and callable(value)}


@contextlib.contextmanager
def own_code(module: nn.Module, on_call: OnCall, on_attribute: OnAttribute, length: Call) -> Iterator[None]:
    """Inside, calls of the modules in a private copy go to `on_call` (module, call, args, kwargs), what they look up
    in themselves through `on_attribute` (name, value), and `len` in their code is `length`.

    Functions marked by torch.fx.wrap, and those of Python's math, become nodes where they are given a value of the
    graph. TypeError for a module whose class cannot be stood in for.
    """
    code = _Code(length)
    parts = list(module.modules())
    kinds = [type(part) for part in parts]
    watched = {kind: _watched(code.kind(kind), kind, on_call, on_attribute) for kind in dict.fromkeys(kinds)}
    try:
        for part, kind in zip(parts, kinds, strict=True):
            object.__setattr__(part, "__class__", watched[kind])
        yield
    finally:
        for part, kind in zip(parts, kinds, strict=True):
            object.__setattr__(part, "__class__", kind)


@classmethod  # type: ignore[misc]
def _untold(cls: type, **_: Any) -> None:
    return


class _Quiet(nn.Module):
    """In front of a person's classes: they are not told that there is a class more."""

    __slots__ = ()
    __init_subclass__ = _untold


def _derived(kind: type, bases: tuple[type, ...], names: dict[str, Any]) -> type:
    """A class that says it is `kind`, made without asking a person's metaclass."""
    told = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__slots__": (), **names}
    return type.__new__(type(kind), kind.__name__, bases, told)


def derived(kind: type, names: dict[str, Any]) -> type:
    """A class of modules that says it is `kind`, with other members of these names."""
    return _derived(kind, (_Quiet, kind), names)


def _watched(kind: type, original: type, on_call: OnCall, on_attribute: OnAttribute) -> type:
    call, look_up = kind.__call__, kind.__getattr__  # type: ignore[attr-defined]

    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        return on_call(self, functools.partial(call, self), args, kwargs)

    def __getattr__(self: nn.Module, name: str) -> Any:  # noqa: N807
        return on_attribute(name, look_up(self, name))

    bases = (_Quiet, kind) if kind is original else (kind,)
    return _derived(original, bases, {"__call__": __call__, "__getattr__": __getattr__})


class _Code:
    """Copies of functions, classes and modules by the originals' identity, made as they are looked up."""

    def __init__(self, length: Call):
        self.length = length
        self.globals: dict[int, _Globals] = {}
        self.kinds: dict[type, type] = {}
        self.functions: dict[FunctionType, FunctionType] = {}
        self.math = _Library(self, math)

    def kind(self, kind: type) -> type:
        """A class whose methods, inherited ones too, are over our globals, and which is derived from `kind`."""
        if is_as_it_is(kind.__module__):
            return kind
        is_part = issubclass(kind, nn.Module)
        if not is_part and any("__init_subclass__" in vars(c) for c in kind.__mro__ if c is not object):
            return kind
        if kind not in self.kinds:
            bases = [copy for base in kind.__bases__ if (copy := self.kind(base)) is not base]
            cell = CellType()
            names = {
                name: self._member(value, kind, cell)
                for name, value in vars(kind).items()
                if name not in _NOT_COPIED and type(value).__name__ != "member_descriptor"
            }
            first = bases or ([_Quiet] if is_part else [])
            made = _derived(kind, (*first, kind), {**names, "__init_subclass__": _untold})
            cell.cell_contents = made
            self.kinds[kind] = made
        return self.kinds[kind]

    def _member(self, value: Any, kind: type, cell: CellType) -> Any:
        if isinstance(value, FunctionType):
            return self.function(value, kind, cell)
        if type(value) in (staticmethod, classmethod) and isinstance(value.__func__, FunctionType):
            return type(value)(self.function(value.__func__, kind, cell))
        if type(value) is property:
            made = [f and self._member(f, kind, cell) for f in (value.fget, value.fset, value.fdel)]
            return property(*made)
        return value

    def value(self, value: Any) -> Any:
        """What code finds in its globals, in our form."""
        if value is math:
            return self.math
        if isinstance(value, FunctionType):
            return self.function(value)
        if id(value) in _MATH:
            return leaf(value)
        if isinstance(value, ModuleType) and not is_as_it_is(value.__name__):
            return _Library(self, value)
        return value

    def function(self, own: FunctionType, kind: type | None = None, cell: CellType | None = None) -> Any:
        """A function over our globals. `cell` stands for the one in which methods of `kind` find their class."""
        if own in self.functions or not _is_own(own, set()):
            return self.functions.get(own, own)
        names = (
            own.__globals__
            if is_as_it_is(own.__globals__.get("__name__", ""))
            else self.names(own.__globals__)
        )
        closure = tuple(_stand_in(c, kind, cell) for c in own.__closure__ or ())
        made = FunctionType(own.__code__, names, own.__name__, own.__defaults__, closure or None)
        made.__kwdefaults__, made.__module__ = own.__kwdefaults__, own.__module__
        made.__qualname__, made.__annotations__ = own.__qualname__, own.__annotations__
        made.__dict__.update(own.__dict__)
        self.functions[own] = made
        for old, new in zip(own.__closure__ or (), closure, strict=True):
            if new is not old and new is not cell:  # what a decorator has wrapped
                new.cell_contents = self.function(old.cell_contents, kind, cell)
        return made

    def names(self, own: dict[str, Any]) -> _Globals:
        """A file's globals in our form."""
        if id(own) not in self.globals:
            self.globals[id(own)] = _Globals(self, own)
        return self.globals[id(own)]


class _Globals(dict[str, Any]):
    """A file's globals, looked up as they are needed; what code sets stays here."""

    def __init__(self, code: _Code, own: dict[str, Any]):
        # what an import statement asks for, it asks the dictionary itself
        super().__init__({n: v for n, v in own.items() if n.startswith("__") and n.endswith("__")})
        self.setdefault("__builtins__", builtins)
        self.code, self.own = code, own

    def __missing__(self, name: str) -> Any:
        if _is_wrapped(self.own, name):
            found = leaf(self.own[name] if name in self.own else getattr(builtins, name))
        elif name == "len" and name not in self.own:
            found = self.code.length
        else:
            found = self.code.value(self.own[name])
        self[name] = found
        return found


def _is_wrapped(own: dict[str, Any], name: str) -> bool:
    """Whether torch.fx.wrap has marked what a file's globals hold under a name: in that file, or in the function's own,
    from which it was imported."""
    marked = getattr(fx._symbolic_trace, "_wrapped_fns_to_patch", {})
    held = own.get(name)
    defined = isinstance(held, FunctionType) and (id(held.__globals__), held.__name__) in marked
    return defined or (id(own), name) in marked


class _Library(ModuleType):
    """A Python module whose functions are in our form."""

    def __init__(self, code: _Code, own: ModuleType):
        super().__init__(own.__name__)
        self._code, self._own = code, own

    def __getattr__(self, name: str) -> Any:
        if self._own is math:
            return self._code.value(getattr(math, name))
        try:
            return self._code.names(vars(self._own))[name]
        except KeyError:
            return getattr(self._own, name)


def leaf(function: Call) -> Call:
    """The function as one node of the graph, where it is given a value of one; else itself."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        found: list[fx.Proxy] = []
        map_aggregate((args, kwargs), lambda v: found.append(v) if isinstance(v, fx.Proxy) else v)
        if found:
            return found[0].tracer.create_proxy("call_function", function, args, kwargs)
        return function(*args, **kwargs)

    return call


def _stand_in(cell: CellType, kind: type | None, own: CellType | None) -> CellType:
    """The cell in place of one in a function's closure: another where it holds a class or function to be copied."""
    held = _held(cell)
    if kind is not None and held is kind and own is not None:
        return own
    return CellType() if isinstance(held, FunctionType) and _is_own(held, set()) else cell


def _held(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty yet
        return None


def _is_own(function: FunctionType, seen: set[int]) -> bool:
    """Whether a function is a person's, or wraps one."""
    if id(function) in seen:
        return False
    seen.add(id(function))
    if not is_as_it_is(function.__globals__.get("__name__", "")):
        return True
    held = map(_held, function.__closure__ or ())
    return any(isinstance(f, FunctionType) and _is_own(f, seen) for f in held)
