"""Animations of pictures: WebP and GIF by Pillow, MP4 by imageio and PyAV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from filterscope.errors import ArgumentError, OutputError, did_you_mean
from filterscope.files import writing
from filterscope.pictures.picture import Picture

FORMATS = ("webp", "gif", "mp4")
FPS = 12
GIF_FPS = 50  # a GIF counts in hundredths of a second, and browsers show a frame of one hundredth for ten
HOLD = 1.5  # seconds that the last frame of a loop stays
PLOT = 0.25  # height of the curve under a picture, as a part of the picture's


def check_format(name: str, fps: float = FPS) -> str:
    """The format's name, lower case; ArgumentError where it is unknown, too slow or its libraries are missing."""
    kind = name.lower().lstrip(".")
    if kind not in FORMATS:
        raise ArgumentError(
            f"animations are {', '.join(FORMATS)} (got {name!r}{did_you_mean(kind, FORMATS)})"
        )
    if kind == "gif" and fps > GIF_FPS:
        raise ArgumentError(
            f"a GIF shows at most {GIF_FPS} frames a second (got {fps:g}); webp and mp4 take more"
        )
    if kind == "mp4":
        try:
            import av  # noqa: F401
            import imageio.v3  # noqa: F401
        except ImportError:
            raise ArgumentError(
                "MP4 needs imageio and PyAV: pip install 'filterscope[video]' (webp and gif need neither)"
            ) from None
    return kind


def save_animation(
    frames: Sequence[Image.Image], path: str | os.PathLike[str], *, fps: float = FPS, hold: float = HOLD
) -> Path:
    """Write frames of one size as an animation, whole or not at all; the ending says which kind.

    fps: frames a second. hold: seconds that the last frame stays before the loop begins again (WebP, GIF).
    """
    place = Path(path)
    kind = check_format(place.suffix, fps)
    if not frames:
        raise ArgumentError("an animation needs at least one frame")
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise ArgumentError(f"the frames of an animation have one size (got {sorted(sizes)})")
    with writing(place) as spare:
        if kind == "mp4":
            _write_mp4(frames, spare, fps)
        else:
            _write_loop(frames, spare, kind, fps, hold)
    return place


def save_between(pictures: Sequence[Picture], path: str | os.PathLike[str], *, fps: float = FPS) -> Path:
    """Write the frames between two targets as an animation."""
    return save_animation([picture.to_pil() for picture in pictures], path, fps=fps)


def _write_loop(frames: Sequence[Image.Image], spare: Path, kind: str, fps: float, hold: float) -> None:
    unit = 10 if kind == "gif" else 1  # milliseconds: what the format counts in
    ends = [unit * round(1000 / unit * i / fps) for i in range(len(frames) + 1)]
    times = [after - before for before, after in pairwise(ends)]
    times[-1] += round(1000 * hold)
    shown = [frame.convert("RGB") for frame in frames]
    options = {"quality": 88, "method": 4} if kind == "webp" else {"optimize": False, "disposal": 1}
    with spare.open("wb") as file:
        shown[0].save(
            file, kind.upper(), save_all=True, append_images=shown[1:], duration=times, loop=0, **options
        )


def _write_mp4(frames: Sequence[Image.Image], spare: Path, fps: float) -> None:
    import imageio.v3 as iio

    width, height = (side - side % 2 for side in frames[0].size)  # its pixels' colours come in pairs
    if not width or not height:
        raise ArgumentError(f"MP4 needs frames of at least 2 x 2 px (got {frames[0].size})")
    films = np.stack([np.asarray(f.convert("RGB").crop((0, 0, width, height))) for f in frames])
    try:
        data = iio.imwrite(
            "<bytes>", films, extension=".mp4", plugin="pyav", codec="libx264", fps=fps, out_pixel_format="yuv420p"
        )  # fmt: skip
    except (ValueError, RuntimeError, OSError) as error:
        raise OutputError(f"MP4 could not be encoded: {error}") from error
    spare.write_bytes(data)


def with_curve(image: Image.Image, curve: Sequence[float], total: int) -> Image.Image:
    """The picture over its curve so far: activation against step, of `total` steps, from the curve's least to
    its largest value."""
    height = max(24, round(image.height * PLOT))
    frame = Image.new("RGB", (image.width, image.height + height), "white")
    frame.paste(image.convert("RGB"), (0, 0))
    if curve:
        low, high = min(curve), max(curve)
        edge, bottom = 3, image.height + height - 4
        reach = height - 8
        points = [
            (
                edge + (image.width - 1 - 2 * edge) * i / max(1, total - 1),
                bottom - reach * (v - low) / ((high - low) or 1),
            )
            for i, v in enumerate(curve)
        ]
        draw = ImageDraw.Draw(frame)
        draw.line([(edge, bottom + 1), (image.width - 1 - edge, bottom + 1)], fill=(200, 200, 200))
        draw.line(
            points if len(points) > 1 else points * 2, fill=(200, 60, 20), width=max(1, image.width // 128)
        )
        x, y = points[-1]
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(200, 60, 20))
    return frame
