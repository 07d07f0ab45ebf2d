"""What was found as a page that opens from the file system, made of the gallery's parts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filterscope.atlas.gallery.pages import render, write_assets
from filterscope.atlas.storage.store import open_store
from filterscope.factorization.crops import crop_image
from filterscope.factorization.finding import Found
from filterscope.pictures import Picture

CROP_SIDE = 112
FOLDER = "crops"


def write_page(folder: Path, found: Found, pictures: Sequence[Picture]) -> Path:
    """Write LAYER.concepts.html beside the pictures, and the crops that it shows into a folder of their own."""
    store = open_store(folder)
    write_assets(store)
    most = max((abs(value) for values in found.importance.values() for value in values), default=0.0)
    rows = []
    stem = found.file_name.removesuffix(".safetensors")
    for number, picture in enumerate(pictures):
        crops = []
        for i, crop in enumerate(found.best(number)):
            name, file = f"{FOLDER}/{stem}-{number:04d}-{i}.jpg", found.images[crop.image]
            buffer = io.BytesIO()
            crop_image(found.folder / file, crop.box, CROP_SIDE).save(buffer, "JPEG", quality=85)
            store.write(name, buffer.getvalue())
            crops.append({"file": name, "image": file})
        rows.append(_row(found, number, picture, crops, most))
    of = [(name, _order(values)) for name, values in found.importance.items()]
    shown = {
        "layer": found.layer, "network": found.network.name, "file": found.file_name, "images": len(found.images),
        "crops": len(found.crops), "explained": found.factors.explained, "below": found.below, "rows": rows,
        "how": found.request.importance, "why_not": found.why_not, "classes": of, "names": found.names,
        "recipe": pictures[0].recipe,
    }  # fmt: skip
    store.write(f"{stem}.html", render("concepts.html", root="", shown=shown))
    return folder / f"{stem}.html"


def _row(
    found: Found, number: int, picture: Picture, crops: list[dict[str, str]], most: float
) -> dict[str, Any]:
    values = [(name, own[number]) for name, own in found.importance.items()]
    return {
        "number": number, "name": found.names[number], "file": f"{picture.stem}.png", "status": picture.status,
        "share": float(found.factors.share[number]), "crops": crops, "activation": picture.scores.activation,
        "importance": [
            (name, value, round(75 * abs(value) / most, 1) if most else 0.0)
            for name, value in sorted(values, key=lambda pair: -pair[1])
        ],
    }  # fmt: skip


def _order(values: Sequence[float]) -> list[int]:
    """The concepts that a class depends on most, first."""
    return sorted(range(len(values)), key=lambda i: -values[i])[:5]
