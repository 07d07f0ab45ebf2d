"""Which chunks an atlas is made of: a few units of one layer each, drawn together as one batch.

A chunk's units follow from its layer's batch and its own number alone, so that a run which was cut short and
begun again draws the same batches, and with them the same bytes. Chunks are counted, not listed: a plan for a
million units holds its layers and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from filterscope.errors import ArgumentError
from filterscope.files import safe_name
from filterscope.sides import Size
from filterscope.target import Target

ATLAS_FILES = ("_gallery", "atlas.json", "index.html", "index.parquet", "report.json")
NETWORK_FOLDERS = ("drawn", "examples")  # of a network, that are no layer's
LOST = (
    "its worker died"  # how the reason of a unit begins whose chunk was given up; the next run draws it again
)
FIRST = "chunk"  # how the journals of a first drawing begin; those of retries begin with retry-001 and so on


@dataclass(frozen=True)
class PlannedLayer:
    """A layer of the plan: `units` of it, `batch` a chunk, kept in `folder`; `size` is a side in pixels, or height
    and width."""

    name: str
    folder: str
    units: int
    size: Size
    batch: int

    @property
    def chunks(self) -> int:
        """How many chunks it takes."""
        return -(-self.units // self.batch)

    def chunk(self, number: int, *, seed: int) -> Chunk:
        """The chunk of that number, from 0."""
        first = number * self.batch
        units = tuple(range(first, min(first + self.batch, self.units)))
        return Chunk(self.name, self.folder, number, units, seed)


@dataclass(frozen=True)
class Chunk:
    """Units of one layer that are drawn together, done whole or not at all.

    >>> Chunk("block3_conv1", "block3_conv1", 12, (48, 49, 50, 51), seed=0).journal
    'block3_conv1/chunk-000012.json'
    """

    layer: str
    folder: str
    number: int
    units: tuple[int, ...]
    seed: int
    kind: str = FIRST

    @property
    def journal(self) -> str:
        """Its journal's place in the network's folder."""
        return f"{self.folder}/{self.kind}-{self.number:06d}.json"

    @property
    def targets(self) -> list[Target]:
        """What its pictures are for."""
        return [Target(self.layer, unit) for unit in self.units]


@dataclass(frozen=True)
class ChunkRow:
    """What a run reports of one picture."""

    unit: int
    facet: int
    status: str


@dataclass(frozen=True)
class ChunkResult:
    """What came of a chunk.

    files: by name, those that are still to be written, its journal last; empty where the worker wrote them itself.
    seconds: how long it took.
    """

    rows: Sequence[ChunkRow]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All chunks of some layers, in the layers' order."""

    layers: tuple[PlannedLayer, ...]
    seed: int

    @property
    def units(self) -> int:
        """How many units it draws."""
        return sum(layer.units for layer in self.layers)

    def chunks(self, done: Callable[[PlannedLayer], Collection[int]] = lambda _: ()) -> Iterator[Chunk]:
        """The chunks that are not done, one at a time; `done` is asked for the numbers of a layer's finished
        chunks when its turn comes."""
        for layer in self.layers:
            finished = done(layer)
            for number in range(layer.chunks):
                if number not in finished:
                    yield layer.chunk(number, seed=self.seed)


def retry_chunks(layer: PlannedLayer, units: Sequence[tuple[int, int]], *, turn: int) -> Iterator[Chunk]:
    """The chunks of a round of retries: (unit, seed) in a layer, of one seed each."""
    number = 0
    for seed in dict.fromkeys(seed for _, seed in units):
        of_seed = [unit for unit, own in units if own == seed]
        for first in range(0, len(of_seed), layer.batch):
            some = tuple(of_seed[first : first + layer.batch])
            yield Chunk(layer.name, layer.folder, number, some, seed, kind=f"retry-{turn:03d}")
            number += 1


def choose_folder_names(names: Iterable[str]) -> dict[str, str]:
    """For each name a folder's: characters that do not belong there as dots, each folder only once.

    >>> choose_folder_names(["conv/1", "conv.1", "fc"])
    {'conv/1': 'conv.1', 'conv.1': 'conv.1-2', 'fc': 'fc'}
    """
    taken = set(NETWORK_FOLDERS)
    folders: dict[str, str] = {}
    for name in names:
        plain = safe_name(name).lstrip(".") or "layer"
        folder, count = plain, 1
        while folder.casefold() in taken:  # some file systems take A and a for the same
            count += 1
            folder = f"{plain}-{count}"
        taken.add(folder.casefold())
        folders[name] = folder
    return folders


def check_name(name: str) -> str:
    """A network's folder as a person names it; ArgumentError where it would have to be changed.

    >>> check_name("resnet-50_v1.5")
    'resnet-50_v1.5'
    """
    if not re.fullmatch(r"[\w+-][\w.+-]{0,99}", name) or name.casefold() in ATLAS_FILES:
        raise ArgumentError(
            f"a network's name in an atlas is made of letters, digits and . _ + -, 100 at most, the first no dot, and is "
            f"not {', '.join(ATLAS_FILES)} (got {name!r})"
        )
    return name


def list_differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What sets two sets of settings apart, key by dotted key, for a person.

    >>> list_differences({"seed": 0, "recipe": {"steps": 200}}, {"seed": 1, "recipe": {"steps": 200}})
    ['seed is 0 there and 1 here']
    """
    return [
        f"{key} is {_short(old)} there and {_short(new)} here"
        for key, old, new in _unequal("", before, asked)
    ]


def _unequal(prefix: str, before: Any, asked: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(asked, Mapping):
        for key in dict.fromkeys([*asked, *before]):
            yield from _unequal(f"{prefix}.{key}" if prefix else str(key), before.get(key), asked.get(key))
    elif isinstance(before, list) and isinstance(asked, list) and len(before) == len(asked):
        for i, (old, new) in enumerate(zip(before, asked, strict=True)):
            yield from _unequal(f"{prefix}.{i}", old, new)
    elif before != asked:
        yield prefix, before, asked


def _short(value: Any) -> str:
    text = "not set" if value is None else repr(value)
    return text if len(text) <= 70 else text[:66] + " ..."
