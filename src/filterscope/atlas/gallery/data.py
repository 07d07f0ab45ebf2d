"""What the gallery's pages show: the atlas' index and its networks as plain data for templates and scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from statistics import median
from typing import Any

from filterscope.atlas.gallery.paths import folder_name, is_inside
from filterscope.atlas.storage.crops import count_rows
from filterscope.atlas.storage.index import INDEX, list_network_folders, read_rows, read_table
from filterscope.atlas.storage.manifest import LayerEntry, NetworkManifest, read_manifest
from filterscope.atlas.storage.rows import FAILED, STATUSES, Example, Row
from filterscope.atlas.storage.store import Store
from filterscope.errors import ArgumentError, DamagedError
from filterscope.sides import Sides

UNITS_PER_FILE = 64  # whose details share one: a panel opens at once, and a layer's first page stays small
MAX_CURVE_POINTS = 160  # more than its width in pixels could show

FIRST_EXAMPLES = 9  # natural images that a unit's panel shows at once; the others are in a file of their own
NUMBERS = ("selectivity", "sparsity", "clarity", "polysemanticity")
SCORES = ("activation", "excitation", "probability", "start", "legibility", "legibility_ceiling")

Data = dict[str, Any]  # as a page's script takes it: JSON


@dataclass(frozen=True)
class Unit:
    """A unit: its number, its class's name, and its rows of the index, one a facet."""

    number: int
    rows: Sequence[Row]

    @property
    def class_name(self) -> str | None:
        """The name of the class that the unit stands for."""
        return self.rows[0].class_name

    @property
    def status(self) -> str:
        """The first facet's."""
        status = self.rows[0].status
        return status if status in STATUSES else FAILED

    @property
    def excitation(self) -> float | None:
        """The largest of its facets'."""
        found = [n for n in (round_number(row.excitation) for row in self.rows) if n is not None]
        return max(found, default=None)

    @property
    def file(self) -> str | None:
        """The path of the first facet's picture inside the atlas."""
        return picture_file(self.rows[0])


@dataclass(frozen=True)
class LayerPages:
    """A layer as its page shows it: `info` is its entry in network.json."""

    info: LayerEntry
    units: Sequence[Unit]

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.info.name

    @property
    def folder(self) -> str:
        """The layer's folder inside its network's."""
        return layer_folder(self.info)

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
        return " \N{MULTIPLICATION SIGN} ".join(str(n) for n in self.info.output_shape or ())


@dataclass(frozen=True)
class NetworkPages:
    """A network: its folder in the atlas, its record (network.json), how many units each layer has in the index, and
    what the page above it is called."""

    folder: str
    record: NetworkManifest
    units: Mapping[str, int] = field(default_factory=dict)
    home: str = "Atlas"

    @property
    def name(self) -> str:
        """The network's name, or its folder's where the two differ: one atlas may hold a network twice."""
        name = self.record.name or self.folder
        return name if folder_name(name) == self.folder else self.folder

    def layers(self) -> list[str]:
        """Layers with units in the index, in the network's own order."""
        order = [entry.name for entry in self.record.layers]
        return [n for n in order if n in self.units] + [n for n in self.units if n not in order]

    def info(self, layer: str) -> LayerEntry:
        """A layer's entry in network.json; a bare one where it has none."""
        return self.record.layer(layer) or LayerEntry(name=layer)


class Index:
    """An atlas' index.parquet, read a layer at a time: a million units need no more memory than one layer."""

    def __init__(self, store: Store):
        self._store = store

    def count_units(self) -> dict[str, dict[str, int]]:
        """For each network's folder how many units each layer has."""
        found: dict[str, dict[str, int]] = {}
        try:
            table = read_table(self._store, INDEX, ["network", "layer", "facet"])
        except FileNotFoundError:
            return {}
        for batch in table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                layers = found.setdefault(row["network"], {})
                layers[row["layer"]] = layers.get(row["layer"], 0) + (row["facet"] == 0)
        return found

    def read_layer(self, network: str, layer: str) -> list[Unit]:
        """A layer's units by number, all columns."""
        return group_units(
            read_rows(self._store, INDEX, filters=[("network", "==", network), ("layer", "==", layer)])
        )


def read_networks(store: Store, index: Index) -> list[NetworkPages]:
    """The networks of an atlas in its own order; ArgumentError where the folder holds none."""
    try:
        folders = [f for f in list_network_folders(store) if is_inside(f) and "/" not in f]
        counted = index.count_units() if folders else {}
        records = [read_manifest(store, f, whole=False) or NetworkManifest() for f in folders]
    except (DamagedError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise ArgumentError(f"{store.address} holds no atlas that can be read: {error}") from None
    if not folders:
        raise ArgumentError(
            f"{store.address} holds no atlas; filterscope atlas NET with out={store.address!r} makes one"
        )
    return [NetworkPages(f, r, counted.get(f, {})) for f, r in zip(folders, records, strict=True)]


def layer_folder(info: LayerEntry) -> str:
    """The folder of a layer inside its network's, from network.json or else by its name."""
    folder = info.folder
    return folder if folder and is_inside(folder) and "/" not in folder else folder_name(info.name)


def group_units(rows: Iterable[Row]) -> list[Unit]:
    """Rows of one layer as units by number, each one's facets in order."""
    grouped: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda r: (r.unit, r.facet)):
        grouped.setdefault(row.unit, []).append(row)
    return [Unit(number, found) for number, found in grouped.items()]


def make_catalog(layer: LayerPages, sheets: Data) -> Data:
    """What a grid of the layer's units needs: columns in one order, the sprites' too."""
    units = layer.units
    named = any(u.class_name is not None for u in units)
    labels = [u.rows[0].label or "" for u in units]
    numbers = {key: [round_number(getattr(u.rows[0], key), 3) for u in units] for key in NUMBERS}
    return {
        "name": layer.name,
        "folder": layer.folder,
        "units": [u.number for u in units],
        "classes": [u.class_name or "" for u in units] if named else None,
        "status": "".join(str(STATUSES.index(u.status)) for u in units),
        "excitation": [round_number(u.excitation, 4) for u in units],
        "sheets": sheets,
        "labels": labels if any(labels) else None,
        "best": _indexed([u.rows[0].best_class for u in units]),
        "numbers": {key: values for key, values in numbers.items() if any(v is not None for v in values)},
    }


def _indexed(names: Sequence[str | None]) -> Data | None:
    """Names that many units share: each once, and each unit's number of one, -1 for none."""
    known = list(dict.fromkeys(name for name in names if name))
    place = {name: i for i, name in enumerate(known)}
    return {"names": known, "of": [place.get(name or "", -1) for name in names]} if known else None


def describe_unit(unit: Unit, layer: LayerPages, sides: Sides | None) -> Data:
    """What the panel of one unit shows; `sides` are of the natural images in pixels."""
    first = unit.rows[0]
    natural = {k: round_number(getattr(first, f"natural_{k}")) for k in ("mean", "p99", "best")}
    return {
        "unit": unit.number,
        "reason": first.reason or None,
        "pictures": [_picture(row) for row in unit.rows],
        "natural": natural if any(v is not None for v in natural.values()) else None,
        "histogram": _histogram(first),
        "examples": _examples(first, layer.info, sides)[:FIRST_EXAMPLES],
        "found": len(_examples(first, layer.info, sides)),
        "crops": _crops(first),
        "classes": len(first.classes or ()),
        "best": first.best_class,
        "numbers": {k: round_number(getattr(first, k), 4) for k in NUMBERS},
        "label": [first.label, round_number(first.label_similarity, 4)] if first.label else None,
        "rank": first.rank,
        "top": first.top_unit,
        "alike": [[a.unit, round_number(a.likeness, 3)] for a in first.alike or ()],
    }


def describe_more(unit: Unit, layer: LayerPages, sides: Sides | None) -> Data:
    """What the panel of one unit shows when more is asked for: the natural images behind the first, and those of the
    classes that excite the unit most."""
    first = unit.rows[0]
    classes = [
        {
            "name": one.name,
            "mean": round_number(one.mean),
            "examples": [_example(e, layer.info, sides) for e in one.examples or () if is_inside(e.file)],
        }
        for one in first.classes or ()
    ]
    return {"examples": _examples(first, layer.info, sides)[FIRST_EXAMPLES:], "classes": classes}


def _examples(row: Row, info: LayerEntry, sides: Sides | None) -> list[Data]:
    """The natural images of a unit, each with its place on the sheet of crops."""
    found = enumerate(row.examples or ())
    return [
        {**_example(e, info, sides), **({"at": i} if row.crops else {})}
        for i, e in found
        if is_inside(e.file)
    ]


def _crops(row: Row) -> Data | None:
    """The sheet of a unit's crops, with its rows; None where there is none or it leads out."""
    if not row.crops or not is_inside(row.crops) or not row.examples:
        return None
    return {"file": row.crops, "rows": count_rows(len(row.examples))}


def picture_file(row: Row) -> str | None:
    """The path of a row's picture inside the atlas, None where there is none or it leads out."""
    return row.file if row.file and is_inside(row.file) else None


def _picture(row: Row) -> Data:
    curve = row.curve or []
    return {
        "file": picture_file(row),
        "alpha": row.alpha if row.alpha and is_inside(row.alpha) else None,
        "facet": row.facet,
        "status": row.status,
        "recipe": row.recipe,
        "seed": row.seed,
        "attempt": row.attempt,
        "seconds": round_number(row.seconds, 3),
        "curve": thin_curve(curve),
        "steps": len(curve),
        **{k: round_number(getattr(row, k)) for k in SCORES},
    }


def _histogram(row: Row) -> Data | None:
    counts = [n or 0 for n in row.histogram or ()]
    low, high = round_number(row.histogram_low), round_number(row.histogram_high)
    if not any(counts) or low is None or high is None or high <= low:
        return None
    return {"counts": counts, "low": low, "high": high}


def _example(example: Example, info: LayerEntry, sides: Sides | None) -> Data:
    """A natural image, and the place in it that excites the unit as shares of its width and height, with the
    share of the image's width (and `tall`, of its height, where that is another) that one value of the layer depends
    on (1: all of it)."""
    found: Data = {
        "file": example.file,
        "image": example.image or "",
        "activation": round_number(example.activation),
    }
    row, column = round_number(example.row, 4), round_number(example.column, 4)
    if row is not None and column is not None and 0 <= row <= 1 and 0 <= column <= 1:
        field = info.receptive_field
        high, wide = (round(min(1.0, field / side) if field and side else 1.0, 4) for side in sides or (0, 0))
        found |= {"x": column, "y": row, "share": wide, **({} if high == wide else {"tall": high})}
    return found


def thin_curve(values: Sequence[float | None], most: int = MAX_CURVE_POINTS) -> list[list[float]]:
    """A curve as [step, value] pairs from step 1, at most `most`, the first and last among them."""
    pairs = [[i + 1, v] for i, v in ((i, round_number(v, 5)) for i, v in enumerate(values)) if v is not None]
    if len(pairs) <= most:
        return pairs
    return [pairs[round(i * (len(pairs) - 1) / (most - 1))] for i in range(most)]


def round_number(value: Any, digits: int = 6) -> float | None:
    """A number of so many significant digits, None for anything that is no finite number.

    >>> round_number(3.14159265, 3), round_number(float("nan"))
    (3.14, None)
    """
    if not isinstance(value, Real) or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")
