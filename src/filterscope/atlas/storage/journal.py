"""What is finished of a layer: journals, each the rows of one chunk, written after the chunk's pictures.

A chunk counts as done if its journal is there and every picture that it names is there in its full size. Anything
else is drawn again, and a file that has the right bytes already is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from filterscope.atlas.plan import FIRST, LOST, Chunk, ChunkResult
from filterscope.atlas.storage.rows import FAILED, Journal, Row
from filterscope.atlas.storage.store import Store
from filterscope.errors import OutputError

RETRY = "retry-"


@dataclass
class LayerJournal:
    """The journals of one layer, in `folder` of a network's folder.

    sizes: the files that are there, with their sizes, as last looked at. done: names of the journals that hold.
    """

    store: Store
    network: str
    folder: str
    sizes: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    rows: dict[str, list[Row]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, store: Store, network: str, folder: str) -> LayerJournal:
        """Read what is there; a journal whose pictures are not whole is removed."""
        found = cls(store, network, folder, store.sizes(f"{network}/{folder}"))
        for name, rows in found._contents():
            found.rows[name] = rows or []
            if not rows or (name.startswith(FIRST) and any(is_lost(r.status, r.reason) for r in rows)):
                found._drop(name)
        owners = {row.file: (name, row) for name, rows in found.rows.items() for row in rows if row.file}
        for file, (name, row) in owners.items():
            if found.sizes.get(file.rpartition("/")[2]) != row.bytes and name in found.rows:
                found._drop(name)
        found.done = set(found.rows)
        return found

    def finished(self) -> set[int]:
        """The numbers of the chunks that are done."""
        return {chunk_number(name) for name in self.done if name.startswith(f"{FIRST}-")}

    def merged(self) -> list[Row]:
        """One row a picture, by unit and facet: a later journal's in place of an earlier one's."""
        latest: dict[int, dict[int, Row]] = {}
        for name in sorted(self.rows, key=_order):
            if name.startswith(RETRY):
                for row in self.rows[name]:
                    latest[row.unit] = {}
            for row in self.rows[name]:
                latest.setdefault(row.unit, {})[row.facet] = row
        return [latest[unit][facet] for unit in sorted(latest) for facet in sorted(latest[unit])]

    def write(self, chunk: Chunk, result: ChunkResult) -> None:
        """Write a chunk's pictures, then its journal. OutputError where the store takes no more."""
        files = {n: data for n, data in result.files.items() if not self._keeps(chunk, n, data)}
        write_files(self.store, self.network, files)
        self.done.add(chunk.journal.rpartition("/")[2])

    def _contents(self) -> Iterator[tuple[str, list[Row] | None]]:
        """Each journal's name and rows, None where it is damaged; those of retries last."""
        names = sorted(
            (n for n in self.sizes if n.endswith(".json") and n.startswith((f"{FIRST}-", RETRY))), key=_order
        )
        contents = self.store.read_many([f"{self.network}/{self.folder}/{name}" for name in names])
        for name, data in zip(names, contents, strict=True):
            try:
                yield name, Journal.model_validate_json(data).rows
            except ValidationError:
                yield name, None

    def _keeps(self, chunk: Chunk, file: str, data: bytes) -> bool:
        """Whether a file is to stay as it is: drawn already, or again by a retry."""
        name = file.rpartition("/")[2]
        if name not in self.sizes:
            return False
        retried = (rows for journal, rows in self.rows.items() if journal.startswith(RETRY))
        if chunk.kind == FIRST and any(file in (row.file, row.alpha) for rows in retried for row in rows):
            return True
        return self.sizes[name] == len(data) and self.store.read(f"{self.network}/{file}") == data

    def _drop(self, name: str) -> None:
        self.store.remove(f"{self.network}/{self.folder}/{name}")
        del self.rows[name], self.sizes[name]


def read_journals(store: Store, network: str, folder: str) -> list[Row]:
    """The rows of a layer that is not complete yet, without looking whether their pictures are whole."""
    found = LayerJournal(store, network, folder, store.sizes(f"{network}/{folder}"))
    for name, rows in found._contents():
        if rows is None:
            raise OutputError(
                f"{store.address}/{network}/{folder}/{name} is damaged; remove it and run again"
            )
        found.rows[name] = rows
    return found.merged()


def write_files(store: Store, network: str, files: Mapping[str, bytes]) -> None:
    """Write a chunk's files, the last of them, its journal, after all others."""
    *pictures, journal = [(f"{network}/{name}", data) for name, data in files.items()] or [("", b"")]
    store.write_many(pictures)
    if files:
        store.write(*journal)


def is_lost(status: str, reason: str | None) -> bool:
    """Whether a unit failed with its worker, which is no fault of the unit's."""
    return status == FAILED and str(reason).startswith(LOST)


def chunk_number(name: str) -> int:
    """The number of the chunk in a journal's file name.

    >>> chunk_number("chunk-000012.json")
    12
    """
    return int(name.removesuffix(".json").rpartition("-")[2])


def _order(name: str) -> tuple[bool, str]:
    return name.startswith(RETRY), name
