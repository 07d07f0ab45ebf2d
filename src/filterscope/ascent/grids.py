"""Where in a picture each view of it samples: affine grids, drawn once for all steps of a stage."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from filterscope.recipe import Crop, Jitter, RandomResizedCrop, Rotate, Scale, Transform, count_views
from filterscope.sides import Sides


def sampling_grids(
    moving: Sequence[Transform],
    generators: Sequence[torch.Generator],
    span: tuple[int, int, int],
    size: Sides,
    out: Sides | None,
) -> Tensor:
    """Matrices for `affine_grid`, (steps, B * views, 2, 3): the transforms in their order as one resampling.

    span: the first of the stage's steps, the one after its last, and how many there are in all, over which crops
    shrink. size: height and width of what is sampled. out: those of a crop, None where there is none.
    """
    begun, ended, total = span
    views = count_views(moving)
    shape = (ended - begun, views, len(moving), 3)
    thirds = any(isinstance(part, RandomResizedCrop) for part in moving)
    uniform, normal = _drawn(shape, generators, thirds=thirds, normal=out is not None)
    matrix = torch.eye(3).expand(ended - begun, len(generators), views, 3, 3)
    for i, part in enumerate(moving):
        if isinstance(part, Crop):
            means = torch.linspace(part.start, part.end, total)[begun:ended]
            matrix = matrix @ _crop(part, normal[..., i, :], size, means)
            size = out or size
        else:
            matrix = matrix @ _matrix(part, uniform[..., i, :], size)
    return matrix[..., :2, :].flatten(1, 2)


def affine_grid(matrices: Tensor, sides: Sequence[int]) -> Tensor:
    """`F.affine_grid` without aligned corners, of matrices (B, 2, 3) to (B, H, W, 2), within rounding.

    As sums of rows and columns, which takes a tenth of the time of torch's product with each pixel's coordinates.
    """
    height, width = sides
    across = (torch.arange(width, device=matrices.device) * 2 + 1) / width - 1
    down = (torch.arange(height, device=matrices.device) * 2 + 1) / height - 1
    by_column = matrices[:, :, 0, None] * across  # (B, 2, W)
    by_row = matrices[:, :, 1, None] * down + matrices[:, :, 2, None]  # (B, 2, H)
    return (by_row[..., None] + by_column[:, :, None]).permute(0, 2, 3, 1)


def whole_shifts(grids: Tensor, size: Sides) -> list[list[tuple[int, int]]]:
    """The rows and columns by which grids that only shift move each picture, in each step."""
    pixels = grids[..., 2] * torch.tensor([size[1], size[0]]) / 2  # columns, rows
    return [[(y, x) for x, y in row] for row in pixels.round().int().tolist()]


def _drawn(
    shape: tuple[int, ...], generators: Sequence[torch.Generator], *, thirds: bool, normal: bool
) -> tuple[Tensor, Tensor]:
    """Three uniform numbers for each move and three normal ones for each crop, (steps, B, views, parts, 3); those that
    no part uses are 0 and not drawn."""
    draws = [_draw(shape, generator, thirds=thirds, normal=normal) for generator in generators]
    return torch.stack([d[0] for d in draws], 1), torch.stack([d[1] for d in draws], 1)


def _draw(shape: tuple[int, ...], g: torch.Generator, *, thirds: bool, normal: bool) -> tuple[Tensor, Tensor]:
    u = torch.rand(*shape[:-1], 2, generator=g)
    z = torch.randn(shape, generator=g) if normal else torch.zeros(shape)
    third = torch.rand(*shape[:-1], 1, generator=g) if thirds else torch.zeros(*shape[:-1], 1)
    return torch.cat([u, third], -1), z


def _crop(part: Crop, z: Tensor, size: Sides, means: Tensor) -> Tensor:
    """Sampling matrices of crops for normal numbers z (steps, ..., 3): share of the shorter side, whose means are
    (steps,), and centre x, y."""
    share = (means.view(-1, *[1] * (z.ndim - 2)) + part.spread * z[..., 0]).clamp(0.05, 1)
    matrix = torch.eye(3).repeat(*z.shape[:-1], 1, 1)
    shorter = min(size)
    matrix[..., 0, 0], matrix[..., 1, 1] = share * shorter / size[1], share * shorter / size[0]
    matrix[..., :2, 2] = 2 * part.center * z[..., 1:]
    return matrix


def _matrix(part: Transform, u: Tensor, size: Sides) -> Tensor:
    """Homogeneous sampling matrices for uniform numbers u (..., 3), in the -1 to 1 coordinates of affine_grid."""
    matrix = torch.eye(3).repeat(*u.shape[:-1], 1, 1)
    if isinstance(part, Jitter):
        # whole pixels, as in lucid: a shift alone then blurs nothing
        pixels = min(part.pixels, max(1, min(size) / 8))
        matrix[..., :2, 2] = ((2 * u[..., :2] - 1) * pixels).round() * 2 / torch.tensor([size[1], size[0]])
    elif isinstance(part, Scale):
        zoom = part.low + (part.high - part.low) * u[..., 0]
        matrix[..., 0, 0] = matrix[..., 1, 1] = 1 / zoom
    elif isinstance(part, RandomResizedCrop):
        share = part.low + (part.high - part.low) * u[..., 2]
        matrix[..., 0, 0] = matrix[..., 1, 1] = share
        matrix[..., :2, 2] = (2 * u[..., :2] - 1) * (1 - share[..., None])
    elif isinstance(part, Rotate):
        angle = (2 * u[..., 0] - 1) * math.radians(part.degrees)
        matrix[..., 0, 0] = matrix[..., 1, 1] = angle.cos()
        matrix[..., 0, 1] = -angle.sin() * size[0] / size[1]
        matrix[..., 1, 0] = angle.sin() * size[1] / size[0]
    return matrix
