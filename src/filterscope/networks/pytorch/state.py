"""What a live module's results depend on besides its tensors, in a form that can be compared with what it was: the
attributes of its modules, and the code of its forward pass."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from filterscope.networks.pytorch.own_hooks import global_hooks
from filterscope.networks.state import UnknownError, Values, functions_of, is_as_it_is, is_empty, names_of

_OURS = (
    "_parameters",
    "_buffers",
    "_modules",
    "training",
)  # compared elsewhere, or of no consequence for a copy


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
        names = names_of(function.__code__)
        closed = [c.cell_contents for c in function.__closure__ or () if not is_empty(c)]
        for value in (*(function.__globals__[n] for n in names if n in function.__globals__), *closed):
            todo += functions_of(value)
            yield value, names


def _forward_functions(module: nn.Module) -> Iterator[types.FunctionType]:
    """Functions that the modules' classes have, or that modules hold."""
    parts = list(module.modules())
    kinds = dict.fromkeys(c for part in parts for c in type(part).__mro__ if not is_as_it_is(c.__module__))
    for value in [v for holder in (*parts, *kinds) for v in list(vars(holder).values())]:
        yield from functions_of(value.func if isinstance(value, functools.partial) else value)


class _State(Values):
    def __init__(self, module: nn.Module):
        self.parts = dict(module.named_modules(remove_duplicate=False))
        super().__init__({id(part): ("part", path) for path, part in reversed(self.parts.items())})

    def whole(self) -> Any:
        """The module's attributes, and the code of its forward passes."""
        attributes = tuple((path, type(part), *self._attributes(part)) for path, part in self.parts.items())
        kinds = map(type, self.parts.values())
        code = self.code(kinds, {"forward", "__call__", "__getattr__", "__getattribute__"})
        return (attributes, *map(self.of, global_hooks()), *code)

    def _attributes(self, part: nn.Module) -> Iterator[Any]:
        for name, value in list(vars(part).items()):
            if name not in _OURS:
                yield name, Tensor if isinstance(value, Tensor) else self.of(value)
        yield tuple(vars(part)["_modules"])  # their order counts

    def _object(self, value: Any) -> Any:
        if isinstance(value, nn.Module):  # kept where torch does not see it
            return tuple(
                (path, type(m), *map(self.of, named_tensors(m).values()), *self._attributes(m))
                for path, m in value.named_modules()
            )
        return super()._object(value)
