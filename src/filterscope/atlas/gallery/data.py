"""What the gallery's pages show: the atlas' index and its networks as plain data for templates and scripts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from statistics import median
from typing import Any

from filterscope.atlas.gallery.paths import folder_name, is_inside
from filterscope.atlas.storage.index import INDEX, import_pyarrow, network_folders
from filterscope.atlas.storage.store import Store
from filterscope.errors import ArgumentError, DamagedError
from filterscope.formats import ATLAS
from filterscope.sides import Sides

STATUSES = ("ok", "no-gain", "dead", "failed")
CHUNK = 64  # units whose details share a file: a panel opens at once, and a layer's first page stays small
POINTS = 160  # of a curve: more than its width in pixels would tell

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Unit:
    """A unit: its number, its class's name, and its rows of the index, one a facet."""

    number: int
    rows: Sequence[Row]

    @property
    def class_name(self) -> str | None:
        """The name of the class that the unit stands for."""
        name = self.rows[0].get("class_name")
        return None if name is None else str(name)

    @property
    def status(self) -> str:
        """The first facet's."""
        status = str(self.rows[0].get("status"))
        return status if status in STATUSES else "failed"

    @property
    def excitation(self) -> float | None:
        """The largest of its facets'."""
        found = [n for n in (number(row.get("excitation")) for row in self.rows) if n is not None]
        return max(found, default=None)

    @property
    def file(self) -> str | None:
        """The path of the first facet's picture inside the atlas."""
        return picture_file(self.rows[0])


@dataclass(frozen=True)
class LayerPages:
    """A layer as its page shows it: `info` is its entry in network.json."""

    name: str
    info: Row
    units: Sequence[Unit]

    @property
    def folder(self) -> str:
        """The layer's folder inside its network's."""
        return layer_folder(self.name, self.info)

    @property
    def counts(self) -> dict[str, int]:
        """How many units have each status; statuses that none has are left out."""
        states = [u.status for u in self.units]
        return {s: states.count(s) for s in STATUSES if s in states}

    @property
    def median_excitation(self) -> float | None:
        """Of the units whose excitation is known."""
        known = [u.excitation for u in self.units if u.excitation is not None]
        return median(known) if known else None

    @property
    def shape(self) -> str:
        """The shape of the layer's output, for a person."""
        return " \N{MULTIPLICATION SIGN} ".join(str(n) for n in self.info.get("output_shape") or ())


@dataclass(frozen=True)
class NetworkPages:
    """A network: its folder in the atlas, its record (network.json), how many units each layer has in the index, and
    what the page above it is called."""

    folder: str
    record: Row
    units: Mapping[str, int] = field(default_factory=dict)
    home: str = "Atlas"

    @property
    def name(self) -> str:
        """The network's name, or its folder's where the two differ: one atlas may hold a network twice."""
        name = str(self.record.get("name") or self.folder)
        return name if folder_name(name) == self.folder else self.folder

    def layers(self) -> list[str]:
        """Layers with units in the index, in the network's own order."""
        order = [str(row.get("name")) for row in self.record.get("layers") or ()]
        return [n for n in order if n in self.units] + [n for n in self.units if n not in order]

    def info(self, layer: str) -> Row:
        """A layer's entry in network.json; empty where it has none."""
        rows = [row for row in self.record.get("layers") or () if row.get("name") == layer]
        return rows[0] if rows else {}

    @property
    def input_sides(self) -> Sides | None:
        """Height and width in pixels of the network's own input, where the record tells."""
        found = re.search(r"(\d+) x (\d+) px", str(self.record.get("input") or ""))
        return (int(found[1]), int(found[2])) if found else None


class Index:
    """An atlas' index.parquet, read a layer at a time: a million units need no more memory than one layer."""

    def __init__(self, store: Store):
        self._store, self._pyarrow = store, import_pyarrow()

    def networks(self) -> dict[str, dict[str, int]]:
        """For each network's folder how many units each layer has."""
        found: dict[str, dict[str, int]] = {}
        for row in self._rows(["network", "layer", "facet"]):
            layers = found.setdefault(row["network"], {})
            layers[row["layer"]] = layers.get(row["layer"], 0) + (row["facet"] == 0)
        return found

    def layer(self, network: str, layer: str) -> list[Unit]:
        """A layer's units by number, all columns."""
        return group_units(list(self._rows(None, [("network", "==", network), ("layer", "==", layer)])))

    def _rows(self, columns: list[str] | None, filters: Any = None) -> Iterator[dict[str, Any]]:
        try:
            with self._store.open(INDEX) as file:
                table = self._pyarrow.parquet.read_table(file, columns=columns, filters=filters)
        except FileNotFoundError:
            return
        except self._pyarrow.ArrowException as error:
            raise ArgumentError(f"{self._store.address}/{INDEX} cannot be read: {error}") from None
        for batch in table.to_batches(max_chunksize=4096):
            yield from batch.to_pylist()


def read_networks(store: Store, index: Index) -> list[NetworkPages]:
    """The networks of an atlas in its own order; ArgumentError where the folder holds none."""
    try:
        folders = [f for f in network_folders(store) if is_inside(f) and "/" not in f]
        counted = index.networks() if folders else {}
        records = [_record(store, f) for f in folders]
    except (DamagedError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise ArgumentError(f"{store.address} holds no atlas that can be read: {error}") from None
    if not folders:
        raise ArgumentError(
            f"{store.address} holds no atlas; filterscope atlas NET --out {store.address} makes one"
        )
    return [NetworkPages(f, r, counted.get(f, {})) for f, r in zip(folders, records, strict=True)]


def _record(store: Store, folder: str) -> Row:
    """A network's network.json; empty where there is none yet."""
    told: Row = store.read_json(f"{folder}/network.json") or {}
    return told and ATLAS.newest(told, f"{store.address}/{folder}/network.json")


def layer_folder(name: str, info: Row) -> str:
    """The folder of a layer inside its network's, as network.json says or else by its name."""
    told = info.get("folder")
    return told if isinstance(told, str) and is_inside(told) and "/" not in told else folder_name(name)


def group_units(rows: Sequence[Row]) -> list[Unit]:
    """Rows of one layer as units by number, each one's facets in order."""
    grouped: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda r: (int(r["unit"]), int(r.get("facet") or 0))):
        grouped.setdefault(int(row["unit"]), []).append(row)
    return [Unit(number, found) for number, found in grouped.items()]


def catalog(layer: LayerPages, sheets: Row) -> dict[str, Any]:
    """What a grid of the layer's units needs: columns in one order, the sprites' too."""
    units = layer.units
    named = any(u.class_name is not None for u in units)
    return {
        "name": layer.name,
        "folder": layer.folder,
        "units": [u.number for u in units],
        "classes": [u.class_name or "" for u in units] if named else None,
        "status": "".join(str(STATUSES.index(u.status)) for u in units),
        "excitation": [number(u.excitation, 4) for u in units],
        "sheets": sheets,
    }


def details(unit: Unit, layer: LayerPages, sides: Sides | None) -> dict[str, Any]:
    """What the panel of one unit shows; `sides` are of the natural images in pixels."""
    first = unit.rows[0]
    natural = {k: number(first.get(f"natural_{k}")) for k in ("mean", "p99", "best")}
    return {
        "unit": unit.number,
        "reason": first.get("reason") or None,
        "pictures": [_picture(row) for row in unit.rows],
        "natural": natural if any(v is not None for v in natural.values()) else None,
        "histogram": _histogram(first),
        "examples": [
            _example(e, layer.info, sides) for e in first.get("examples") or () if is_inside(e.get("file"))
        ],
        "rank": first.get("rank"),
        "top": first.get("top_unit"),
        "alike": [[int(a["unit"]), number(a.get("likeness"), 3)] for a in first.get("alike") or ()],
    }


def picture_file(row: Row) -> str | None:
    """The path of a row's picture inside the atlas, None where there is none or it leads out."""
    file = row.get("file")
    return str(file) if file and is_inside(file) else None


def _picture(row: Row) -> dict[str, Any]:
    scores = ("activation", "excitation", "probability", "start")
    return {
        "file": picture_file(row),
        "facet": int(row.get("facet") or 0),
        "status": row.get("status"),
        "recipe": row.get("recipe"),
        "seed": row.get("seed"),
        "attempt": row.get("attempt"),
        "seconds": number(row.get("seconds"), 3),
        "curve": thinned(row.get("curve") or ()),
        "steps": len(row.get("curve") or ()),
        **{name: number(row.get(name)) for name in scores},
    }


def _histogram(row: Row) -> dict[str, Any] | None:
    counts = [int(n or 0) for n in row.get("histogram") or ()]
    low, high = number(row.get("histogram_low")), number(row.get("histogram_high"))
    if not any(counts) or low is None or high is None or high <= low:
        return None
    return {"counts": counts, "low": low, "high": high}


def _example(example: Row, info: Row, sides: Sides | None) -> dict[str, Any]:
    """A natural image, and the place in it that excites the unit as shares of its width and height, with the
    share of the image's width (and `tall`, of its height, where that is another) that one value of the layer sees (1: all
    of it)."""
    found: dict[str, Any] = {
        "file": example["file"],
        "image": str(example.get("image") or ""),
        "activation": number(example.get("activation")),
    }
    row, column = number(example.get("row"), 4), number(example.get("column"), 4)
    if row is not None and column is not None and 0 <= row <= 1 and 0 <= column <= 1:
        seen = info.get("receptive_field")
        high, wide = (round(min(1.0, seen / side) if seen and side else 1.0, 4) for side in sides or (0, 0))
        found |= {"x": column, "y": row, "share": wide, **({} if high == wide else {"tall": high})}
    return found


def thinned(values: Sequence[float | None], most: int = POINTS) -> list[list[float]]:
    """A curve as [step, value] pairs from step 1, at most `most`, the first and last among them."""
    pairs = [[i + 1, v] for i, v in ((i, number(v, 5)) for i, v in enumerate(values)) if v is not None]
    if len(pairs) <= most:
        return pairs
    return [pairs[round(i * (len(pairs) - 1) / (most - 1))] for i in range(most)]


def number(value: Any, digits: int = 6) -> float | None:
    """A number of so many significant digits, None for anything that is no finite number.

    >>> number(3.14159265, 3), number(float("nan"))
    (3.14, None)
    """
    if not isinstance(value, Real) or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")
