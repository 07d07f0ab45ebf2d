"""NumPy arrays in a checkpoint, made tensors without NumPy's own reader: of plain numbers, as many bytes as they say."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KIND = re.compile(r"[<>|=]?([fiu][1248]|b1|c8|c16)")
_ENTRIES = 10_000_000  # dictionaries and lists that are looked through


class ArrayKind:
    """A dtype as a pickle names it: "f4", and how its bytes lie."""

    def __init__(self, name: Any = None, *_: Any):
        self.name, self.is_big = name, False

    def set_state(self, state: Any) -> None:
        """(version, byte order, ...)"""
        self.is_big = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"

    def dtype(self) -> np.dtype[Any] | None:
        """NumPy's, None for what no tensor holds."""
        found = _KIND.fullmatch(self.name) if isinstance(self.name, str) else None
        return np.dtype((">" if self.is_big else "<") + found[1]) if found else None


class ArrayNumbers:
    """An array as a pickle builds it: empty first, then its state."""

    def __init__(self, state: Any = None):
        self.state = state

    def set_state(self, state: Any) -> None:
        """(version, shape, kind, whether columns come first, bytes)"""
        self.state = state

    def tensor(self) -> Tensor | None:
        """The numbers; None where they are none, or not as many bytes as the shape says."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            return None
        _, shape, kind, by_columns, numbers = self.state
        dtype = kind.dtype() if isinstance(kind, ArrayKind) else None
        if dtype is None or not isinstance(numbers, bytes | bytearray) or not _is_shape(shape):
            return None
        if prod(shape) * dtype.itemsize != len(numbers):
            return None
        values = np.frombuffer(bytes(numbers), dtype).reshape(shape, order="F" if by_columns else "C")
        return torch.from_numpy(values.astype(dtype.newbyteorder("="), order="C", copy=True))


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**31 for n in shape)


def array(*_: Any) -> ArrayNumbers:
    """In place of NumPy's `_reconstruct`."""
    return ArrayNumbers()


def array_of_bytes(
    numbers: Any = None, kind: Any = None, shape: Any = None, order: Any = "C", *_: Any
) -> ArrayNumbers:
    """In place of NumPy's `_frombuffer`, which newer pickles ask for."""
    return ArrayNumbers((1, shape, kind, order == "F", numbers))


def with_tensors(value: Any) -> Any:
    """Dictionaries and lists in which arrays have become tensors; the same object otherwise."""
    todo, seen = [value], set[int]()
    while todo and len(seen) < _ENTRIES:
        held = todo.pop()
        if id(held) in seen or not isinstance(held, dict | list):
            continue
        seen.add(id(held))
        for key, inner in list(held.items() if isinstance(held, dict) else enumerate(held)):
            if isinstance(inner, ArrayNumbers) and (made := inner.tensor()) is not None:
                held[key] = made
            elif isinstance(inner, dict | list):
                todo.append(inner)
    return value
