"""The photographs over which a training's units are measured: a folder, files, or arrays in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from filterscope.errors import ImageError, shortened
from filterscope.networks.input_spec import InputSpec
from filterscope.pictures.png import read_image
from filterscope.pictures.reading import list_images, pixels_of, read_photograph

log = logging.getLogger("filterscope")

WHITE = 255.0  # of pixel values
MOST = 512  # pictures that are measured at a turn: enough to tell a dead unit from a rare one, and quick


class Images:
    """Pictures for a network whose input is known later, read once for each.

    source: a folder, a list of files, or pictures as an array or tensor, (N, H, W, C), (N, C, H, W) or (N, H, W),
    uint8, or floats in 0 to 1 or, where any is larger, in 0 to 255. More than `MOST` of them are thinned evenly.

    ImageError where there is none, or where an array is no pictures.
    """

    def __init__(self, source: Any):
        items, self.given = _items(source)
        if not items:
            raise ImageError("images holds no pictures")
        self._items = items
        self._read: tuple[InputSpec, Tensor] | None = None
        if not isinstance(items[0], str | os.PathLike):
            read_photograph(items[0])  # which refuses values that are no pixels before a training begins
        if len(items) < self.given:
            log.info("%d of the %d images are measured, evenly chosen", len(items), self.given)

    def __len__(self) -> int:
        return len(self._items)

    def pixels(self, spec: InputSpec) -> Tensor:
        """Pixel values at the network's own size, (N, C, H, W) in 0 to 255."""
        if self._read is None or self._read[0] != spec:
            read = [pixels_of(_opened(one), spec) for one in self._items]
            self._read = spec, torch.stack(read)
        return self._read[1]


def read_images(source: Any) -> Images | None:
    """The images that were passed, read already or not; None for None."""
    return source if source is None or isinstance(source, Images) else Images(source)


def _opened(one: Any) -> Any:
    return read_image(one) if isinstance(one, str | os.PathLike) else read_photograph(one).image


def _items(source: Any) -> tuple[list[Any], int]:
    """The pictures, at most `MOST`, and how many there were."""
    if isinstance(source, str | os.PathLike):
        found: Sequence[Any] = list_images(source)
    elif isinstance(source, Tensor) or hasattr(source, "__array__"):
        found = _rows(source)
    elif isinstance(source, Iterable):
        found = [np.asarray(_array(one)) if isinstance(one, Tensor) else one for one in source]
    else:
        raise ImageError(
            f"images is a folder, a list of files, or an array of pictures (got {shortened(source)})"
        )
    chosen = np.linspace(0, len(found) - 1, MOST).round().astype(int) if len(found) > MOST else None
    return [*found] if chosen is None else [found[i] for i in chosen], len(found)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _rows(values: Any) -> list[np.ndarray]:
    """The pictures of an array, each (H, W, C) or (H, W)."""
    array = _array(values)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ImageError(
            f"an array of pictures is (N, H, W, C), (N, C, H, W) or (N, H, W) (got {array.shape})"
        )
    if array.ndim == 4 and array.shape[-1] not in (1, 3) and array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32)
        if array.min() >= 0 and 1 < array.max() <= WHITE:
            array = array / WHITE
    return list(array)
