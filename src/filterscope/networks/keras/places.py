"""Which sequences of a Keras graph are patches of the picture, followed from layer to layer.

A map laid out as tokens is patches, and with a class token in front it is patches with one more. As many tokens from
elsewhere (rows of a map, steps of a line of text, queries) are steps of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from filterscope.errors import NetworkError
from filterscope.networks.keras.layer_table import Row, Rows
from filterscope.networks.keras.layers.base import Shape
from filterscope.networks.keras.layers.merging import Merge
from filterscope.networks.keras.own import OwnCode
from filterscope.networks.patches import Patches, is_map

MOST_EXTRA = 16  # tokens that a person's own layer adds: of its class, registers
LEAST = 16  # patches: fewer, and one token more, may be anything
FROM = (
    2**20
)  # above what an operation holds itself, a class token say; exact in float32 for 15 million patches
# operations that move values and change none, and may be asked where each value went
_MOVES = (
    *("Concatenate", "ExpandDims", "GetItem", "Moveaxis", "Permute", "Reshape", "SlicingOpLambda", "Squeeze"),
    *("Swapaxes", "Transpose"),
)


@dataclass(frozen=True)
class _Place:
    """What is known of a row's value: its tokens as patches, whether these lie along its channels instead, and the
    maps and patches that it was made of, the latest first."""

    patches: Patches | None = None
    swapped: bool = False
    seen: tuple[Patches, ...] = ()


def patches_of(graph: Rows) -> dict[str, Patches]:
    """For each row whose value is tokens (C, N) of the picture's patches, which they are."""
    sides = next(row.value.shape for row in graph.rows.values() if row.kind == "InputLayer")[1:]
    places: dict[str, _Place] = {}
    for name, row in graph.rows.items():
        given = [(graph.rows[source].value.shape, places.get(source, _Place())) for source in row.inputs]
        place = _followed(row, given)
        shape = row.value.shape
        if place.patches:
            place = replace(place, seen=(place.patches, *place.seen))
        elif len(shape) == 3 and is_map(shape[1], shape[2], sides[0], sides[1]):
            place = replace(place, seen=(Patches(shape[1], shape[2]), *place.seen))
        places[name] = place
    return {name: place.patches for name, place in places.items() if place.patches}


def patches_among(graph: Rows) -> dict[str, Patches]:
    """The same of rows of which only the order is known: as many as a map before them has places, or one more."""
    sides = next(row.value.shape for row in graph.rows.values() if row.kind == "InputLayer")[1:]
    maps: dict[tuple[int, int], None] = {}
    found: dict[str, Patches] = {}
    for name, row in graph.rows.items():
        shape = row.value.shape
        if len(shape) == 3 and is_map(shape[1], shape[2], sides[0], sides[1]):
            maps[shape[1], shape[2]] = None
        for rows, columns in reversed(maps) if len(shape) == 2 else ():
            extra = shape[1] - rows * columns
            if extra == 0 or (extra == 1 and rows * columns >= LEAST):
                found[name] = Patches(rows, columns, extra)
                break
    return found


def _followed(row: Row, given: Sequence[tuple[Shape, _Place]]) -> _Place:
    seen = tuple(dict.fromkeys(p for _, place in given for p in place.seen))[:4]
    if not given:
        return _Place()
    moved = _moved(row, given) if row.kind in _MOVES else None
    if moved is not None:
        return replace(moved, seen=seen)
    shape = row.value.shape
    first, place = given[0]
    if isinstance(row.built.module, Merge):
        alike = (p for s, p in given if s[1:] == shape[1:] and (p.patches or p.swapped))
        place = next(alike, place)
    if len(shape) != 2:
        return _Place(seen=seen)
    if len(first) == 2 and not (place.swapped and row.kind in _MOVES):
        if place.swapped:
            return _Place(swapped=first == shape or first[0] == shape[0], seen=seen)
        return _Place(_kept(row, place.patches, shape[1]), seen=seen)
    return _Place(next((p for p in seen if p.tokens == shape[1]), None), seen=seen)


def _kept(row: Row, before: Patches | None, count: int) -> Patches | None:
    """What tokens are that were made of tokens, one of each; a person's own layer may add some or take them away."""
    if before is None or count == before.tokens:
        return before
    if not isinstance(row.built.module, OwnCode):
        return None
    if count == before.rows * before.columns:
        return Patches(before.rows, before.columns)
    added = count - before.tokens
    return replace(before, front=before.front + added) if 0 < added <= MOST_EXTRA else None


def _moved(row: Row, given: Sequence[tuple[Shape, _Place]]) -> _Place | None:
    """Where the patches went, by numbers that stand for them; None where these do not tell."""
    module = row.built.module
    if any(t.is_meta for t in (*module.parameters(), *module.buffers())) or isinstance(module, OwnCode):
        return None
    marks = [_marks(shape, place) for shape, place in given]
    if not any(m.any() for m in marks) or len(row.value.shape) != 2:
        return None
    try:
        with torch.no_grad():
            after = module(*marks)
    except (
        NetworkError,
        RuntimeError,
        IndexError,
        ValueError,
    ):  # one of several outputs went in, of another shape
        return None
    if not isinstance(after, Tensor) or after.ndim != 3:
        return None
    after = torch.where(after > FROM, after - FROM, 0)  # without what the operation itself holds
    count = max(int(m.max()) for m in marks) - FROM
    rows, columns = next(
        (place.patches.rows, place.patches.columns) if place.patches else shape[1:]
        for m, (shape, place) in zip(marks, given, strict=True)
        if m.any()
    )
    for swapped, lines in ((False, after[0]), (True, after[0].T)):
        line = lines[0]
        if not torch.equal(lines, line.expand_as(lines)):
            continue
        where = (line > 0).nonzero().flatten()
        if not torch.equal(line[where], torch.arange(1.0, count + 1)) or not bool((where.diff() == 1).all()):
            continue
        front = int(where[0])
        here = Patches(rows, columns, front, len(line) - front - count)
        return _Place(swapped=True) if swapped else _Place(here)
    return _Place()


def _marks(shape: Shape, place: _Place) -> Tensor:
    """(1, *shape): at each patch its number, from 1 above FROM, and 0 elsewhere."""
    marks = torch.zeros(1, *shape)
    if len(shape) == 3 and any(p.tokens == shape[1] * shape[2] for p in place.seen[:1]):
        marks += FROM + torch.arange(1.0, shape[1] * shape[2] + 1).reshape(shape[1:])
    elif place.patches:
        patches = place.patches
        end = patches.front + patches.rows * patches.columns
        marks[..., patches.front : end] = FROM + torch.arange(1.0, end - patches.front + 1)
    return marks
