"""Pictures that people drew in the viewer and kept: NETWORK/drawn/, beside the atlas' own and never instead.

Each is a PNG as `show` writes it, so that it carries its whole recipe; its name has the unit, the recipe and
the seed, and ends in a digest of the file: `block3_conv1-0034--sharp-1-9f86d081.png`. The atlas' index, its
plan and its resuming do not include them.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image

from filterscope.atlas.gallery.data import Data, round_number
from filterscope.atlas.storage.store import Store
from filterscope.errors import FilterscopeError
from filterscope.files import safe_name
from filterscope.formats import PICTURE
from filterscope.pictures.png import CHUNK, encode_png
from filterscope.selection import Selection

if TYPE_CHECKING:
    from filterscope.pictures import Picture

FOLDER = "drawn"


def keep_picture(store: Store, network_folder: str, picture: Picture) -> str:
    """Write a picture into the network's folder of kept ones; its path. The same picture twice is one file."""
    data = encode_png(picture.to_pil(), picture.metadata())
    digest = hashlib.sha256(data).hexdigest()[:8]
    recipe = safe_name(picture.recipe.name)[:40]
    path = f"{network_folder}/{FOLDER}/{picture.stem}--{recipe}-{picture.seed}-{digest}.png"
    store.write(path, data)
    return path


def list_kept(store: Store, network_folder: str) -> list[Data]:
    """What the pages show of each kept picture; other files are passed over."""
    place = f"{network_folder}/{FOLDER}"
    names = [
        n for n in sorted(store.sizes(place)) if n.endswith(".png") and "--" in n and not n.startswith(".")
    ]
    found = (_read_kept(store, str(PurePosixPath(place) / name)) for name in names)
    return [row for row in found if row is not None]


def _read_kept(store: Store, path: str) -> Data | None:
    try:
        with Image.open(io.BytesIO(store.read(path))) as image:
            image.load()
            record = PICTURE.newest(json.loads(image.text[CHUNK]), path)  # type: ignore[attr-defined]
        target = Selection.parse(str(record["target"]))
        (unit,) = tuple(target.units or ())
        return {
            "file": path,
            "layer": target.layer,
            "unit": int(str(unit)),
            "recipe": str(record["recipe"]["name"]),
            "steps": int(record["recipe"]["steps"]),
            "seed": int(record["seed"]),
            "activation": round_number(record["scores"].get("activation")),
            "excitation": round_number(record["scores"].get("excitation")),
        }
    except (
        FilterscopeError, OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError, RecursionError,
    ):  # fmt: skip
        return None  # cut short, or somebody else's
    except Image.DecompressionBombError:
        return None
