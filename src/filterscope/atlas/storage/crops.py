"""Sheets of crops: a unit's natural images, each cropped to the unit's effective receptive field, in one file."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, features

from filterscope.measure.fields import crop_to_field

SIDE = 96  # of a crop in pixels
COLUMNS = 10
QUALITY = 78

Example = tuple[
    Image.Image, np.ndarray
]  # a photograph as the network is given it, and the unit's field in it


def crops_name(unit: int) -> str:
    """The name of a unit's sheet in its layer's folder."""
    return f"examples-{unit:04d}.{'webp' if features.check('webp') else 'jpg'}"


def compose_crops(examples: Sequence[Example | None]) -> bytes:
    """Crops in rows of `COLUMNS`, each in the middle of a square of `SIDE` pixels; one that is missing is grey."""
    sheet = Image.new("RGB", (COLUMNS * SIDE, count_rows(len(examples)) * SIDE), (128, 128, 128))
    for i, one in enumerate(examples):
        if one is None:
            continue
        crop = crop_to_field(*one, side=SIDE)
        left, top = i % COLUMNS * SIDE, i // COLUMNS * SIDE
        sheet.paste(crop, (left + (SIDE - crop.width) // 2, top + (SIDE - crop.height) // 2))
    buffer = io.BytesIO()
    if features.check("webp"):
        sheet.save(buffer, "WEBP", quality=QUALITY, method=3)
    else:
        sheet.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def cut_crops(sheet: Image.Image, count: int) -> list[Image.Image]:
    """The first crops of a sheet; fewer where it is smaller than it should be."""
    there = min(count, sheet.width // SIDE * (sheet.height // SIDE))
    corners = [(i % COLUMNS * SIDE, i // COLUMNS * SIDE) for i in range(there)]
    return [sheet.crop((left, top, left + SIDE, top + SIDE)) for left, top in corners]


def count_rows(count: int) -> int:
    """How many rows so many crops take."""
    return -(-count // COLUMNS)
