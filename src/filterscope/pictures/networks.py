"""Pictures that are networks of coordinates: their weights in a record, and drawn at a size."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from filterscope.errors import ImageError
from filterscope.recipe import Cppn
from filterscope.sides import Sides


def encode_parameters(parameters: np.ndarray) -> str:
    """Weights, (P,), as a record holds them: little-endian float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(parameters, "<f4").tobytes()).decode()


def decode_parameters(text: str, where: str) -> np.ndarray:
    """The weights in a record, (P,); ImageError where they are damaged."""
    try:
        found = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except (binascii.Error, ValueError):
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise ImageError(f"{where}: the weights of its network of coordinates are damaged")
    return found


def draw_network(recipe: Cppn, parameters: np.ndarray, channels: int, sides: Sides) -> np.ndarray:
    """The picture of a network at a size, uint8 (H, W, C); ImageError where it has another number of weights than its
    recipe says."""
    import torch

    from filterscope.ascent.canvas.cppn import count_parameters, render

    expected = count_parameters(recipe, channels)
    if parameters.shape != (expected,):
        raise ImageError(
            f"a picture of {recipe.layers} layers of {recipe.width} is {expected} weights (got {parameters.size})"
        )
    pixels = render(recipe, torch.from_numpy(parameters)[None], channels, sides)[0]
    return pixels.clamp(0, 255).round().permute(1, 2, 0).to(torch.uint8).numpy()
