"""A map as it is kept: map.json says what it is of, map.npz holds its points and cells."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from filterscope.atlas.maps.cells import Level
from filterscope.atlas.storage.store import Store
from filterscope.errors import DamagedError
from filterscope.formats import ATLAS

ARRAYS = ("spots", "counts", "directions", "classes", "votes")


@dataclass(frozen=True)
class Map:
    """about: what it is of (layer, grid, layout, seed), as JSON. names: of the images. places, points: (N, 2), where on the
    layer's map each activation was taken, and where it lies. levels: the grids of cells."""

    about: Mapping[str, Any]
    names: Sequence[str]
    places: np.ndarray
    points: np.ndarray
    levels: Sequence[Level]

    def write(self, store: Store, folder: str) -> None:
        """Write it into a folder: the arrays, then the record."""
        arrays: dict[str, Any] = {
            "names": np.array(self.names),
            "places": self.places,
            "points": self.points.astype(np.float32),
        }
        for level in self.levels:
            arrays |= {f"{level.name}/{name}": getattr(level, name) for name in ARRAYS}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        store.write(f"{folder}/map.npz", buffer.getvalue())
        store.write_json(f"{folder}/map.json", ATLAS.stamped(dict(self.about)))


def read_about(store: Store, folder: str) -> dict[str, Any] | None:
    """What the map in a folder is of; None where there is none."""
    found = store.read_json(f"{folder}/map.json")
    where = f"{store.address}/{folder}/map.json"
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("grid"), list):
        raise DamagedError(f"{where} is damaged; remove the folder and draw anew")
    return ATLAS.newest(found, where)


def read_map(store: Store, folder: str) -> Map:
    """The map in a folder; DamagedError where it is none."""
    about = read_about(store, folder)
    try:
        with np.load(io.BytesIO(store.read(f"{folder}/map.npz")), allow_pickle=False) as file:
            levels = [
                Level(int(grid), *(file[f"grid-{int(grid):02d}/{name}"] for name in ARRAYS))
                for grid in (about or {})["grid"]
            ]
            return Map(about or {}, [str(n) for n in file["names"]], file["places"], file["points"], levels)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DamagedError(
            f"{store.address}/{folder}/map.npz is damaged ({error}); remove the folder and draw anew"
        ) from None
