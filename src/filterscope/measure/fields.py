"""A unit's effective receptive field in a photograph, and the photograph cropped to it.

    fields = effective_fields(network, "block3_conv1", [30, 30], pixels)   # (B, H, W), 0 to 1
    crop_to_field(image, fields[0])                                        # a Pillow image, dark outside the field
    for crop in example_crops(network, "block3_conv1", [(30, path)]): ...  # the same, from files

The effective receptive field (Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks") is the part of a picture that one value of a layer depends on in fact: where the gradient of that value is a
considerable share of its maximum. The value is the unit's largest on its map, its peak. Here the gradient is that of one
photograph, not a mean over many, so its absolute value is blurred first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from filterscope.errors import ImageError
from filterscope.measure.concepts import ConceptUnits
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.png import read_image
from filterscope.pictures.reading import pixels_of, plain
from filterscope.sides import Size, cropped, sides_of

SHARE = 0.15  # of the blurred gradient's maximum, from which on a pixel belongs to the field
BLUR = 0.04  # the blur's standard deviation, of the picture's shorter side...
BLUR_OF_FIELD = 1 / 10  # ...but no more than that of the layer's receptive field
MARGIN = 0.15  # that a crop shows around the field, of its side on each side
LEAST_SHARE = 0.125  # of the picture's shorter side: a crop is no smaller
DIMMED = 0.35  # the brightness of what lies outside the field
SIDE = 112  # a crop's longer side in pixels
MOST_SIDE = round(SIDE / LEAST_SHARE)  # of a photograph that is kept in memory to be cropped
MAX_PIXELS = 400_000  # of the pictures that go through the network together: their gradient needs all maps of all layers


@in_our_torch
def effective_fields(
    network: Network,
    layer: str,
    units: Sequence[int],
    pixels: Tensor,
    concepts: ConceptUnits | None = None,
) -> np.ndarray:
    """The effective receptive field of one unit in each picture: float32 (B, H, W), 0 to 1 at its maximum.

    units: of each picture the unit, B of them. pixels: (B, C, H, W), in 0 to 255. The gradient is of the unit's largest
    value on its map (of a dense layer its value, of a class that before the softmax). Where there is no gradient, as of a
    unit that nothing in the picture excites, the whole picture is the field. concepts: a file's at that layer, whose numbers
    the units are.
    """
    inputs = pixels.detach().clone().requires_grad_()
    (maps,) = network.probe([layer]).eval()(network.input.preprocess(inputs))
    maps = maps if concepts is None else concepts.of_maps(maps)
    values = maps.flatten(2) if maps.ndim > 2 else maps[..., None]  # (B, units, places)
    peaks = values[torch.arange(len(values)), list(units)].max(1).values
    gradient = None
    if peaks.requires_grad:
        (gradient,) = torch.autograd.grad(peaks.sum(), inputs, allow_unused=True)
    if gradient is None:
        return np.ones((len(pixels), *pixels.shape[2:]), np.float32)
    field = network.layer(layer).receptive_field
    strength = _blurred(gradient.abs().sum(1), _blur(pixels.shape[2:], field))
    largest = strength.amax((1, 2), keepdim=True)
    shares = torch.where(largest > 0, strength / largest.clamp(min=torch.finfo(torch.float32).tiny), 1.0)
    return np.asarray(shares.numpy(), np.float32)


def crop_to_field(
    image: Image.Image, field: np.ndarray, *, side: int = SIDE, dimmed: float = DIMMED
) -> Image.Image:
    """The part of a picture around a field, `side` pixels at its longer side, dark where the field does not reach.

    image: what the network is given (see `as_given`), at any resolution. field: (H, W) of the same proportions.
    dimmed: the brightness of what lies outside of the field; 1 leaves it as it is.
    """
    left, top, right, bottom = field_box(field)
    high, wide = field.shape
    scale = side / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    across, down = image.width / wide, image.height / high
    box = (left * across, top * down, right * across, bottom * down)
    part = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=box)
    shares = Image.fromarray(np.asarray(field, np.float32)).resize(
        size, Image.Resampling.BICUBIC, box=(left, top, right, bottom)
    )
    inside = np.clip(np.asarray(shares) / SHARE - 0.5, 0, 1)[..., None]  # half at the field's edge
    lit = np.asarray(part, np.float32) * (dimmed + (1 - dimmed) * inside)
    return Image.fromarray(lit.round().clip(0, 255).astype(np.uint8))


def field_box(field: np.ndarray) -> tuple[int, int, int, int]:
    """The square around a field with its margin, within the picture: left, top, right, bottom, in the field's pixels.

    >>> field_box(np.eye(64)[:16])
    (0, 0, 21, 16)
    """
    high, wide = field.shape
    rows, columns = (np.flatnonzero((field >= SHARE).any(axis)) for axis in (1, 0))
    ends = [
        (found[0], found[-1] + 1) if len(found) else (0, n) for found, n in ((rows, high), (columns, wide))
    ]
    side = max(end - begin for begin, end in ends) * (1 + 2 * MARGIN)
    side = math.ceil(max(side, LEAST_SHARE * min(high, wide)))
    (top, bottom), (left, right) = (
        _around(begin, end, side, n) for (begin, end), n in zip(ends, (high, wide), strict=True)
    )
    return left, top, right, bottom


def example_crops(
    network: Network,
    layer: str,
    examples: Sequence[tuple[int, Path]],
    *,
    size: Size | None = None,
    side: int = SIDE,
) -> Iterator[Image.Image | None]:
    """Photographs cropped to a unit's effective receptive field in each, in order; None for a file that cannot be read.

    examples: units with the photographs' files. size: as the network was given them when they were found; its own where
    None. side: of a crop, in pixels.
    """
    for found in example_fields(network, layer, examples, size=size):
        yield None if found is None else crop_to_field(*found, side=side)


def read_example(path: Path) -> Image.Image | None:
    """A photograph; None where it cannot be read (any more)."""
    try:
        return read_image(path)
    except ImageError:
        return None


def example_fields(
    network: Network,
    layer: str,
    examples: Sequence[tuple[int, Path]],
    *,
    size: Size | None = None,
    concepts: ConceptUnits | None = None,
    read: Callable[[Path], Image.Image | None] = read_example,
) -> Iterator[tuple[Image.Image, np.ndarray] | None]:
    """As `example_crops`: each photograph as the network is given it, at its own resolution, with the unit's field in it.
    concepts: as for `effective_fields`."""
    given = size or network.input.size
    together = max(1, MAX_PIXELS // math.prod(sides_of(given)))
    for begin in range(0, len(examples), together):
        some = examples[begin : begin + together]
        images = [read(path) for _, path in some]
        there = [(unit, image) for (unit, _), image in zip(some, images, strict=True) if image is not None]
        found: Iterator[np.ndarray] = iter(())
        if there:
            pixels = torch.stack([pixels_of(image, network.input, size=given) for _, image in there])
            found = iter(effective_fields(network, layer, [unit for unit, _ in there], pixels, concepts))
        for image in images:
            yield None if image is None else (as_given(image, given), next(found))


def usual_field(fields: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """The mean of a unit's fields in several pictures, each moved so that the peak lies in the middle: (2 H, 2 W).

    places: (N, 2), each peak's row and column as shares of the picture's height and width.
    """
    high, wide = fields[0].shape
    moved = np.zeros((len(fields), 2 * high, 2 * wide), np.float32)
    for canvas, field, place in zip(moved, fields, places, strict=True):
        top, left = (round(n * (1 - at)) for n, at in zip((high, wide), place, strict=True))
        canvas[top : top + high, left : left + wide] = field
    mean = moved.mean(0)
    return np.asarray(mean / max(float(mean.max()), np.finfo(np.float32).tiny))


def usual_field_at(usual: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The field that `usual_field` leads one to expect in a picture whose peak lies at a place: (H, W)."""
    high, wide = (n // 2 for n in usual.shape)
    top, left = (round(n * (1 - at)) for n, at in zip((high, wide), place, strict=True))
    return usual[top : top + high, left : left + wide]


def as_given(image: Image.Image, size: Size) -> Image.Image:
    """The part of a photograph that a network is given, upright, RGB, at the photograph's own resolution or the lower one
    that the smallest crop needs."""
    image = plain(image).convert("RGB")
    part = image.crop(cropped((image.height, image.width), size))
    part.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.BICUBIC)
    return part


def _around(begin: int, end: int, side: int, length: int) -> tuple[int, int]:
    """An interval of `side` with the middle of another one, moved and cut to lie within 0 and `length`."""
    side = min(side, length)
    start = min(max(0, round((begin + end - side) / 2)), length - side)
    return start, start + side


def _blur(sides: Sequence[int], field: int | None) -> float:
    spread = BLUR * min(sides)
    return max(0.5, spread if field is None else min(spread, BLUR_OF_FIELD * field))


def _blurred(values: Tensor, spread: float) -> Tensor:
    """Values (B, H, W) under a Gaussian blur, nothing beyond the edges."""
    reach = math.ceil(3 * spread)
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-((at / spread) ** 2) / 2)
    weights = weights / weights.sum()
    tall = F.conv2d(values[:, None].float(), weights[None, None, :, None], padding=(reach, 0))
    return F.conv2d(tall, weights[None, None, None], padding=(0, reach))[:, 0]
