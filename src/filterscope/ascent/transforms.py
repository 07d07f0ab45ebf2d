"""What is done to the picture before each look: pad, then jitter, scale, rotate and crop in the recipe's order as one
resampling, then the padding cropped away, then noise.

Robustness to small changes keeps high-frequency noise out of a picture (Olah et al. 2017). All random
numbers of a picture come from its own generator, drawn once for all steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from filterscope.recipe import Crop, Jitter, Noise, Pad, Rotate, Scale, Transform
from filterscope.sides import Sides, Size, sides_of

GREY = 127.5


class Transforms:
    """The composed transforms of a recipe for a batch: `transforms(x, step)` with x (B, C, H, W) in 0 to 255.

    Gives (B * looks, C, H, W), the looks at one picture side by side, of the picture's own size, or of `model_size`
    where there are crops. `steps` are the stage's, from step `begun` of `total`, over which crops shrink.
    """

    def __init__(
        self,
        parts: Sequence[Transform],
        generators: Sequence[torch.Generator],
        steps: int,
        size: Sides,
        model_size: Size | None = None,
        *,
        begun: int = 0,
        total: int | None = None,
    ):
        self.pad = sum(p.pixels for p in parts if isinstance(p, Pad))
        self.noises = [p for p in parts if isinstance(p, Noise)]
        moving = [p for p in parts if not isinstance(p, Pad | Noise)]
        self.looks = math.prod(p.count for p in moving if isinstance(p, Crop))
        cropped = any(isinstance(p, Crop) for p in moving) and model_size is not None
        self.out = sides_of(model_size) if cropped and model_size is not None else None
        self.grids: Tensor | None = None
        self.shifts: list[list[tuple[int, int]]] | None = None
        whole = (size[0] + 2 * self.pad, size[1] + 2 * self.pad)
        if moving:
            shape = (steps, self.looks, len(moving), 3)
            draws = [_draw(shape, g, normal=cropped) for g in generators]
            u = torch.stack([d[0] for d in draws], 1)  # (steps, B, looks, parts, 3)
            z = torch.stack([d[1] for d in draws], 1)
            matrix = torch.eye(3).expand(steps, len(generators), self.looks, 3, 3)
            now = whole
            for i, part in enumerate(moving):
                if isinstance(part, Crop):
                    means = torch.linspace(part.start, part.end, total or steps)[begun : begun + steps]
                    matrix = matrix @ _crop(part, z[..., i, :], now, means)
                    now = self.out or now
                else:
                    matrix = matrix @ _matrix(part, u[..., i, :2], now)
            self.grids = matrix[..., :2, :].flatten(1, 2)  # (steps, B * looks, 2, 3)
            if len(moving) == 1 and isinstance(moving[0], Jitter):  # whole pixels: nothing to resample
                pixels = self.grids[..., 2] * torch.tensor([whole[1], whole[0]]) / 2  # columns, rows
                self.shifts = [[(y, x) for x, y in row] for row in pixels.round().int().tolist()]
        self.generators = generators if self.noises else ()

    def __call__(self, x: Tensor, step: int) -> Tensor:
        if self.pad:
            x = F.pad(x, [self.pad] * 4, value=GREY)
        if self.looks > 1:
            x = x.repeat_interleave(self.looks, 0)
        if self.shifts is not None:
            x = _Shift.apply(x, self.shifts[step])  # type: ignore[no-untyped-call]
        elif self.grids is not None:
            shape = [*x.shape[:2], *(self.out or x.shape[2:])]
            grid = F.affine_grid(self.grids[step].to(x.device), shape, align_corners=False)
            x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        if self.pad and self.out is None:
            x = F.pad(x, [-self.pad] * 4)
        if self.noises:
            x = x + self._noise(x)
        return x

    def _noise(self, x: Tensor) -> Tensor:
        shape = (self.looks, *x.shape[1:])
        rows = []
        for g in self.generators:
            noise = torch.zeros(shape)
            for part in self.noises:
                noise += torch.randn(shape, generator=g) * part.sd
                if part.uniform:
                    noise += (torch.rand(shape, generator=g) - 0.5) * part.uniform
            rows.append(noise)
        return torch.cat(rows).to(x.device)


class _Shift(torch.autograd.Function):
    """Each picture moved by its own rows and columns, the edge reflected: what resampling gives, four times as fast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shifts: list[tuple[int, int]]) -> Tensor:
        ctx.shifts = shifts
        return torch.stack([_moved(_moved(v, y, 1), z, 2) for v, (y, z) in zip(x, shifts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        rows = zip(g, ctx.shifts, strict=True)
        return torch.stack([_moved_back(_moved_back(v, z, 2), y, 1) for v, (y, z) in rows]), None


def _moved(x: Tensor, by: int, dim: int) -> Tensor:
    """Place i takes what stands at i + by; beyond the edge stands the picture's reflection."""
    if not by:
        return x
    kept = x.shape[dim] - abs(by)
    if by > 0:
        return torch.cat([x.narrow(dim, by, kept), x.narrow(dim, kept, by).flip(dim)], dim)
    return torch.cat([x.narrow(dim, 0, -by).flip(dim), x.narrow(dim, 0, kept)], dim)


def _moved_back(g: Tensor, by: int, dim: int) -> Tensor:
    """The gradient of `_moved`: each value back to where it came from, the reflected ones added to theirs."""
    if not by:
        return g
    kept, edge = g.shape[dim] - abs(by), abs(by)
    back = torch.empty_like(g)
    back.narrow(dim, 0 if by > 0 else kept, edge).zero_()
    back.narrow(dim, max(by, 0), kept).copy_(g.narrow(dim, max(-by, 0), kept))
    at = kept if by > 0 else 0
    back.narrow(dim, at, edge).add_(g.narrow(dim, at, edge).flip(dim))
    return back


def _draw(shape: tuple[int, ...], g: torch.Generator, *, normal: bool) -> tuple[Tensor, Tensor]:
    """Uniform numbers for moves, and normal ones where there is a crop to use them."""
    u = torch.rand(*shape[:-1], 2, generator=g)
    return u, torch.randn(shape, generator=g) if normal else torch.zeros(shape)


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
    """Homogeneous sampling matrices for uniform numbers u (..., 2), in the -1 to 1 coordinates of affine_grid."""
    matrix = torch.eye(3).repeat(*u.shape[:-1], 1, 1)
    if isinstance(part, Jitter):
        # whole pixels, as in lucid: a shift alone then blurs nothing
        pixels = min(part.pixels, max(1, min(size) / 8))
        matrix[..., :2, 2] = ((2 * u - 1) * pixels).round() * 2 / torch.tensor([size[1], size[0]])
    elif isinstance(part, Scale):
        zoom = part.low + (part.high - part.low) * u[..., 0]
        matrix[..., 0, 0] = matrix[..., 1, 1] = 1 / zoom
    elif isinstance(part, Rotate):
        angle = (2 * u[..., 0] - 1) * math.radians(part.degrees)
        matrix[..., 0, 0] = matrix[..., 1, 1] = angle.cos()
        matrix[..., 0, 1] = -angle.sin() * size[0] / size[1]
        matrix[..., 1, 0] = angle.sin() * size[1] / size[0]
    return matrix
