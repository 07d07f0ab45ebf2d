"""Where the network looked while a picture was drawn, as an alpha channel (Fel et al. 2023, section 3.3; Horama).

The map is the sum over the steps of the absolute value of the objective's gradient at the picture's pixels, all channels
together. Penalties have no part in it: they are of the whole picture alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from filterscope.ascent.tiles import Window
from filterscope.sides import Sides

PERCENTILE = 80  # of the map, above which a pixel is opaque: Horama's default (plot_maco, percentile_alpha)


@dataclass
class Transparency:
    """The sum so far, (B, H, W); `total` is None before the first step. A stage of another size begins with the sum of
    the stages before it, resized."""

    total: Tensor | None = None

    def begin(self, pixels: Tensor) -> None:
        """A step on pictures (B, C, H, W)."""
        sides: Sides = (pixels.shape[-2], pixels.shape[-1])
        if self.total is None:
            self.total = pixels.new_zeros(len(pixels), *sides)
        elif self.total.shape[-2:] != sides:
            resized = F.interpolate(self.total[:, None], sides, mode="bilinear", align_corners=False)
            self.total = resized[:, 0]

    def add(self, window: Window, gradient: Tensor) -> None:
        """The gradient of a window's part of the pictures, (B, C, h, w)."""
        assert self.total is not None
        window.kept(self.total).add_(window.inner(gradient).abs().sum(1))


def to_alpha(total: Tensor) -> np.ndarray:
    """Sums (B, H, W) as 8-bit alpha channels, uint8 (B, H, W): each over the `PERCENTILE`th percentile of its pixels that
    have a gradient, clipped at 1, times 255. A picture without any gradient is transparent.

    >>> to_alpha(Tensor([[[0, 1, 2, 2, 9]]])).tolist()
    [[[0, 53, 106, 106, 255]]]
    """
    maps = total.float().cpu().numpy()
    return np.stack([_opaque(one) for one in maps])


def _opaque(one: np.ndarray) -> np.ndarray:
    seen = one[one > 0]
    if not len(seen):
        return np.zeros(one.shape, np.uint8)
    shares: np.ndarray = np.clip(one / np.percentile(seen, PERCENTILE), 0, 1)
    return (shares * 255).round().astype(np.uint8)
