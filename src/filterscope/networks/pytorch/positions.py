"""Which size of pictures a network's table of positions was made for: found on shapes alone, where what is added to its
maps or tokens does not grow with the picture.

What runs does not tell it: a table is cut for a smaller picture, and a map of a single place is spread over it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from filterscope.networks.known_shapes import KnownShapes
from filterscope.sides import Sides, Size, as_size

LARGE = 2048  # px: beyond every table that tells a size
LARGEST = 1024  # px that is looked for up to
SMALL = 64  # px of one side, while the other is looked at
ROUNDS = 4  # sides are set right one after the other, where rows and columns have tables of their own
_ADDS = {"add", "sub", "mul", "iadd", "isub", "imul", "radd", "rmul"}
Shape = tuple[int, ...]


class _EnoughError(Exception):
    pass


@dataclass(frozen=True)
class _Meeting:
    """The shapes of an activation and of the table that is added to it, brought to the same number of axes."""

    activation: Shape
    table: Shape

    def limits(self) -> dict[int, int]:
        """By axis how many places the table has, where the activation has more."""
        pairs = enumerate(zip(self.activation, self.table, strict=True))
        return {axis: t for axis, (a, t) in pairs if a > t > 1}

    def fits(self) -> bool:
        """Whether a place of the table meets each of the activation, and no other."""
        return all(t in (1, a) for a, t in zip(self.activation, self.table, strict=True))


class _Meetings(TorchFunctionMode):
    """Notes where what is made of a network's parameters and buffers alone is added to anything else."""

    def __init__(self, net: nn.Module, most: int):
        super().__init__()
        self.found: list[_Meeting] = []
        self.most = most
        self.kept: list[Tensor] = [*net.parameters(), *net.buffers()]
        self.tables = set(map(_memory, self.kept))
        self.rows: dict[int, int] = {}  # of what was looked up in a table: how many rows that has

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        own = [_memory(t) in self.tables for t in given]
        name = getattr(func, "__name__", "").strip("_")
        if name in _ADDS and len(given) == 2 and own[0] != own[1]:
            self._note(*(given if own[1] else reversed(given)))
        out = func(*args, **(kwargs or {}))
        looked_up = name == "embedding" and any(own)
        if isinstance(out, Tensor) and (looked_up or (own and all(own))):
            self.kept.append(out)  # so that its memory is given to nothing else
            self.tables.add(_memory(out))
            table = given[own.index(True)]
            if rows := len(table) if looked_up else self.rows.get(_memory(table)):
                self.rows[_memory(out)] = rows
        return out

    def _note(self, activation: Tensor, table: Tensor) -> None:
        axes = max(activation.ndim, table.ndim)
        rows = self.rows.get(_memory(table))
        met, own = ((1,) * (axes - t.ndim) + tuple(t.shape) for t in (activation, table))
        if rows:
            own = tuple(min(t, rows) if t == a else t for a, t in zip(met, own, strict=True))
        self.found.append(_Meeting(met, own))
        if len(self.found) == self.most:
            raise _EnoughError


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


@dataclass
class Positions:
    """A network on the meta device, of `channels` channels and `batch` pictures at least, and the `wide` sizes to try."""

    meta: nn.Module
    channels: int
    batch: int
    wide: Sequence[Sides]
    known: dict[tuple[Sides, int], list[_Meeting]] = field(default_factory=dict)

    def size(self) -> tuple[Size, bool] | None:
        """The size that the tables of positions were made for, and whether it uses them whole: else it is the largest
        that runs. None where there are none, or none that tells it."""
        if not any(m.limits() for m in self._at((LARGE, LARGE))):
            return None
        sides: Sides = (SMALL, SMALL)
        for _ in range(ROUNDS):
            before, sides = sides, self._step(sides)
            if sides == before:
                break
        whole = self._fits(sides) and self._uses_all(sides)
        return (as_size(*sides), whole) if whole or sides != (SMALL, SMALL) else None

    def _step(self, sides: Sides) -> Sides:
        """The sides with what a table limits set right."""
        now, both = self._at(sides), self._at((LARGE, LARGE))
        high, wide = self._at((LARGE, sides[1])), self._at((sides[0], LARGE))
        for place, (b, h, w) in enumerate(zip(both, high, wide, strict=False)):
            for axis, limit in b.limits().items():
                if h.activation[axis] != b.activation[axis] != w.activation[axis]:
                    return self._of_tokens(place, axis, limit) or sides
        height = self._of_side(now, high, lambda s: (s, sides[1])) or sides[0]
        return height, self._of_side(now, wide, lambda s: (height, s)) or sides[1]

    def _of_side(self, now: list[_Meeting], far: list[_Meeting], sides: Callable[[int], Sides]) -> int | None:
        """One side, where a table limits an axis that grows with it."""
        for place, (before, after) in enumerate(zip(now, far, strict=False)):
            for axis, limit in after.limits().items():
                if before.activation[axis] != after.activation[axis]:
                    return self._largest(lambda s, p=place, a=axis: self._count(sides(s), p, a), limit)  # type: ignore[misc]
        return None

    def _of_tokens(self, place: int, axis: int, limit: int) -> Sides | None:
        """Rows and columns in one axis: a square that has as many places, a usual size that is not square, or the largest
        square that has no more."""
        square = self._largest(lambda s: self._count((s, s), place, axis), limit)
        if square is None:
            return None
        if self._count((square, square), place, axis) == limit:
            return square, square
        exact = (s for s in self.wide if self._count(s, place, axis) == limit and self._fits(s))
        whole = (
            (h, w)
            for h, w in exact
            if max(self._count((h - 1, w), place, axis), self._count((h, w - 1), place, axis)) < limit
        )
        return next(whole, (square, square))

    def _largest(self, count: Callable[[int], int], limit: int) -> int | None:
        """The largest side whose count is no more than the limit, without pixels that no patch takes in; None where the
        largest side that is looked at has no more."""
        if count(LARGEST) <= limit:
            return None
        last = _last(lambda s: count(s) <= limit, LARGEST)
        if not last:
            return None
        first = _last(lambda s: count(s) < count(last), last) + 1
        return last - last % (last - first + 1)

    def _count(self, sides: Sides, place: int, axis: int) -> int:
        """How many places an activation has along an axis."""
        met = self._at(sides, place + 1)
        return met[place].activation[axis] if len(met) > place else 0

    def _fits(self, sides: Sides) -> bool:
        met = self._at(sides)
        return bool(met) and all(m.fits() for m in met if max(m.table) > 1)

    def _uses_all(self, sides: Sides) -> bool:
        """Whether there are as many places as the tables have, and none to spare."""
        far = [self._at(s) for s in ((LARGE, LARGE), (LARGE, sides[1]), (sides[0], LARGE))]
        return all(
            met.activation[axis] == limit
            for meetings in far
            for met, large in zip(self._at(sides), meetings, strict=False)
            for axis, limit in large.limits().items()
        )

    def _at(self, sides: Sides, most: int = 0) -> list[_Meeting]:
        """The meetings in turn, as far as the forward pass goes; no more than `most`."""
        if (sides, most) not in self.known:
            meetings = _Meetings(self.meta, most)
            with torch.no_grad(), KnownShapes(), meetings, contextlib.suppress(Exception):
                self.meta(torch.zeros(self.batch, self.channels, *sides, device="meta"))
            self.known[sides, most] = meetings.found
        return self.known[sides, most]


def _last(holds: Callable[[int], bool], most: int) -> int:
    """The last number up to `most` for which something holds that holds up to some number; 0 where for none."""
    works, fails = 0, most + 1
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if holds(middle) else (works, middle)
    return works
