"""What is done to the picture before each view of it: pad, then jitter, scale, rotate and crop in the recipe's order as one
resampling, then the padding cropped away, then noise.

Robustness to small changes keeps high-frequency noise out of a picture (Olah et al. 2017). All random
numbers of a picture come from its own generator, drawn once for all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from filterscope.ascent.engine.device import sent
from filterscope.ascent.grids import affine_grid, sampling_grids, whole_shifts
from filterscope.recipe import Crop, Jitter, Noise, Pad, RandomResizedCrop, Transform, count_views
from filterscope.sides import Sides, Size, sides_of

GREY = 127.5


class Transforms:
    """The composed transforms of a recipe for a batch: `transforms(x, step)` with x (B, C, H, W) in 0 to 255.

    Gives (B * views, C, H, W), the views of one picture side by side, of the picture's own size, or of `model_size`
    where there are crops; in the first half of the steps smaller where a part asks for it. `steps` are the stage's,
    from step `begun` of `total`, over which crops shrink. `least`: the
    height and width below which no view is made.
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
        least: Sides = (1, 1),
    ):
        self.pad = sum(p.pixels for p in parts if isinstance(p, Pad))
        self.noises = [p for p in parts if isinstance(p, Noise)]
        self.generators = generators if self.noises else ()
        moving = [p for p in parts if not isinstance(p, Pad | Noise)]
        crops = [p for p in moving if isinstance(p, Crop)]
        self.views = count_views(moving)
        self.out = sides_of(model_size) if crops and model_size is not None else None
        early = min((p.early for p in moving if isinstance(p, RandomResizedCrop)), default=1.0)
        small = [max(low, round(early * side)) for low, side in zip(least, size, strict=True)]
        whole = early == 1 or self.pad or self.out or small[0] > size[0] or small[1] > size[1]
        self.early = None if whole else (small[0], small[1])
        self.late = (total or steps) // 2 - begun  # the step from which on views have their full size
        self.grids: Tensor | None = None
        self.shifts: list[list[tuple[int, int]]] | None = None
        padded = (size[0] + 2 * self.pad, size[1] + 2 * self.pad)
        if moving:
            span = (begun, begun + steps, total or steps)
            self.grids = sampling_grids(moving, generators, span, padded, self.out)
        if self.grids is not None and len(moving) == 1 and isinstance(moving[0], Jitter):
            self.shifts = whole_shifts(self.grids, padded)  # nothing to resample

    def __call__(self, x: Tensor, step: int) -> Tensor:
        if self.pad:
            x = F.pad(x, [self.pad] * 4, value=GREY)
        if self.views > 1:
            x = x.repeat_interleave(self.views, 0)
        if self.shifts is not None:
            x = _Shift.apply(x, self.shifts[step])  # type: ignore[no-untyped-call]
        elif self.grids is not None:
            sides = self.early if self.early and step < self.late else self.out or x.shape[2:]
            if self.grids.device != x.device:
                self.grids = self.grids.to(x.device)  # of all steps at once
            grid = affine_grid(self.grids[step], sides)
            x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        if self.pad and self.out is None:
            x = F.pad(x, [-self.pad] * 4)
        if self.noises:
            x = x + self._noise(x)
        return x

    def _noise(self, x: Tensor) -> Tensor:
        shape = (self.views, *x.shape[1:])
        rows = []
        for g in self.generators:
            noises = []
            for part in self.noises:
                noises.append(torch.randn(shape, generator=g).mul_(part.sd))
                if part.uniform:
                    noises.append(torch.rand(shape, generator=g).sub_(0.5).mul_(part.uniform))
            rows.append(reduce(torch.Tensor.add_, noises))
        return sent(torch.cat(rows), x.device)


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
