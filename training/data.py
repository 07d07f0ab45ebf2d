"""Tiny ImageNet from disk: 200 classes, 100,000 training and 10,000 validation pictures of 64 x 64.

Two layouts are read, told apart by what the folder holds:

mosaics         train-NNN.webp, val-NNN.webp: sheets of 64 x 64 pictures, row by row; `labels.json`
                {"train": [...], "val": [...]} in that order; `classes.tsv`: WordNet id, tab, names.
usual folder    as the data set is published: train/WNID/images/*.JPEG, val/images/*.JPEG with
                val_annotations.txt, wnids.txt, words.txt.

Labels are the same in both: the place of the class's WordNet id among all ids, sorted.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.errors import TrainingError
from training.progress import progress

SIDE = 64  # pixels, height and width of every picture
Split = Literal["train", "val"]


@dataclass(frozen=True)
class Pictures:
    """Pictures with their labels: `images` uint8 (N, 64, 64, 3), RGB; `labels` int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ClassName:
    """A class: WordNet id and names, the first of which is the usual one."""

    wnid: str
    names: str

    @property
    def short(self) -> str:
        """The first name, as one word: "sea snake, ..." is sea_snake."""
        return self.names.split(",")[0].strip().replace(" ", "_")


class TinyImageNet(Protocol):
    """The data set in whichever layout it lies."""

    def classes(self) -> list[ClassName]:
        """All classes by label."""

    def pictures(self, split: Split, limit: int | None = None) -> Pictures:
        """The pictures of a split; `limit` takes so many, evenly spread."""


def open_data(folder: Path) -> TinyImageNet:
    """Open Tiny ImageNet in `folder`; TrainingError when neither layout is there."""
    if (folder / "labels.json").is_file() and (folder / "classes.tsv").is_file():
        return Mosaics(folder)
    for root in (folder, folder / "tiny-imagenet-200"):
        if (root / "wnids.txt").is_file() and (root / "train").is_dir():
            return UsualFolder(root)
    raise TrainingError(
        f"no Tiny ImageNet in {folder} ({_found(folder)}); allowed: mosaics (train-NNN.webp, val-NNN.webp, "
        "labels.json, classes.tsv) or the usual folder (train/WNID/images, val/images, "
        "val/val_annotations.txt, wnids.txt, words.txt)"
    )


@dataclass(frozen=True)
class Mosaics:
    """Tiny ImageNet as sheets of pictures."""

    folder: Path

    def classes(self) -> list[ClassName]:
        """All classes by label, from classes.tsv."""
        lines = (self.folder / "classes.tsv").read_text(encoding="utf-8").splitlines()
        return [ClassName(*line.split("\t", 1)) for line in lines if "\t" in line]

    def pictures(self, split: Split, limit: int | None = None) -> Pictures:
        """The pictures of a split; `limit` takes so many, evenly spread."""
        labels = torch.tensor(json.loads((self.folder / "labels.json").read_text())[split])
        sheets = sorted(self.folder.glob(f"{split}-*.webp"))
        tiles = _read(sheets, _tiles, f"reading {split}")
        images = np.concatenate(tiles) if tiles else np.zeros((0, SIDE, SIDE, 3), np.uint8)
        if len(images) < len(labels):
            raise TrainingError(
                f"{self.folder}: labels.json has {len(labels)} labels for '{split}', but the {len(sheets)} "
                f"sheets {split}-*.webp hold {len(images)} pictures"
            )
        _check_labels(labels, len(self.classes()), self.folder)
        if limit is None or limit >= len(labels):
            return Pictures(torch.from_numpy(images[: len(labels)]), labels)
        pick = _spread(len(labels), limit)
        return Pictures(torch.from_numpy(images[pick]), labels[torch.from_numpy(pick)])


@dataclass(frozen=True)
class UsualFolder:
    """Tiny ImageNet as Stanford's CS231n publishes it."""

    folder: Path

    def classes(self) -> list[ClassName]:
        """All classes by label: wnids.txt, sorted, with their names in words.txt."""
        wnids = sorted((self.folder / "wnids.txt").read_text(encoding="utf-8").split())
        words = self.folder / "words.txt"
        lines = words.read_text(encoding="utf-8").splitlines() if words.is_file() else []
        names = dict(line.split("\t", 1) for line in lines if "\t" in line)
        return [ClassName(wnid, names.get(wnid, wnid)) for wnid in wnids]

    def pictures(self, split: Split, limit: int | None = None) -> Pictures:
        """The pictures of a split; `limit` takes so many, evenly spread."""
        label = {c.wnid: i for i, c in enumerate(self.classes())}
        listed = self._training(label) if split == "train" else self._validation(label)
        if not listed:
            raise TrainingError(f"{self.folder} has no pictures in {split} ({_found(self.folder / split)})")
        listed = [listed[i] for i in _spread(len(listed), limit)]
        images = np.stack(_read([path for path, _ in listed], _photo, f"reading {split}"))
        return Pictures(torch.from_numpy(images), torch.tensor([n for _, n in listed]))

    def _training(self, label: dict[str, int]) -> list[tuple[Path, int]]:
        return [
            (path, n)
            for wnid, n in label.items()
            for path in sorted((self.folder / "train" / wnid / "images").glob("*.JPEG"))
        ]

    def _validation(self, label: dict[str, int]) -> list[tuple[Path, int]]:
        table = self.folder / "val" / "val_annotations.txt"
        if not table.is_file():
            raise TrainingError(f"{table} is missing: it names the class of each validation picture")
        rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines() if line]
        unknown = sorted({row[1] for row in rows if row[1] not in label})
        if unknown:
            raise TrainingError(f"{table} names classes that wnids.txt lacks: {', '.join(unknown[:5])}")
        return [(self.folder / "val" / "images" / row[0], label[row[1]]) for row in rows]


def _tiles(path: Path) -> np.ndarray:
    """The pictures of one sheet, row by row: uint8 (rows * columns, 64, 64, 3)."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    height, width, _ = sheet.shape
    if height % SIDE or width % SIDE:
        raise TrainingError(f"{path} is {width} x {height} pixels; allowed: multiples of {SIDE}")
    rows, columns = height // SIDE, width // SIDE
    grid = sheet.reshape(rows, SIDE, columns, SIDE, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * columns, SIDE, SIDE, 3)


def _photo(path: Path) -> np.ndarray:
    """One picture, uint8 (64, 64, 3); the grey ones become RGB."""
    photo = np.asarray(Image.open(path).convert("RGB"))
    if photo.shape != (SIDE, SIDE, 3):
        height, width, _ = photo.shape
        raise TrainingError(f"{path} is {width} x {height} pixels; allowed: {SIDE} x {SIDE}")
    return photo


def _read(paths: Sequence[Path], read: Callable[[Path], np.ndarray], what: str) -> list[np.ndarray]:
    bar: Iterable[Path] = progress(paths, desc=what, unit="file", brief=True)
    images = []
    for path in bar:
        try:
            images.append(read(path))
        except OSError as error:
            raise TrainingError(f"cannot read the picture {path}: {error}") from error
    return images


def _spread(count: int, limit: int | None) -> np.ndarray:
    """`limit` of the numbers 0 .. count - 1, evenly spread; all of them without a limit."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.linspace(0, count, limit, endpoint=False).astype(np.int64)


def _check_labels(labels: Tensor, classes: int, folder: Path) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise TrainingError(
            f"{folder}/labels.json has labels from {int(labels.min())} to {int(labels.max())}; "
            f"allowed: 0 to {classes - 1}, the lines of classes.tsv"
        )


def _found(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    names = sorted(path.name for path in folder.iterdir())
    return "found: " + (", ".join(names[:6]) + (", ..." if len(names) > 6 else "") or "nothing")
