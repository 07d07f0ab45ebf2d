"""Thumbnails of many pictures in a few image files, so that a layer of thousands opens at once."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError, features

THUMBNAIL_SIDE = 112  # of a thumbnail in pixels
COLUMNS = 12
THUMBNAILS_PER_SHEET = (
    COLUMNS * COLUMNS
)  # a sheet is 1,344 px wide: quick to decode, and only those in view are loaded
WEBP_QUALITY = 82  # at 112 px it looks like the PNG

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Spot:
    """Where a thumbnail lies: the sheet's number and the column and row on it."""

    sheet: int
    column: int
    row: int


@dataclass(frozen=True)
class Sprites:
    """Sheets of thumbnails: each sheet's bytes, rows on it, and which of the pictures could be shown."""

    sheets: list[bytes]
    rows: list[int]
    shown: list[bool]
    ending: str

    def names(self) -> list[str]:
        """The sheets' file names."""
        return [f"sprite-{i}.{self.ending}" for i in range(len(self.sheets))]


def locate_thumbnail(index: int) -> Spot:
    """Where the picture of that number lies.

    >>> locate_thumbnail(145)
    Spot(sheet=1, column=1, row=0)
    """
    place = index % THUMBNAILS_PER_SHEET
    return Spot(index // THUMBNAILS_PER_SHEET, place % COLUMNS, place // COLUMNS)


def make_sprites(files: Sequence[str | None], read: Read) -> Sprites:
    """Sheets of the pictures' thumbnails in order; one that is missing or damaged leaves its place empty.

    files: paths that `read` turns into bytes, None where there is no picture.
    """
    ending = "webp" if features.check("webp") else "png"
    sheets, rows, shown = [], [], []
    for begin in range(0, len(files), THUMBNAILS_PER_SHEET):
        some = files[begin : begin + THUMBNAILS_PER_SHEET]
        height = math.ceil(len(some) / COLUMNS)
        sheet = Image.new("RGB", (COLUMNS * THUMBNAIL_SIDE, height * THUMBNAIL_SIDE), (128, 128, 128))
        for i, file in enumerate(some):
            thumbnail = _thumbnail(file, read)
            shown.append(thumbnail is not None)
            if thumbnail is not None:
                sheet.paste(thumbnail, (i % COLUMNS * THUMBNAIL_SIDE, i // COLUMNS * THUMBNAIL_SIDE))
        sheets.append(_encoded(sheet, ending))
        rows.append(height)
    return Sprites(sheets, rows, shown, ending)


def _thumbnail(file: str | None, read: Read) -> Image.Image | None:
    """The middle square of a picture, `THUMBNAIL_SIDE` pixels wide, or None where there is none."""
    if file is None:
        return None
    try:
        with Image.open(io.BytesIO(read(file))) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            box = (left, top, left + side, top + side)
            return image.convert("RGB").resize(
                (THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, box=box
            )
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _encoded(sheet: Image.Image, ending: str) -> bytes:
    buffer = io.BytesIO()
    if ending == "webp":
        sheet.save(buffer, "WEBP", quality=WEBP_QUALITY, method=3)
    else:
        sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
