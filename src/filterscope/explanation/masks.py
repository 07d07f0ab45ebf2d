"""Where in a photograph a channel is active and relevant: the photograph lit there, dark and grey elsewhere."""

from __future__ import annotations

import numpy as np
from PIL import Image

from filterscope.sides import Sides

SHOWN = 224  # the shorter side of a mask in pixels, where the network's input is smaller
DARK = 0.25  # of the brightness of what is not relevant
LEAST = 0.2  # of the largest relevance: up to here the photograph is dark, and half way from here to the largest as it is
MOST = 0.4  # of the photograph that is lit: the relevance of a map of 4 x 4 places is above LEAST nearly everywhere
HIGHEST = 0.8  # that LEAST is raised to, where much more is as relevant as the most relevant place


def light(seen: Image.Image, relevance: np.ndarray, *, against: bool = False) -> Image.Image:
    """The photograph as the network takes it, lit where a channel's relevance (H, W) is largest, or `against` smallest:
    where it is a fifth of the largest or more, but at most two fifths of the photograph."""
    wanted = np.maximum(-relevance if against else relevance, 0).astype(np.float32)
    image = enlarged(seen)
    largest = float(wanted.max())
    if largest <= 0:
        heat = np.zeros((image.height, image.width), np.float32)
    else:
        small = Image.fromarray(wanted / largest)
        heat = np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))
        least = min(max(LEAST, float(np.quantile(heat, 1 - MOST))), HIGHEST)
        heat = ((heat - least) / ((1 - least) / 2)).clip(0, 1)
    pixels = np.asarray(image.convert("RGB"), np.float32)
    grey = pixels.mean(2, keepdims=True) * DARK
    share = heat[..., None]
    return Image.fromarray((pixels * share + grey * (1 - share)).round().astype(np.uint8))


def enlarged(seen: Image.Image) -> Image.Image:
    """The photograph at the size in which it is shown: small networks' inputs are enlarged."""
    scale = max(1.0, SHOWN / min(seen.size))
    size = round(seen.width * scale), round(seen.height * scale)
    return seen if seen.size == size else seen.resize(size, Image.Resampling.BICUBIC)


def peak_of(relevance: np.ndarray, sides: Sides, *, against: bool = False) -> tuple[int, int]:
    """Row and column, in a picture of these sides, of the largest relevance for the target, or `against` it.

    >>> peak_of(np.array([[0.0, 1.0], [0.0, 0.0]]), (8, 8))
    (2, 6)
    """
    found = -relevance if against else relevance
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    return int((row + 0.5) * sides[0] / found.shape[0]), int((column + 0.5) * sides[1] / found.shape[1])
