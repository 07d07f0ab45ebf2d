"""The one loop: gradient ascent on a batch of pictures, each for a target of its own.

Image i never feels image j: scores and penalties are one value per picture, the random numbers of a picture
belong to its target, and every operation from parameters to score keeps the batch apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from filterscope.ascent.canvas.parametrizations import Canvas, start_canvas
from filterscope.ascent.canvas.photograph import Beside, photograph_canvas
from filterscope.ascent.engine.prepare import Prepared
from filterscope.ascent.gradient import Slopes, normalized, repeated
from filterscope.ascent.optimizers import make_optimizer, rate_at
from filterscope.ascent.soundness import require_finite
from filterscope.ascent.tiles import window_shape
from filterscope.ascent.transforms import Transforms
from filterscope.errors import WorkError
from filterscope.objective import Direction, Objective
from filterscope.recipe import Recipe
from filterscope.records import CarriedOut, StageDone
from filterscope.sides import Sides, Size, sides_of
from filterscope.target import Sum, Target

SMALL = 2**24  # values of a batch of pictures
OnStep = Callable[[int, Tensor, Callable[[], Tensor]], None]
"""Told after each step: its number from 1, the activations (B,), and a function that gives the pictures so far,
(B, C, H, W) in pixel values."""


@dataclass(frozen=True)
class Ascent:
    """What the loop found: pictures (B, C, H, W) in pixel values, each one's curve of activations, and what of the recipe
    it settled itself."""

    pixels: Tensor
    start: Tensor
    curves: list[list[float]]
    carried_out: list[CarriedOut]

    def first(self, count: int) -> Ascent:
        """The first pictures alone."""
        return Ascent(self.pixels[:count], self.start[:count], self.curves[:count], self.carried_out[:count])


def ascend(
    prepared: Prepared,
    goals: Sequence[Objective],
    recipe: Recipe,
    *,
    size: Size,
    smallest: Size = 1,
    seed: int = 0,
    attempt: int = 0,
    facets: Sequence[int] | None = None,
    photographs: Mapping[str, Tensor] | None = None,
    on_step: OnStep | None = None,
) -> Ascent:
    """Run a recipe for objectives that listen to the same layers, at `size` pixels (a side, or height and width).

    `prepared` is for `looks` goals a picture (see `repeated`). The picture, its penalties and the optimiser are
    float32 whatever the network's precision. `attempt` counts restarts from other noise, `facets` numbers the
    pictures of one goal; no stage is smaller than `smallest` pixels. `photographs` holds by role, (C, H, W) in
    pixel values, what the recipe starts from ("image") and what objectives look at ("image", "guide").
    """
    facets = facets or [0] * len(goals)
    generators = [
        torch.Generator().manual_seed(g.seed(seed, attempt, facet))
        for g, facet in zip(goals, facets, strict=True)
    ]
    raw = recipe.feed == "raw" and prepared.input.keeps_pixel_scale
    vgg_like = raw and prepared.input.bgr  # fed as VGG16 is: its own penalty weights, exactly
    rescale = recipe.feed == "raw" and not vgg_like
    whole = sides_of(size)
    sizes, counts = _stages(recipe, whole, smallest)
    known, device = photographs or {}, prepared.device
    canvas: Canvas
    if recipe.start == "photograph":
        canvas = photograph_canvas(recipe, known, len(goals), sizes[0], device)
    else:
        canvas = start_canvas(recipe.image, generators, prepared.input.channels, sizes[0], device)
    start = canvas.pixels().detach().clone()
    slopes = Slopes(prepared, recipe, raw, torch.zeros(len(goals), device=device) if rescale else None)
    trace: list[Tensor] = []
    for sides, count in zip(sizes, counts, strict=True):
        if sides != tuple(canvas.pixels().shape[-2:]):
            canvas = canvas.resized(sides)
        optimizer = make_optimizer(recipe.optimizer, canvas.parameters)
        seen = window_shape(sides, recipe.tile)
        transforms = Transforms(
            recipe.transforms, generators, count, seen, prepared.input.size, begun=len(trace),
            total=recipe.steps,
        )  # fmt: skip
        placed = repeated([_placed(g, sides[0] / whole[0], sides[1] / whole[1]) for g in goals], recipe)
        beside = Beside(prepared, goals, known, sides, recipe, raw=raw)
        shifts = _shifts(seed, len(trace), count)
        for step in range(count):
            pixels = canvas.pixels()
            slope, told = slopes.of(pixels.detach(), placed, beside, transforms, step, shifts[step])
            gradient = _carried(slope, pixels, canvas.parameters)
            canvas.parameters.grad = normalized(gradient, recipe.gradient)
            optimizer.param_groups[0]["lr"] = rate_at(recipe.optimizer, step, count)
            optimizer.step()
            canvas.parameters.grad = None  # of a large picture the next step has better use for the memory
            trace.append(told)
            require_finite(told, goals, f"at step {len(trace)}")
            if on_step is not None:
                on_step(len(trace), told, partial(_shown, canvas))
    pixels = canvas.pixels().detach()
    for i in (~pixels.isfinite().flatten(1).all(1)).nonzero().flatten().tolist():
        raise WorkError(
            f"the picture of {goals[i]} is not finite: "
            "a setting of the recipe is too large, or the network gives NaN for ordinary pictures"
        )
    stages = [
        StageDone(height=sides[0], width=sides[1], steps=count)
        for sides, count in zip(sizes, counts, strict=True)
    ]
    done = [
        CarriedOut(stages=stages, feed="raw" if raw else "network", penalty_scale=scale)
        for scale in _penalty_scales(slopes, len(goals))
    ]
    return Ascent(pixels, start, torch.stack(trace, 1).tolist(), done)


def _penalty_scales(slopes: Slopes, count: int) -> list[float]:
    """What the penalties' weights were multiplied by, of each picture."""
    if slopes.weight is None or not slopes.recipe.regularizers:
        return [1.0] * count
    return [float(f"{scale:.6g}") for scale in slopes.weight.nan_to_num().tolist()]


def of_first(on_step: OnStep, count: int) -> OnStep:
    """The same listener, told of the first `count` pictures of a batch alone: what else the batch holds was asked for
    by nobody."""

    def told(step: int, activations: Tensor, images: Callable[[], Tensor]) -> None:
        on_step(step, activations[:count], lambda: images()[:count])

    return told


def _stages(recipe: Recipe, size: Sides, smallest: Size) -> tuple[list[Sides], list[int]]:
    """The sides and the number of steps of each stage; steps add up to the recipe's."""
    total = sum(stage.share for stage in recipe.stages)
    ends, done = [], 0.0
    for stage in recipe.stages:
        done += stage.share / total
        ends.append(round(done * recipe.steps))
    counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    scales = [stage.scale for stage in recipe.stages]
    high, wide = sides_of(smallest)
    return [(_side(s, size[0], high), _side(s, size[1], wide)) for s in scales], counts


def _shifts(seed: int, begin: int, count: int) -> list[tuple[float, float]]:
    """Where each step's windows begin: the same for all pictures, so it belongs to no target."""
    drawn = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + begin))
    return [(row, column) for row, column in drawn.tolist()]


def _carried(slope: Tensor, pixels: Tensor, parameters: Tensor) -> Tensor:
    """The gradient of the parameters, from that of the pictures.

    Of small pictures as the gradient of a product, which is the same number for number: for the other way torch first
    imports a library of symbolic mathematics, a quarter of a second. Of large ones that product takes memory.
    """
    if pixels.numel() > SMALL:
        return torch.autograd.grad(pixels, parameters, slope)[0]
    return torch.autograd.grad(torch.dot(pixels.flatten(), slope.flatten()), parameters)[0]


def _shown(canvas: Canvas) -> Tensor:
    return canvas.pixels().detach()


def _side(scale: float, side: int, smallest: int) -> int:
    return max(smallest, round(scale * side))


def _placed(goal: Objective, rows: float, columns: float) -> Objective:
    """The goal on the map of a stage that many times the final size: a neuron's place is the final picture's."""
    if isinstance(goal, Sum):
        return Sum(tuple((w, _placed(t, rows, columns)) for w, t in goal.terms))  # type: ignore[arg-type]
    if isinstance(goal, Target | Direction) and goal.at is not None and len(goal.at) == 2:
        return replace(goal, at=(int(goal.at[0] * rows), int(goal.at[1] * columns)))
    return goal
