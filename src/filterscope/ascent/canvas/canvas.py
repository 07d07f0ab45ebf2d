"""What the loop asks of a canvas."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from filterscope.sides import Sides


class Canvas(Protocol):
    """Parameters that are optimised, and the picture they stand for."""

    parameters: Tensor

    def pixels(self) -> Tensor:
        """The pictures, (B, C, H, W), pixel values on the 0 to 255 scale."""

    def resized(self, size: Sides) -> Canvas:
        """The same pictures at another size, to go on from."""

    def to(self, device: torch.device) -> Canvas:
        """The same pictures on another device."""
