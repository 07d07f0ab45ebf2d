"""What is done to the picture before each look: pad, jitter, scale and rotate as one resampling.

Robustness to small changes keeps high-frequency noise out of a picture (Olah et al. 2017). All random
numbers of a picture come from its own generator, drawn once for all steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.recipe import Jitter, Pad, Rotate, Scale, Transform

GREY = 127.5


class Transforms:
    """The composed transforms of a recipe for a batch: `transforms(x, step)` with x (B, C, H, W) in 0 to 255."""

    def __init__(
        self,
        parts: Sequence[Transform],
        generators: Sequence[torch.Generator],
        steps: int,
        size: tuple[int, int],
    ):
        self.pad = sum(p.pixels for p in parts if isinstance(p, Pad))
        moving = [p for p in parts if not isinstance(p, Pad)]
        self.grids: Tensor | None = None
        if moving:
            draws = [torch.rand(steps, len(moving), 2, generator=g) for g in generators]
            u = torch.stack(draws, 1)  # (steps, B, parts, 2)
            matrix = torch.eye(3).expand(steps, len(generators), 3, 3)
            for i, part in enumerate(moving):
                matrix = matrix @ _matrix(part, u[:, :, i], (size[0] + 2 * self.pad, size[1] + 2 * self.pad))
            self.grids = matrix[:, :, :2]

    def __call__(self, x: Tensor, step: int) -> Tensor:
        if self.pad:
            x = F.pad(x, [self.pad] * 4, value=GREY)
        if self.grids is None:
            return x
        grid = F.affine_grid(self.grids[step].to(x.device), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _matrix(part: Transform, u: Tensor, size: tuple[int, int]) -> Tensor:
    """Homogeneous sampling matrices for uniform numbers u (..., 2), in the -1 to 1 coordinates of affine_grid."""
    matrix = torch.eye(3).repeat(*u.shape[:-1], 1, 1)
    if isinstance(part, Jitter):
        matrix[..., :2, 2] = (2 * u - 1) * part.pixels * 2 / torch.tensor([size[1], size[0]])
    elif isinstance(part, Scale):
        zoom = part.low + (part.high - part.low) * u[..., 0]
        matrix[..., 0, 0] = matrix[..., 1, 1] = 1 / zoom
    elif isinstance(part, Rotate):
        angle = (2 * u[..., 0] - 1) * math.radians(part.degrees)
        matrix[..., 0, 0] = matrix[..., 1, 1] = angle.cos()
        matrix[..., 0, 1] = -angle.sin() * size[0] / size[1]
        matrix[..., 1, 0] = angle.sin() * size[1] / size[0]
    return matrix
