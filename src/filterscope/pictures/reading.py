"""Photographs: any picture file as upright 8-bit sRGB, and as a network takes it.

Colours of other spaces become sRGB: by their ICC profile where there is one, else as the mode says. 16 bits are
scaled to 8; what is transparent lies on white; of an animation the first frame is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from filterscope.errors import ImageError
from filterscope.networks.input_spec import InputSpec
from filterscope.pictures.png import CHUNK, opened, read_image
from filterscope.pictures.shown import Shown
from filterscope.sides import Size, sides_of

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FRAMED = ("GIF", "PNG", "WEBP", "TIFF")  # formats whose further frames are an animation, or pages


@dataclass(frozen=True, eq=False)
class Photograph(Shown):
    """A picture to start from or to compare with: `image` is upright, RGB (or L), 8 bits, sRGB.

    sha256: of the file, as `sha256sum` prints it; of an image object the pixels'. path: None for an object.
    notes: what a person should know of the reading, as that of an animation only the first frame was taken.
    """

    image: Image.Image = field(repr=False)
    sha256: str
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name without its ending, or `image`."""
        return self.path.stem if self.path else "image"

    @property
    def identity(self) -> dict[str, str | None]:
        """What a picture's record holds of it: its file's name, without the folder, and its sha256, by which `rerun`
        finds it."""
        return {"file": self.path.name if self.path else None, "sha256": self.sha256}

    def to_pil(self) -> Image.Image:
        """The photograph as a Pillow image."""
        return self.image

    def is_file(self, path: Path) -> bool:
        """Whether a file holds this photograph, whatever it is called: by its bytes; of an image object by its pixels."""
        with contextlib.suppress(OSError, ImageError):
            return self.sha256 == (_sha256(path) if self.path else read_photograph(read_image(path)).sha256)
        return False

    def pixels(self, channels: int = 3) -> Tensor:
        """(C, H, W), uint8, RGB or grey as the network takes it."""
        image = self.image.convert(mode_of(channels))
        values = np.array(image).reshape(image.height, image.width, channels)
        return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def mode_of(channels: int, network: str = "the network") -> str:
    """Pillow's mode of a picture for a network: `L` of one channel, `RGB` of three; ImageError for others."""
    if channels not in (1, 3):
        raise ImageError(f"{network} takes {channels} channels; pictures have 1 or 3")
    return "RGB" if channels == 3 else "L"


def read_photograph(source: str | os.PathLike[str] | Image.Image | np.ndarray | Shown) -> Photograph:
    """A photograph from a file, a Pillow image, an array (H, W, 3) or (H, W) of uint8 (or floats in 0 to 1), or a
    Picture.

    ImageError where it is none, is damaged, has no pixels or is far too large.
    """
    if isinstance(source, Shown):
        source = source.to_pil()
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        image = plain(source)
        return Photograph(image, hashlib.sha256(image.mode.encode() + image.tobytes()).hexdigest())
    if not isinstance(source, str | os.PathLike):
        raise ImageError(
            f"a photograph is a file's name, a Pillow image or an array (H, W, 3), not a {type(source).__name__}"
        )
    path = Path(source)
    with opened(path) as image:
        frames = getattr(image, "n_frames", 1) if image.format in _FRAMED else 1
        shown = plain(image)
    note = f"{path.name} has {frames} frames; the first one is taken"
    return Photograph(shown, _sha256(path), path, (note,) if frames > 1 else ())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(image: Image.Image) -> Image.Image:
    """The image upright, in 8 bits, as RGB in sRGB; grey without a profile stays L.

    A rotation in its EXIF data is carried out. Floats are taken as 0 to 1 where none is larger, else as 0 to 255.
    """
    if 0 in image.size:
        raise ImageError(f"the picture has no pixels ({image.width} x {image.height})")
    profile = image.info.get("icc_profile")
    image = _eight_bits(ImageOps.exif_transpose(image))
    if image.mode in ("P", "PA", "LA", "La", "RGBa", "RGBA") or "transparency" in image.info:
        image = _on_white(image)
    if profile:
        try:
            return _by_profile(image, profile)
        except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile, or one of another mode
            pass
    if image.mode == "LAB":
        return _by_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    return image if image.mode in ("RGB", "L") else image.convert("L" if image.mode == "1" else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # I;16 and its kin; I holds 16 bits too where a file has no more
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        _require_finite(values)
        scale = 255 if values.max() <= 1 else 1
        return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
    return image


def _on_white(image: Image.Image) -> Image.Image:
    layers = image.convert("RGBA")
    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers).convert("RGB")


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours that the profile says, in sRGB; an image that says it is sRGB already stays as it is."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if image.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
        return image
    converted = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    assert converted is not None
    return converted


def _require_finite(values: np.ndarray) -> None:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ImageError(
            f"{count} of the picture's {values.size} values are NaN or infinite: replace them, as np.nan_to_num does, or "
            "leave the picture out"
        )


def _from_array(values: np.ndarray) -> Image.Image:
    shape = values.shape
    if not (values.ndim == 2 or (values.ndim == 3 and shape[2] in (1, 3))) or values.size == 0:
        raise ImageError(f"an array of pixels is (height, width, 3) or (height, width) (got {shape})")
    if values.dtype != np.uint8:
        _require_finite(values)
        if not np.issubdtype(values.dtype, np.floating) or values.min() < 0 or values.max() > 1:
            span = f"{values.dtype}, {values.min():.4g} to {values.max():.4g}"
            raise ImageError(f"pixels are uint8, or floats in 0 to 1 (got {span})")
        values = (values * 255).round().astype(np.uint8)
    return Image.fromarray(values.reshape(shape[:2]) if shape[2:] == (1,) else values)


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All picture files under a folder, sorted; ImageError where there is none."""
    place = Path(folder)
    if not place.is_dir():
        raise ImageError(f"there is no folder of pictures {str(place)!r}")
    found = sorted(p for p in place.rglob("*") if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    if not found:
        raise ImageError(f"{str(place)!r} holds no pictures ({', '.join(ENDINGS)})")
    return found


def load_pixels(path: str | os.PathLike[str], spec: InputSpec, *, size: Size | None = None) -> Tensor:
    """A picture's pixel values, (C, H, W) in 0 to 255.

    A photograph is resized and cropped to `size` (the network's own). A picture that filterscope drew keeps
    the size it was drawn at where the network takes any, since it was made for that.
    """
    image = read_image(path)
    ours = CHUNK in getattr(image, "text", {})
    return pixels_of(image, spec, size=size, keep=ours and size is None and not spec.fixed)


def pixels_of(image: Image.Image, spec: InputSpec, *, size: Size | None = None, keep: bool = False) -> Tensor:
    """A Pillow image's pixel values, (C, H, W) in 0 to 255; resized and cropped unless `keep`."""
    image = plain(image).convert(mode_of(spec.channels))
    height, width = sides_of(size or spec.size)
    if not keep and image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    values = np.array(image, dtype=np.float32).reshape(image.height, image.width, spec.channels)
    return torch.from_numpy(values).permute(2, 0, 1)


def load_batch(paths: Sequence[Path], spec: InputSpec, *, size: Size | None = None) -> Tensor:
    """Photographs as one batch of pixel values, (B, C, H, W)."""
    return torch.stack([pixels_of(read_image(p), spec, size=size) for p in paths])
