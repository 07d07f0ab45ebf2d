"""The one loop: gradient ascent on a batch of pictures, each for a target of its own.

Image i never feels image j: scores and penalties are one value per picture, the random numbers of a picture
belong to its target, and every operation from parameters to score keeps the batch apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from filterscope.ascent.image import Canvas, start_canvas
from filterscope.ascent.objectives import activation, likeness, objective
from filterscope.ascent.optimizers import make_optimizer, rate_at
from filterscope.ascent.prepare import Prepared
from filterscope.ascent.regularizers import penalty
from filterscope.ascent.transforms import Transforms
from filterscope.errors import WorkError
from filterscope.networks.network import Taps
from filterscope.objective import Direction, Objective
from filterscope.recipe import Facets, NaturalSpectrum, Recipe
from filterscope.target import Sum, Target

# Root mean square, over a 224 px picture, of the gradient of a `block3_conv1` channel's mean activation of
# VGG16 at the blog's starting noise, per pixel value: the median of the blog's 16 filters. The blog's penalty
# weights suit gradients of this size; elsewhere they are scaled by the ratio to it.
VGG16_GRADIENT = 8.4e-4

OnStep = Callable[[int, Tensor, Callable[[], Tensor]], None]
"""Told after each step: its number from 1, the activations (B,), and a function that gives the pictures so far,
(B, C, H, W) in pixel values."""


@dataclass(frozen=True)
class Ascent:
    """What the loop found: pictures (B, C, H, W) in pixel values, and each one's curve of activations."""

    pixels: Tensor
    start: Tensor
    curves: list[list[float]]


def ascend(
    prepared: Prepared,
    goals: Sequence[Objective],
    recipe: Recipe,
    *,
    size: int | tuple[int, int],
    smallest: int = 1,
    seed: int = 0,
    attempt: int = 0,
    facets: Sequence[int] | None = None,
    on_step: OnStep | None = None,
) -> Ascent:
    """Run a recipe for objectives that listen to the same layers, at `size` pixels (a side, or height and width).

    `prepared` is for `looks` goals a picture (see `repeated`). The picture, its penalties and the optimiser are
    float32 whatever the network's precision. `attempt` counts restarts from other noise, `facets` numbers the
    pictures of one goal; no stage is smaller than `smallest` pixels.
    """
    facets = facets or [0] * len(goals)
    generators = [
        torch.Generator().manual_seed(g.seed(seed, attempt, facet))
        for g, facet in zip(goals, facets, strict=True)
    ]
    raw = recipe.feed == "raw" and prepared.input.keeps_pixel_scale
    vgg_like = raw and prepared.input.bgr  # fed as VGG16 is: its own penalty weights, exactly
    rescale = recipe.feed == "raw" and not vgg_like
    whole = (size, size) if isinstance(size, int) else size
    sizes, counts = _stages(recipe, whole, smallest)
    canvas = start_canvas(recipe.image, generators, prepared.input.channels, sizes[0], prepared.device)
    start = canvas.pixels().detach().clone()
    weight = torch.zeros(len(goals), device=prepared.device) if rescale else None
    trace: list[Tensor] = []
    for sides, count in zip(sizes, counts, strict=True):
        if sides != tuple(canvas.pixels().shape[-2:]):
            canvas = canvas.resized(sides)
        optimizer = make_optimizer(recipe.optimizer, canvas.parameters)
        transforms = Transforms(recipe.transforms, generators, count, sides, prepared.input.size)
        placed = repeated([_placed(g, sides[0] / whole[0], sides[1] / whole[1]) for g in goals], recipe)
        for step in range(count):
            pixels = canvas.pixels()
            taps = prepared(transforms(pixels, step), raw=raw)
            score = _per_picture(
                objective(taps, placed, prepared.units, keep_softmax=recipe.softmax == "keep"), recipe
            )
            if weight is not None and recipe.regularizers and not weight.all():
                weight = torch.where(weight > 0, weight, _gradient_ratio(score, pixels))
            loss = -score.sum()
            if recipe.facets is not None:
                loss = loss + _sameness(prepared, taps, score, recipe.facets)
            for regularizer in recipe.regularizers:
                cost = penalty(pixels, regularizer)
                if isinstance(regularizer, NaturalSpectrum):
                    cost = cost * score.detach().abs()
                loss = loss + (cost if weight is None else weight * cost).sum()
            (gradient,) = torch.autograd.grad(loss, canvas.parameters)
            canvas.parameters.grad = _normalized(gradient) if recipe.gradient == "rms" else gradient
            optimizer.param_groups[0]["lr"] = rate_at(recipe.optimizer, step, count)
            optimizer.step()
            trace.append(_per_picture(activation(taps, placed, prepared.units), recipe).detach().cpu())
            if on_step is not None:
                on_step(len(trace), trace[-1], partial(_shown, canvas))
    pixels = canvas.pixels().detach()
    for i in (~pixels.isfinite().flatten(1).all(1)).nonzero().flatten().tolist():
        raise WorkError(
            f"the picture of {goals[i]} is not finite: "
            "a setting of the recipe is too large, or the network gives NaN for ordinary pictures"
        )
    return Ascent(pixels, start, torch.stack(trace, 1).tolist())


def repeated(goals: Sequence[Objective], recipe: Recipe) -> list[Objective]:
    """Each goal once for every look that the recipe takes at its picture in a step."""
    return [goal for goal in goals for _ in range(recipe.looks)]


def _per_picture(values: Tensor, recipe: Recipe) -> Tensor:
    """The mean over the looks at each picture, (B * looks,) to (B,)."""
    return values if recipe.looks == 1 else values.view(-1, recipe.looks).mean(1)


def _sameness(prepared: Prepared, taps: dict[str, Taps], score: Tensor, facets: Facets) -> Tensor:
    """What pictures of one goal, which stand side by side, cost for being alike, in units of the goal's value."""
    looks = len(taps[prepared.features].output) // len(score)
    groups = [i // facets.count for i in range(len(score))]
    alike = likeness(taps[prepared.features].output[::looks], groups)
    return (facets.weight * score.detach().abs() * alike).sum()


def _stages(recipe: Recipe, size: tuple[int, int], smallest: int) -> tuple[list[tuple[int, int]], list[int]]:
    """The sides and the number of steps of each stage; steps add up to the recipe's."""
    total = sum(stage.share for stage in recipe.stages)
    ends, done = [], 0.0
    for stage in recipe.stages:
        done += stage.share / total
        ends.append(round(done * recipe.steps))
    counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    scales = [stage.scale for stage in recipe.stages]
    return [(_side(s, size[0], smallest), _side(s, size[1], smallest)) for s in scales], counts


def _shown(canvas: Canvas) -> Tensor:
    return canvas.pixels().detach()


def _side(scale: float, side: int, smallest: int) -> int:
    return max(smallest, round(scale * side))


def _placed(goal: Objective, rows: float, columns: float) -> Objective:
    """The goal on the map of a stage that many times the final size: a neuron's place is the final picture's."""
    if isinstance(goal, Sum):
        return Sum(tuple((w, _placed(t, rows, columns)) for w, t in goal.terms))  # type: ignore[arg-type]
    if isinstance(goal, Target | Direction) and goal.at is not None:
        return replace(goal, at=(int(goal.at[0] * rows), int(goal.at[1] * columns)))
    return goal


def _normalized(gradient: Tensor) -> Tensor:
    """Each picture's gradient over its root mean square (+ 1e-7)."""
    return gradient / (_rms(gradient).view(-1, *[1] * (gradient.ndim - 1)) + 1e-7)


def _gradient_ratio(score: Tensor, pixels: Tensor) -> Tensor:
    """How large each picture's gradient is beside VGG16's, for a picture of its size; 0 where there is none."""
    (gradient,) = torch.autograd.grad(score.sum(), pixels, retain_graph=True)
    return _rms(gradient) * pixels.shape[-1] * pixels.shape[-2] / 224**2 / VGG16_GRADIENT


def _rms(gradient: Tensor) -> Tensor:
    """(B, ...) to (B,), summed one picture at a time: the batch's size must not change the order of a sum."""
    return torch.stack([g.square().mean().sqrt() for g in gradient])
