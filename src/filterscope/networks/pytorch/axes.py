"""What an axis of a value counts: rows, columns, patches of the picture; and what becomes of them in a reshape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from filterscope.networks.known_shapes import pair
from filterscope.networks.patches import Patches


@dataclass(frozen=True)
class Side:
    """An axis that counts a map's rows or columns, or those within each of its parts where they were taken apart."""

    name: str
    within: bool = False


@dataclass(frozen=True)
class Merged:
    """Axes laid behind one another as one, which a later reshape may take apart again."""

    sizes: tuple[int, ...]
    tags: tuple[Any, ...]


ROWS, COLUMNS = Side("rows"), Side("columns")
ROWS_WITHIN, COLUMNS_WITHIN = Side("rows", within=True), Side("columns", within=True)
Tag = Side | Patches | Merged | None
Tags = tuple[Tag, ...]


def reshaped(before: Sequence[int], tags: Tags, after: Sequence[int]) -> Tags:
    """What the axes of a reshaped value count: rows and columns in one axis are patches, patches in two are rows and
    columns; what is mixed with anything else is nothing that is known.

    >>> reshaped((2, 8, 4, 6), (None, None, ROWS, COLUMNS), (2, 8, 24))
    (None, None, Patches(rows=4, columns=6, front=0, back=0))
    """
    found: list[Tag] = []
    i = j = 0
    while i < len(before) or j < len(after):
        ins, outs = list(range(i, min(i + 1, len(before)))), list(range(j, min(j + 1, len(after))))
        while prod(before[a] for a in ins) != prod(after[a] for a in outs):
            if prod(before[a] for a in ins) < prod(after[a] for a in outs):
                if (ins and ins[-1] + 1 >= len(before)) or not ins:
                    return (None,) * len(after)
                ins.append(ins[-1] + 1)
            else:
                if (outs and outs[-1] + 1 >= len(after)) or not outs:
                    return (None,) * len(after)
                outs.append(outs[-1] + 1)
        found += _grouped([(before[a], tags[a]) for a in ins], [after[a] for a in outs])
        i, j = i + max(len(ins), 0), j + len(outs)
        if not ins and not outs:
            break
    return tuple(found) if len(found) == len(after) else (None,) * len(after)


def _grouped(ins: list[tuple[int, Tag]], outs: list[int]) -> list[Tag]:
    """The axes that one or several axes become, whose sizes have the same product."""
    real = [(size, tag) for size, tag in ins if size != 1 or tag is not None]
    sizes, kinds = [size for size, _ in real], [tag for _, tag in real]
    wide = [i for i, size in enumerate(outs) if size != 1] or list(range(len(outs)))[:1]
    found: list[Tag] = [None] * len(outs)
    if len(wide) == 1 and kinds == [ROWS, COLUMNS]:
        found[wide[0]] = Patches(sizes[0], sizes[1])
    elif len(wide) == 1 and kinds == [ROWS, ROWS_WITHIN, COLUMNS, COLUMNS_WITHIN]:
        found[wide[0]] = Patches(sizes[0] * sizes[1], sizes[2] * sizes[3])
    elif len(wide) == 1 and (len(kinds) == 1 or kinds in ([ROWS, ROWS_WITHIN], [COLUMNS, COLUMNS_WITHIN])):
        found[wide[0]] = kinds[0]
    elif len(kinds) == 1 and len(wide) > 1:
        for i, tag in zip(wide, _apart(kinds[0], [outs[i] for i in wide]), strict=False):
            found[i] = tag
    elif len(wide) == 1 and any(kinds):
        found[wide[0]] = Merged(tuple(sizes), tuple(kinds))
    return found


def _apart(tag: Tag, sizes: list[int]) -> Sequence[Tag]:
    """What several axes count that one axis becomes."""
    if isinstance(tag, Merged):
        return tag.tags if list(tag.sizes) == sizes else ()
    if isinstance(tag, Patches):
        whole = not tag.front + tag.back and sizes == [tag.rows, tag.columns]
        return (ROWS, COLUMNS) if whole else ()
    if isinstance(tag, Side) and not tag.within and len(sizes) == 2:
        return (tag, Side(tag.name, within=True))
    return ()


def sliced(tag: Tag, size: int, part: slice) -> Tag:
    """What is left of an axis of that size: patches lose the tokens in front and behind first.

    >>> sliced(Patches(4, 6, front=1), 25, slice(1, None))
    Patches(rows=4, columns=6, front=0, back=0)
    """
    if not isinstance(tag, Patches):
        return tag
    start, stop, step = part.indices(size)
    if step != 1:
        return None
    front, back = tag.front - start, tag.back - (size - stop)
    return Patches(tag.rows, tag.columns, front, back) if front >= 0 and back >= 0 else None


def blocks(module: nn.Unfold, shape: Sequence[int]) -> Tag:
    """The blocks that an Unfold lays behind one another."""
    moves = zip(
        shape[-2:],
        *map(pair, (module.kernel_size, module.stride, module.padding, module.dilation)),
        strict=True,
    )
    rows, columns = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in moves)
    return Patches(rows, columns)
