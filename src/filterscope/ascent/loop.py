"""The one loop: gradient ascent on a batch of pictures, each for a target of its own.

No picture changes another: scores and penalties are one value per picture, the random numbers of a picture
belong to its target, and every operation from parameters to score keeps the batch apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from filterscope.ascent.activity import active_from, bound_of
from filterscope.ascent.canvas.canvas import Canvas
from filterscope.ascent.canvas.parametrizations import start_canvas
from filterscope.ascent.canvas.photograph import photograph_canvas
from filterscope.ascent.canvas.shared import PARTS, SharedCanvas, are_frames
from filterscope.ascent.engine.prepare import Prepared
from filterscope.ascent.gradient import Gradient, normalized, repeated
from filterscope.ascent.optimizers import make_optimizer, rate_at
from filterscope.ascent.references import ReferenceTaps
from filterscope.ascent.soundness import require_finite
from filterscope.ascent.tiles import window_shape
from filterscope.ascent.transforms import Transforms
from filterscope.concept import Concept
from filterscope.errors import WorkError
from filterscope.objective import Direction, Objective
from filterscope.recipe import RandomResizedCrop, Recipe
from filterscope.records import CarriedOut, StageDone
from filterscope.sides import Sides, Size, largest_of, sides_of
from filterscope.target import Sum, Target

MAX_PRODUCT_VALUES = 2**24  # of a batch of pictures whose gradient is taken as that of a product
UNREAD = 100  # steps on a GPU before their activations are read: reading waits for all that was asked of it
OnStep = Callable[[int, Tensor, Callable[[], Tensor]], None]
"""Called after each step: its number from 1, the activations (B,) on the device that draws, and a
function that gives the pictures so far, (B, C, H, W) in pixel values."""


@dataclass(frozen=True)
class Seeds:
    """What the random numbers follow from, beside the target: the seed, which restart it is, and the number of each
    picture among those of one target."""

    seed: int = 0
    attempt: int = 0
    facets: Sequence[int] | None = None

    def generators(self, goals: Sequence[Objective]) -> list[torch.Generator]:
        """One for each picture."""
        facets = self.facets or [0] * len(goals)
        seeds = [goal.seed(self.seed, self.attempt, facet) for goal, facet in zip(goals, facets, strict=True)]
        return [torch.Generator().manual_seed(seed) for seed in seeds]


@dataclass(frozen=True)
class Ascent:
    """What the loop found: pictures (B, C, H, W) in pixel values, each one's curve of activations, what of the recipe
    it settled itself, where the network looked, (B, H, W) (see transparency.py), and from which activation on its unit
    is active (see activity.py). networks: of pictures that are networks of coordinates, their weights, (B, P)."""

    pixels: Tensor
    start: Tensor
    curves: list[list[float]]
    carried_out: list[CarriedOut]
    transparency: Tensor
    bounds: list[float]
    networks: Tensor | None = None

    def first(self, count: int) -> Ascent:
        """The first pictures alone."""
        return Ascent(
            self.pixels[:count], self.start[:count], self.curves[:count], self.carried_out[:count],
            self.transparency[:count], self.bounds[:count],
            None if self.networks is None else self.networks[:count],
        )  # fmt: skip


def ascend(
    prepared: Prepared,
    goals: Sequence[Objective],
    recipe: Recipe,
    *,
    size: Size,
    smallest: Size = 1,
    seeds: Seeds = Seeds(),  # frozen data
    photographs: Mapping[str, Tensor] | None = None,
    on_step: OnStep | None = None,
) -> Ascent:
    """Run a recipe for objectives of the same layers, at `size` pixels (a side, or height and width).

    `prepared` is for `views` goals a picture (see `repeated`). The picture, its penalties and the optimiser are
    float32 whatever the network's precision. No stage is smaller than `smallest` pixels. `photographs` holds by role,
    (C, H, W) in pixel values, what the recipe starts from ("image") and what objectives compare a picture with
    ("image", "guide").
    """
    generators, known = seeds.generators(goals), photographs or {}
    stages = _stages(recipe, sides_of(size), smallest)
    canvas: Canvas
    if are_frames(goals):
        shared = replace(seeds, facets=None).generators([goals[0]] * PARTS)
        canvas = _first_canvas(prepared, recipe, [*generators, *shared], known, stages[0])
        canvas = SharedCanvas.start(canvas, goals)
    else:
        canvas = _first_canvas(prepared, recipe, generators, known, stages[0])
    start = canvas.pixels().detach().clone()
    gradient = _gradient(prepared, recipe, len(goals))
    bounds = active_from(prepared.network, goals, start, raw=gradient.raw)
    gradient.bounds = {
        layer: bound.repeat_interleave(recipe.views).to(prepared.device) for layer, bound in bounds.items()
    }
    ascending = _Ascending(goals, gradient, sides_of(size), generators, seeds.seed, known, on_step)
    for stage in stages:
        canvas = ascending.climb(canvas, stage)
    pixels = canvas.pixels().detach()
    _require_finite_pictures(pixels, goals)
    done = [
        CarriedOut(stages=stages, feed="raw" if gradient.raw else "network", penalty_scale=scale)
        for scale in _penalty_scales(gradient, len(goals))
    ]
    looked = gradient.transparency.total
    assert looked is not None  # there is a step at least
    least = [bound_of(goal, bounds, i) for i, goal in enumerate(goals)]
    curves = torch.stack(ascending.trace, 1).tolist()
    return Ascent(pixels, start, curves, done, looked, least, getattr(canvas, "networks", None))


def _first_canvas(
    prepared: Prepared,
    recipe: Recipe,
    generators: Sequence[torch.Generator],
    photographs: Mapping[str, Tensor],
    stage: StageDone,
) -> Canvas:
    """The pictures that the ascent starts from, at the first stage's size."""
    sides = (stage.height, stage.width)
    if recipe.start == "photograph":
        return photograph_canvas(recipe, photographs, len(generators), sides, prepared.device)
    return start_canvas(recipe.image, generators, prepared.input.channels, sides, prepared.device)


def _gradient(prepared: Prepared, recipe: Recipe, count: int) -> Gradient:
    """How pictures are fed to the network, and whether the weights of the penalties have to be found."""
    raw = recipe.feed == "raw" and prepared.input.keeps_pixel_scale
    vgg_like = raw and prepared.input.bgr  # fed as VGG16 is: its own penalty weights, exactly
    rescale = recipe.feed == "raw" and not vgg_like
    return Gradient(prepared, recipe, raw, torch.zeros(count, device=prepared.device) if rescale else None)


@dataclass
class _Ascending:
    """An ascent between its stages. sides: of the finished pictures. trace: each step's activations, (B,). sound: how
    many of them are known to be finite."""

    goals: Sequence[Objective]
    gradient: Gradient
    sides: Sides
    generators: Sequence[torch.Generator]
    seed: int
    photographs: Mapping[str, Tensor]
    on_step: OnStep | None
    trace: list[Tensor] = field(default_factory=list)
    sound: int = 0

    def climb(self, canvas: Canvas, stage: StageDone) -> Canvas:
        """The pictures after a stage's steps, at its size."""
        prepared, recipe = self.gradient.prepared, self.gradient.recipe
        sides = (stage.height, stage.width)
        if sides != tuple(canvas.pixels().shape[-2:]):
            canvas = canvas.resized(sides)
        optimizer = make_optimizer(recipe.optimizer, canvas.parameters)
        transforms = Transforms(
            recipe.transforms, self.generators, stage.steps, window_shape(sides, recipe.tile), prepared.input.size,
            begun=len(self.trace), total=recipe.steps,
            least=self._least(),
        )  # fmt: skip
        scale = (sides[0] / self.sides[0], sides[1] / self.sides[1])
        placed = repeated([_placed(goal, *scale) for goal in self.goals], recipe)
        references = ReferenceTaps(
            prepared, self.goals, self.photographs, sides, recipe, raw=self.gradient.raw
        )
        shifts = _shifts(self.seed, len(self.trace), stage.steps)
        for step in range(stage.steps):
            pixels = canvas.pixels()
            of_pixels, activations = self.gradient.of(
                pixels.detach(), placed, references, transforms, step, shifts[step]
            )
            gradient = _of_parameters(of_pixels, pixels, canvas.parameters)
            canvas.parameters.grad = normalized(gradient, recipe.gradient)
            optimizer.param_groups[0]["lr"] = rate_at(recipe.optimizer, step, stage.steps)
            optimizer.step()
            canvas.parameters.grad = None  # of a large picture the next step has better use for the memory
            self._note(canvas, activations)
        self._require_finite()
        return canvas

    def _least(self) -> Sides:
        """The least height and width that the network takes, where views are to be smaller than the picture."""
        if not any(isinstance(t, RandomResizedCrop) and t.early < 1 for t in self.gradient.recipe.transforms):
            return (1, 1)
        network = self.gradient.prepared.network
        return sides_of(largest_of(map(network.smallest_size, self.goals[0].layers)))

    def _note(self, canvas: Canvas, activations: Tensor) -> None:
        self.trace.append(activations)
        if activations.device.type == "cpu" or len(self.trace) - self.sound >= UNREAD:
            self._require_finite()
        if self.on_step is not None:
            self.on_step(len(self.trace), activations, partial(_shown, canvas))

    def _require_finite(self) -> None:
        """Read what has not been read yet of the trace; a GPU is waited for."""
        unread = self.trace[self.sound :]
        if unread and not torch.stack(unread).isfinite().all():
            for step, activations in enumerate(unread, self.sound + 1):
                require_finite(activations, self.goals, f"at step {step}")
        self.sound = len(self.trace)


def _require_finite_pictures(pixels: Tensor, goals: Sequence[Objective]) -> None:
    for i in (~pixels.isfinite().flatten(1).all(1)).nonzero().flatten().tolist():
        raise WorkError(
            f"the picture of {goals[i]} is not finite: "
            "a setting of the recipe is too large, or the network gives NaN for ordinary pictures"
        )


def _penalty_scales(gradient: Gradient, count: int) -> list[float]:
    """What the penalties' weights were multiplied by, of each picture."""
    if gradient.penalty_scale is None or not gradient.recipe.regularizers:
        return [1.0] * count
    return [float(f"{scale:.6g}") for scale in gradient.penalty_scale.nan_to_num().tolist()]


def of_first(on_step: OnStep, count: int) -> OnStep:
    """The same callback, given the first `count` pictures of a batch alone: what else the batch holds was asked for
    by nobody."""

    def report(step: int, activations: Tensor, images: Callable[[], Tensor]) -> None:
        on_step(step, activations[:count], lambda: images()[:count])

    return report


def _stages(recipe: Recipe, size: Sides, smallest: Size) -> list[StageDone]:
    """The sides and the number of steps of each stage; steps add up to the recipe's."""
    total = sum(stage.share for stage in recipe.stages)
    high, wide = sides_of(smallest)
    stages, begun, share = [], 0, 0.0
    for stage in recipe.stages:
        share += stage.share / total
        ended = round(share * recipe.steps)
        height, width = _side(stage.scale, size[0], high), _side(stage.scale, size[1], wide)
        stages.append(StageDone(height=height, width=width, steps=ended - begun))
        begun = ended
    return stages


def _shifts(seed: int, begin: int, count: int) -> list[tuple[float, float]]:
    """Where each step's windows begin: the same for all pictures, so it belongs to no target."""
    drawn = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + begin))
    return [(row, column) for row, column in drawn.tolist()]


def _of_parameters(gradient: Tensor, pixels: Tensor, parameters: Tensor) -> Tensor:
    """The gradient of the parameters, from that of the pictures.

    Of small pictures as the gradient of a product, which is the same number for number: for the other way torch first
    imports a library of symbolic mathematics, a quarter of a second. Of large ones that product takes memory.
    """
    if pixels.numel() > MAX_PRODUCT_VALUES:
        return torch.autograd.grad(pixels, parameters, gradient)[0]
    return torch.autograd.grad(torch.dot(pixels.flatten(), gradient.flatten()), parameters)[0]


def _shown(canvas: Canvas) -> Tensor:
    return canvas.pixels().detach()


def _side(scale: float, side: int, smallest: int) -> int:
    return max(smallest, round(scale * side))


def _placed(goal: Objective, rows: float, columns: float) -> Objective:
    """The goal on the map of a stage that many times the final size: a neuron's place is the final picture's."""
    if isinstance(goal, Sum):
        return Sum(tuple((w, _placed(t, rows, columns)) for w, t in goal.terms))  # type: ignore[arg-type]
    if isinstance(goal, Target | Direction | Concept) and goal.at is not None and len(goal.at) == 2:
        return replace(goal, at=(int(goal.at[0] * rows), int(goal.at[1] * columns)))
    return goal
