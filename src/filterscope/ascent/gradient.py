"""The gradient of scores minus penalties, for one step of a batch of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.ascent.activity import ActiveFrom
from filterscope.ascent.engine.prepare import Prepared
from filterscope.ascent.objectives import activation, likeness, objective
from filterscope.ascent.references import ReferenceTaps
from filterscope.ascent.regularizers import penalty
from filterscope.ascent.soundness import gradient_of, require_gradient
from filterscope.ascent.tiles import windows
from filterscope.ascent.transforms import Transforms
from filterscope.ascent.transparency import Transparency
from filterscope.networks.layer import Taps
from filterscope.objective import Objective
from filterscope.recipe import Facets, NaturalSpectrum, Recipe

# Root mean square, over a 224 px picture, of the gradient of a `block3_conv1` channel's mean activation of
# VGG16 at the blog's starting noise, per pixel value: the median of the blog's 16 filters. The blog's penalty
# weights suit gradients of this size; elsewhere they are scaled by the ratio to it.
VGG16_GRADIENT = 8.4e-4

PLACE_SIDE = 32  # in pixels, of what counts as one place for a locally normalised gradient
LEAST_PLACE_RMS = 0.02  # of the whole's root mean square: a place counts as no smaller than that


@dataclass
class Gradient:
    """The gradient of the penalties minus the scores, which the loop descends. `penalty_scale`: what the penalties'
    weights are multiplied by, of each picture, found at the first step where there is a gradient to measure it by; None
    where they are taken as they are. `transparency`: where the network looked, of all steps so far."""

    prepared: Prepared
    recipe: Recipe
    raw: bool
    penalty_scale: Tensor | None
    transparency: Transparency = field(default_factory=Transparency)
    bounds: ActiveFrom = field(default_factory=dict)  # of each view (see activity.py)
    scales_known: bool = False

    def of(
        self,
        pixels: Tensor,
        goals: Sequence[Objective],
        references: ReferenceTaps,
        transforms: Transforms,
        step: int,
        shift: tuple[float, float],
    ) -> tuple[Tensor, Tensor]:
        """The gradient of penalties minus scores with respect to pictures (B, C, H, W), and the activations, (B,).

        Window by window where the recipe has tiles: a window's part of a mean over the picture counts for its
        part of the picture.
        """
        sides = (pixels.shape[-2], pixels.shape[-1])
        gradient, activations = torch.zeros_like(pixels), pixels.new_zeros(len(pixels))
        self.transparency.begin(pixels)
        for window in windows(sides, self.recipe.tile, shift):
            part = window.of(pixels).requires_grad_()
            taps = self.prepared(transforms(part, step), raw=self.raw)
            known = references(window, transforms, step)
            keep = self.recipe.softmax == "keep"
            score = objective(
                taps, goals, self.prepared.units, keep_softmax=keep, references=known, bounds=self.bounds
            )
            require_gradient(score, self.prepared.network, goals[0].layers)
            mean = _per_picture(score, self.recipe)
            apart = self._apart_from_facets(mean, part)
            inner = gradient_of(self._loss(mean, taps), part, self.prepared.network, goals[0].layers)
            self.transparency.add(window, inner)
            cost = self._penalties(mean, part, inner if apart is None else apart)
            if cost is not None:
                inner = torch.autograd.grad(cost, part)[0].add_(inner)
            window.kept(gradient).copy_(window.inner(inner)).mul_(window.share(sides))
            now = activation(taps, goals, self.prepared.units, references=known)
            activations += _per_picture(now, self.recipe).detach() * (window.area / (sides[0] * sides[1]))
        return gradient, activations

    def _loss(self, score: Tensor, taps: dict[str, Taps]) -> Tensor:
        """Minus the scores, and what alike facets cost."""
        if self.recipe.facets is None:
            return -score.sum()
        return _alike_cost(self.prepared, taps, score, self.recipe.facets) - score.sum()

    def _apart_from_facets(self, score: Tensor, part: Tensor) -> Tensor | None:
        """The gradient of the scores where it is to be measured and the loss has more than them; None elsewhere."""
        if self.penalty_scale is None or self.scales_known:
            return None
        if not self.recipe.regularizers or self.recipe.facets is None:
            return None
        self.scales_known = bool(self.penalty_scale.all())
        return None if self.scales_known else torch.autograd.grad(score.sum(), part, retain_graph=True)[0]

    def _penalties(self, score: Tensor, part: Tensor, gradient: Tensor) -> Tensor | None:
        """The sum of the penalties, which reach the pictures by no way through the network; None without any.
        gradient: of the scores, either way up."""
        recipe = self.recipe
        if self.penalty_scale is not None and recipe.regularizers:
            unknown = self.penalty_scale == 0
            self.penalty_scale = torch.where(unknown, _gradient_ratio(gradient), self.penalty_scale)
        total: Tensor | None = None
        for regularizer in recipe.regularizers:
            cost = penalty(part, regularizer)
            if isinstance(regularizer, NaturalSpectrum):
                cost = cost * score.detach().abs()
            cost = (cost if self.penalty_scale is None else self.penalty_scale * cost).sum()
            total = cost if total is None else total + cost
        return total


def repeated(goals: Sequence[Objective], recipe: Recipe) -> list[Objective]:
    """Each goal once for every view that the recipe takes of its picture in a step."""
    return [goal for goal in goals for _ in range(recipe.views)]


def normalized(gradient: Tensor, how: str) -> Tensor:
    """Each picture's gradient as the recipe asks: "plain", or over its root mean square (+ 1e-7), of the whole
    ("rms") or half of the whole and half of the place ("local": the geometric mean of both); in the same memory."""
    if how == "plain":
        return gradient
    whole = _rms(gradient).view(-1, *[1] * (gradient.ndim - 1))
    if how == "rms" or gradient.ndim != 4:
        return gradient.div_(whole + 1e-7)
    sides = (gradient.shape[-2], gradient.shape[-1])
    coarse = (max(1, round(sides[0] / PLACE_SIDE)), max(1, round(sides[1] / PLACE_SIDE)))
    around = F.adaptive_avg_pool2d(gradient.square().mean(1, keepdim=True), coarse).sqrt()
    around = F.interpolate(around, sides, mode="bilinear", align_corners=False)
    return gradient.div_(torch.maximum(around, LEAST_PLACE_RMS * whole).mul_(whole).sqrt_().add_(1e-7))


def _per_picture(values: Tensor, recipe: Recipe) -> Tensor:
    """The mean over the views of each picture, (B * views,) to (B,)."""
    return values if recipe.views == 1 else values.view(-1, recipe.views).mean(1)


def _alike_cost(prepared: Prepared, taps: Mapping[str, Taps], score: Tensor, facets: Facets) -> Tensor:
    """What pictures of one goal, which stand side by side, cost for being alike, in units of the goal's value."""
    views = len(taps[prepared.features].output) // len(score)
    groups = [i // facets.count for i in range(len(score))]
    alike = likeness(taps[prepared.features].output[::views], groups)
    return (facets.weight * score.detach().abs() * alike).sum()


def _gradient_ratio(gradient: Tensor) -> Tensor:
    """How large each picture's gradient is beside VGG16's, for a picture of its size; 0 where there is none."""
    return _rms(gradient) * gradient.shape[-1] * gradient.shape[-2] / 224**2 / VGG16_GRADIENT


def _rms(gradient: Tensor) -> Tensor:
    """(B, ...) to (B,), summed one picture at a time: the batch's size must not change the order of a sum."""
    return torch.stack([g.square().mean().sqrt() for g in gradient])
