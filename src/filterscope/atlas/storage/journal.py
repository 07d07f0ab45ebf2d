"""What is finished of a layer: journals, each the rows of one chunk, written after the chunk's pictures.

A chunk counts as done if its journal is there and every picture that it names is there in its full size. Anything
else is drawn again, and a file that has the right bytes already is left as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from filterscope.atlas.plan import LOST, PLAIN, Chunk, Drawn
from filterscope.atlas.storage.store import Store
from filterscope.errors import OutputError

Row = dict[str, Any]


@dataclass
class LayerJournal:
    """The journals of one layer, in `folder` of the store ("NETWORK/LAYER").

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
        """Look at what is there; a journal whose pictures are not whole is removed."""
        found = cls(store, network, folder, store.sizes(f"{network}/{folder}"))
        names = sorted((name for name in found.sizes if is_journal(name)), key=_order)
        contents = store.read_many([f"{network}/{folder}/{name}" for name in names])
        for name, data in zip(names, contents, strict=True):
            try:
                found.rows[name] = json.loads(data)["rows"]
            except (ValueError, KeyError, TypeError):
                found.rows[name] = []
            if not found.rows[name] or (name.startswith(PLAIN) and any(map(is_lost, found.rows[name]))):
                found._drop(name)
        owners = {
            row["file"]: (name, row) for name, rows in found.rows.items() for row in rows if row["file"]
        }
        for file, (name, row) in owners.items():
            if found.sizes.get(file.rpartition("/")[2]) != row["bytes"] and name in found.rows:
                found._drop(name)
        found.done = set(found.rows)
        return found

    def finished(self, kind: str = PLAIN) -> set[int]:
        """The numbers of the chunks that are done."""
        return {int(name[len(kind) + 1 : -5]) for name in self.done if name.startswith(f"{kind}-")}

    def merged(self) -> list[Row]:
        """One row a picture, by unit and facet: a later journal's in place of an earlier one's."""
        latest: dict[tuple[int, int], Row] = {}
        for name in sorted(self.rows, key=_order):
            for unit in {row["unit"] for row in self.rows[name]} if name.startswith("retry-") else ():
                for key in [key for key in latest if key[0] == unit]:
                    del latest[key]
            latest |= {(row["unit"], row["facet"]): row for row in self.rows[name]}
        return [latest[key] for key in sorted(latest)]

    def commit(self, chunk: Chunk, drawn: Drawn) -> None:
        """Write a chunk's pictures, then its journal. OutputError where the store takes no more."""
        files = {n: data for n, data in drawn.files.items() if not self._keeps(chunk, n, data)}
        write_files(self.store, self.network, files)
        self.done.add(chunk.journal.rpartition("/")[2])

    def _keeps(self, chunk: Chunk, file: str, data: bytes) -> bool:
        """Whether a file is to stay as it is: drawn already, or again by `--retry`."""
        name = file.rpartition("/")[2]
        if name not in self.sizes:
            return False
        if chunk.kind == PLAIN and any(
            row["file"] == file
            for journal in self.rows
            if not journal.startswith(PLAIN)
            for row in self.rows[journal]
        ):
            return True
        return self.sizes[name] == len(data) and self.store.read(f"{self.network}/{file}") == data

    def _drop(self, name: str) -> None:
        self.store.remove(f"{self.network}/{self.folder}/{name}")
        del self.rows[name], self.sizes[name]


def write_files(store: Store, network: str, files: dict[str, bytes]) -> None:
    """Write a chunk's files, the last of them, its journal, after all others."""
    *pictures, journal = [(f"{network}/{name}", data) for name, data in files.items()] or [("", b"")]
    store.write_many(pictures)
    if files:
        store.write(*journal)


def is_lost(row: Row) -> bool:
    """Whether a row's unit failed with its worker, which says nothing against the unit."""
    return row["status"] == "failed" and str(row["reason"]).startswith(LOST)


def is_journal(name: str) -> bool:
    """Whether a file's name is a journal's."""
    return name.endswith(".json") and name.startswith((f"{PLAIN}-", "retry-"))


def _order(name: str) -> tuple[int, str]:
    return int(name.startswith("retry-")), name


def read_journals(store: Store, network: str, folder: str) -> list[Row]:
    """The rows of a layer that is not complete yet, without looking whether their pictures are whole."""
    names = sorted((n for n in store.sizes(f"{network}/{folder}") if is_journal(n)), key=_order)
    found = LayerJournal(store, network, folder)
    for name, data in zip(names, store.read_many([f"{network}/{folder}/{n}" for n in names]), strict=True):
        try:
            found.rows[name] = json.loads(data)["rows"]
        except (ValueError, KeyError, TypeError):
            raise OutputError(
                f"{store.address}/{network}/{folder}/{name} is damaged; remove it and run again"
            ) from None
    return found.merged()
