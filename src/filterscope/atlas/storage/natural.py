"""The natural activations that an atlas rests on: kept in it as they were when it was begun, with thumbnails.

The cache of `filterscope examples` may change between two runs on one atlas; the excitations of its pictures must
not. So each layer's numbers are written into the atlas before its first picture and read from there ever after.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from filterscope.atlas.storage.rows import ClassExamples, Example, Row
from filterscope.atlas.storage.store import Store
from filterscope.errors import DamagedError
from filterscope.measure.natural import NaturalActivations
from filterscope.measure.selectivity import exciting
from filterscope.pictures.png import read_image
from filterscope.sides import Size, sides_of, times

FILE = "natural.npz"
THUMBNAIL_SIDE = 112  # the longer one, in pixels
EXAMPLES_FOLDER = "examples"


@dataclass(frozen=True)
class NaturalRows:
    """One layer's natural activations as the index holds them; the arrays are (units, ...).

    names, values: of the best images. files: their thumbnails, relative to the network's folder, "" for none. places:
    (units, best, 2), row and column as fractions of the thumbnail, NaN where not known. tested_best, tested_median:
    (units, K), numbers of the `images` of the two-alternative test; top: (units, best), of the best. selectivity,
    sparsity: (units,), NaN where there is none. best_class: (units,), "" for none. class_names, class_means: (units,
    C), and class_top, class_values: (units, C, K), numbers of the `images` and activations, of the classes that
    excite each unit most, where the images' folders are classes.
    """

    mean: np.ndarray
    p99: np.ndarray
    best: np.ndarray
    names: np.ndarray
    values: np.ndarray
    files: np.ndarray
    places: np.ndarray
    histogram: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    tested_best: np.ndarray | None = None
    tested_median: np.ndarray | None = None
    images: np.ndarray | None = None
    top: np.ndarray | None = None
    selectivity: np.ndarray | None = None
    sparsity: np.ndarray | None = None
    best_class: np.ndarray | None = None
    class_names: np.ndarray | None = None
    class_means: np.ndarray | None = None
    class_top: np.ndarray | None = None
    class_values: np.ndarray | None = None
    network: str = ""

    def add_to(self, row: Row) -> None:
        """Fill in the index's columns for the row's unit."""
        unit = row.unit
        row.natural_mean, row.natural_p99 = float(self.mean[unit]), float(self.p99[unit])
        row.natural_best = float(self.best[unit])
        there = exciting(self.values[unit])
        columns = (self.names, self.files, self.values, self.places)
        found = zip(*(one[unit][there] for one in columns), strict=True)
        row.examples = [
            Example(
                image=str(name),
                file=f"{self.network}/{file}" if file else None,
                activation=float(value),
                row=None if np.isnan(at[0]) else float(at[0]),
                column=None if np.isnan(at[1]) else float(at[1]),
            )
            for name, file, value, at in found
        ]
        if self.histogram is not None and self.low is not None and self.high is not None:
            row.histogram = self.histogram[unit].tolist()
            row.histogram_low, row.histogram_high = float(self.low[unit]), float(self.high[unit])
        row.selectivity, row.sparsity = _known(self.selectivity, unit), _known(self.sparsity, unit)
        row.best_class = str(self.best_class[unit]) or None if self.best_class is not None else None
        row.classes = self._classes(unit)

    def _classes(self, unit: int) -> list[ClassExamples] | None:
        """The classes that excite a unit most, with their best images."""
        kept = (self.class_names, self.class_means, self.class_top, self.class_values)
        if self.images is None or any(one is None for one in kept):
            return None
        found = []
        for name, mean, top, values in zip(*(one[unit] for one in kept if one is not None), strict=True):
            examples = [
                Example(
                    image=_readable(str(self.images[i])),
                    file=f"{self.network}/{thumbnail_name(i)}",
                    activation=float(value),
                )
                for i, value, there in zip(top.tolist(), values, exciting(values), strict=True)
                if there
            ]
            if not examples:
                continue
            found.append(ClassExamples(name=str(name), mean=float(mean), examples=examples))
        return found

    def example_files(self, unit: int, folder: Path) -> list[Path]:
        """The images in a folder that excite the unit most, best first."""
        if self.images is None or self.top is None:
            return []
        there = exciting(self.values[unit])
        return [folder / str(self.images[i]) for i in self.top[unit][there]]

    def pair_files(self, unit: int, folder: Path) -> tuple[list[Path], list[Path]] | None:
        """As `measure.legibility.pair_files`, of the images in a folder."""
        if self.tested_best is None or self.tested_median is None or self.images is None:
            return None
        if self.low is not None and self.low[unit] >= self.best[unit]:
            return None
        best, median = self.tested_best[unit], self.tested_median[unit]
        return [folder / str(self.images[i]) for i in best], [folder / str(self.images[i]) for i in median]


def save_natural(
    store: Store,
    network: str,
    folder: str,
    found: NaturalActivations,
    *,
    shape: Sequence[int],
    size: Size,
    images: Path | None,
) -> None:
    """Write a layer's natural activations into the atlas; thumbnails too where their folder is given.

    shape: of the layer's output for a natural image, (units, height, width) or (units,). size: of the network's input, whose
    proportions the thumbnails have.
    """
    # tables and pages are UTF-8, which names of files need not be
    names = np.array([_readable(name) for name in found.images])[found.top]
    classes = _classes(found) if images is not None else None
    files = np.full(found.top.shape, "", dtype="U32")
    if images is not None:
        read = [images / name for name in found.images]  # those of the folder that could be read, by number
        shown = found.top if classes is None else np.append(found.top, classes["class_top"])
        _write_thumbnails(
            store, network, read, shown[shown >= 0], times(size, THUMBNAIL_SIDE / max(sides_of(size)))
        )
        files = np.vectorize(thumbnail_name, otypes=["U32"])(found.top)
    arrays = {
        "mean": found.mean, "p99": found.p99, "best": found.best, "names": names, "values": found.top_values,
        "files": files, "places": _places(found, shape), **_histogram(found), **_tested(found, images),
        **_numbers(found), **(classes or {}),
    }  # fmt: skip
    if images is not None:
        arrays |= {"images": np.array(found.images), "top": found.top}
    with store.writing(f"{network}/{folder}/{FILE}") as spare, spare.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_natural(store: Store, network: str, folder: str) -> NaturalRows:
    """What `save_natural` wrote; DamagedError where that is gone or damaged."""
    place = f"{network}/{folder}/{FILE}"
    try:
        with np.load(io.BytesIO(store.read(place)), allow_pickle=False) as file:
            known = {one.name for one in fields(NaturalRows)}  # a later filterscope may keep more
            return NaturalRows(**{name: file[name] for name in file.files if name in known}, network=network)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedError(
            f"{store.address}/{place} is damaged or gone ({error}); its pictures rest on it: remove "
            f"{store.address}/{network} and draw anew"
        ) from None


def thumbnail_name(number: int) -> str:
    """The place of an image's thumbnail in the network's folder."""
    return f"{EXAMPLES_FOLDER}/{number:06d}.jpg"


def _write_thumbnails(store: Store, network: str, images: list[Path], top: np.ndarray, size: Size) -> None:
    there = store.sizes(f"{network}/{EXAMPLES_FOLDER}")
    for number in np.unique(top).tolist():
        name = thumbnail_name(number)
        if name.rpartition("/")[2] not in there:
            # cropped as the network's own preprocessing crops it
            image = ImageOps.exif_transpose(read_image(images[number])).convert("RGB")
            buffer = io.BytesIO()
            ImageOps.fit(image, sides_of(size)[::-1], Image.Resampling.BICUBIC).save(
                buffer, "JPEG", quality=85
            )
            store.write(f"{network}/{name}", buffer.getvalue())


def _places(found: NaturalActivations, shape: Sequence[int]) -> np.ndarray:
    """Where in its thumbnail each image excites the unit most: the middle of that value's share of the map."""
    places = getattr(found, "top_places", None)
    if places is None or len(shape) != 3:
        return np.full((*found.top.shape, 2), np.nan, dtype=np.float32)
    found_at: np.ndarray = (np.asarray(places) + 0.5) / np.array(shape[1:])
    return found_at.astype(np.float32)


def _tested(found: NaturalActivations, images: Path | None) -> dict[str, np.ndarray]:
    if found.tested_best is None or found.tested_median is None or images is None:
        return {}
    return {"tested_best": found.tested_best, "tested_median": found.tested_median}


def _numbers(found: NaturalActivations) -> dict[str, np.ndarray]:
    """Selectivity, sparsity and the best class of each unit, where they are known."""
    known = {"selectivity": found.selectivity, "sparsity": found.sparsity}
    arrays = {name: values for name, values in known.items() if values is not None}
    if found.selectivity is not None:
        arrays["best_class"] = np.array([found.best_class(unit) or "" for unit in range(len(found.best))])
    return arrays


def _classes(found: NaturalActivations) -> dict[str, np.ndarray] | None:
    """The classes that excite each unit most, where the images' folders are classes."""
    if not found.by_folder or found.class_order is None:
        return None
    kept = {
        "class_names": np.array(found.class_names)[found.class_order],
        "class_means": found.class_means,
        "class_top": found.class_top,
        "class_values": found.class_top_values,
    }
    return {name: values for name, values in kept.items() if values is not None}


def _readable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _known(values: np.ndarray | None, unit: int) -> float | None:
    return None if values is None or np.isnan(values[unit]) else float(values[unit])


def _histogram(found: NaturalActivations) -> dict[str, np.ndarray]:
    counts, least = getattr(found, "histogram", None), getattr(found, "least", None)
    if counts is None or least is None:
        return {}
    return {"histogram": counts.astype(np.int32), "low": least, "high": found.best}
