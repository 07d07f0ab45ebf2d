"""Photographs as a network takes them: shorter side to the network's size, centre crop, RGB or grey."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from filterscope.errors import ImageError
from filterscope.networks.input_spec import InputSpec
from filterscope.pictures.png import CHUNK, read_image

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All picture files under a folder, sorted; ImageError where there is none."""
    place = Path(folder)
    if not place.is_dir():
        raise ImageError(f"there is no folder of pictures {str(place)!r}")
    found = sorted(p for p in place.rglob("*") if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    if not found:
        raise ImageError(f"{str(place)!r} holds no pictures ({', '.join(ENDINGS)})")
    return found


def load_pixels(path: str | os.PathLike[str], spec: InputSpec, *, size: int | None = None) -> Tensor:
    """A picture's pixel values, (C, H, W) in 0 to 255.

    A photograph is resized and cropped to `size` (the network's own). A picture that filterscope drew keeps
    the size it was drawn at where the network takes any, since it was made for that.
    """
    image = read_image(path)
    ours = CHUNK in getattr(image, "text", {})
    return pixels_of(image, spec, size=size, keep=ours and size is None and not spec.fixed)


def pixels_of(image: Image.Image, spec: InputSpec, *, size: int | None = None, keep: bool = False) -> Tensor:
    """A Pillow image's pixel values, (C, H, W) in 0 to 255; resized and cropped unless `keep`."""
    if spec.channels not in (1, 3):
        raise ImageError(f"the network takes {spec.channels} channels; pictures have 1 or 3")
    image = ImageOps.exif_transpose(image).convert("RGB" if spec.channels == 3 else "L")
    side = size or spec.size
    if not keep and image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    values = np.array(image, dtype=np.float32).reshape(image.height, image.width, spec.channels)
    return torch.from_numpy(values).permute(2, 0, 1)


def load_batch(paths: Sequence[Path], spec: InputSpec, *, size: int | None = None) -> Tensor:
    """Photographs as one batch of pixel values, (B, C, H, W)."""
    return torch.stack([pixels_of(read_image(p), spec, size=size) for p in paths])
