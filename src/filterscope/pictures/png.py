"""PNG files that carry their recipe: JSON in a text chunk named `filterscope`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from filterscope.errors import ImageError

CHUNK = "filterscope"


def encode_png(image: Image.Image, metadata: dict[str, Any]) -> bytes:
    """The PNG's bytes; the same picture and metadata give the same bytes."""
    info = PngImagePlugin.PngInfo()
    info.add_text(CHUNK, json.dumps(metadata, ensure_ascii=True, allow_nan=False))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """A picture file, open and read whole; ImageError where it is none, is damaged or is far too large.

    Far too large is what Pillow takes for a decompression bomb: more than 179 million pixels.
    """
    place = Path(path)
    if not place.is_file():
        if place.is_dir():
            raise ImageError(f"there is no picture {str(place)!r}, which is a folder: name a picture in it")
        raise ImageError(f"there is no picture {str(place)!r}")
    try:
        with warnings.catch_warnings():
            # raised from half that size on: large photographs are no bombs
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(place)
            with image:
                image.load()
                yield image
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{str(place)!r} cannot be read as a picture: {error}") from error


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture file and read it whole; ImageError where it is none, is damaged or is far too large."""
    with opened(path) as image:
        return image


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What filterscope wrote into a PNG, or None where it wrote nothing; ImageError where it is damaged."""
    text = getattr(read_image(path), "text", {}).get(CHUNK)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{str(path)!r}: its {CHUNK} text is damaged: {error}") from None
    if not isinstance(found, dict):
        raise ImageError(f"{str(path)!r}: its {CHUNK} text is no JSON object")
    return found
