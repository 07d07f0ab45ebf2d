"""Square crops that cover photographs, as the network takes them.

As CRAFT does (Fel et al. 2023, "CRAFT: Concept Recursive Activation FacTorization for Explainability"; deel-ai/Craft,
`craft_torch.py`, `fit`): a crop's neighbour begins four fifths of its side further on, and each is resized to the network's
own size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from filterscope.errors import ImageError
from filterscope.networks.input_spec import InputSpec
from filterscope.pictures.png import read_image
from filterscope.pictures.reading import pixels_of, plain

STEP = 0.8  # of a crop's side, to the next one
OnSkip = Callable[[Path, str], object]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Crop:
    """A part of a photograph: the number of its file, and left, top, right and bottom in pixels."""

    image: int
    box: Box


def crop_boxes(width: int, height: int, share: float) -> list[Box]:
    """The crops that cover a picture, row by row; each has `share` of its shorter side, and the last ends with it.

    >>> crop_boxes(10, 5, 1.0)
    [(0, 0, 5, 5), (2, 0, 7, 5), (5, 0, 10, 5)]
    """
    side = max(1, round(share * min(width, height)))
    lefts, tops = _begins(width, side), _begins(height, side)
    return [(left, top, left + side, top + side) for top in tops for left in lefts]


def _begins(length: int, side: int) -> list[int]:
    count = math.ceil((length - side) / (STEP * side)) + 1
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


def read_crops(
    files: Sequence[Path], spec: InputSpec, share: float, on_skip: OnSkip
) -> Iterator[tuple[int, Tensor, list[Tensor], list[Crop]]]:
    """Of each file that is a picture its number, its pixel values as a whole, (C, H, W), those of its crops, and these."""
    for number, path in enumerate(files):
        try:
            image = plain(read_image(path))
        except ImageError as error:
            on_skip(path, str(error))
            continue
        crops = [Crop(number, box) for box in crop_boxes(*image.size, share)]
        yield number, pixels_of(image, spec), [pixels_of(image.crop(c.box), spec) for c in crops], crops


def crop_image(path: Path, box: Box, side: int) -> Image.Image:
    """A crop as a small square picture."""
    return plain(read_image(path)).convert("RGB").crop(box).resize((side, side), Image.Resampling.BICUBIC)
