"""The way up: the gradient of scores minus penalties, for one step of a batch of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.ascent.canvas.photograph import Beside
from filterscope.ascent.engine.prepare import Prepared
from filterscope.ascent.objectives import activation, likeness, objective
from filterscope.ascent.regularizers import penalty
from filterscope.ascent.soundness import require_gradient
from filterscope.ascent.tiles import windows
from filterscope.ascent.transforms import Transforms
from filterscope.networks.network import Taps
from filterscope.objective import Objective
from filterscope.recipe import Facets, NaturalSpectrum, Recipe

# Root mean square, over a 224 px picture, of the gradient of a `block3_conv1` channel's mean activation of
# VGG16 at the blog's starting noise, per pixel value: the median of the blog's 16 filters. The blog's penalty
# weights suit gradients of this size; elsewhere they are scaled by the ratio to it.
VGG16_GRADIENT = 8.4e-4

AROUND = 32  # side in pixels of what counts as one place for a locally normalised gradient
LEAST = 0.02  # of the whole's root mean square: a place is not quieter than that


@dataclass
class Slopes:
    """The gradient that the loop descends. `weight`: of the penalties, per picture, found at the first step where
    there is a gradient to measure them by; None where they are taken as they are."""

    prepared: Prepared
    recipe: Recipe
    raw: bool
    weight: Tensor | None

    def of(
        self,
        pixels: Tensor,
        goals: Sequence[Objective],
        beside: Beside,
        transforms: Transforms,
        step: int,
        shift: tuple[float, float],
    ) -> tuple[Tensor, Tensor]:
        """The gradient of penalties minus scores with respect to pictures (B, C, H, W), and the activations, (B,).

        Window by window where the recipe has tiles: a window's part of a mean over the picture counts for its
        part of the picture.
        """
        sides = (pixels.shape[-2], pixels.shape[-1])
        slope, told = torch.zeros_like(pixels), torch.zeros(len(pixels))
        for window in windows(sides, self.recipe.tile, shift):
            part = window.of(pixels).requires_grad_()
            taps = self.prepared(transforms(part, step), raw=self.raw)
            known = beside(window, transforms, step)
            keep = self.recipe.softmax == "keep"
            score = objective(taps, goals, self.prepared.units, keep_softmax=keep, references=known)
            require_gradient(score, self.prepared.network, goals[0].layers)
            loss = self._loss(_per_picture(score, self.recipe), taps, part)
            (gradient,) = torch.autograd.grad(loss, part)
            window.kept(slope).copy_(window.inner(gradient)).mul_(window.share(sides))
            now = activation(taps, goals, self.prepared.units, references=known)
            told += _per_picture(now, self.recipe).detach().cpu() * (window.area / (sides[0] * sides[1]))
        return slope, told

    def _loss(self, score: Tensor, taps: dict[str, Taps], part: Tensor) -> Tensor:
        recipe = self.recipe
        if self.weight is not None and recipe.regularizers and not self.weight.all():
            self.weight = torch.where(self.weight > 0, self.weight, _gradient_ratio(score, part))
        loss = -score.sum()
        if recipe.facets is not None:
            loss = loss + _sameness(self.prepared, taps, score, recipe.facets)
        for regularizer in recipe.regularizers:
            cost = penalty(part, regularizer)
            if isinstance(regularizer, NaturalSpectrum):
                cost = cost * score.detach().abs()
            loss = loss + (cost if self.weight is None else self.weight * cost).sum()
        return loss


def repeated(goals: Sequence[Objective], recipe: Recipe) -> list[Objective]:
    """Each goal once for every look that the recipe takes at its picture in a step."""
    return [goal for goal in goals for _ in range(recipe.looks)]


def normalized(gradient: Tensor, how: str) -> Tensor:
    """Each picture's gradient as the recipe asks: "plain", or over its root mean square (+ 1e-7), of the whole
    ("rms") or half of the whole and half of the place ("local": the geometric mean of both); in the same memory."""
    if how == "plain":
        return gradient
    whole = _rms(gradient).view(-1, *[1] * (gradient.ndim - 1))
    if how == "rms" or gradient.ndim != 4:
        return gradient.div_(whole + 1e-7)
    sides = (gradient.shape[-2], gradient.shape[-1])
    coarse = (max(1, round(sides[0] / AROUND)), max(1, round(sides[1] / AROUND)))
    around = F.adaptive_avg_pool2d(gradient.square().mean(1, keepdim=True), coarse).sqrt()
    around = F.interpolate(around, sides, mode="bilinear", align_corners=False)
    return gradient.div_(torch.maximum(around, LEAST * whole).mul_(whole).sqrt_().add_(1e-7))


def _per_picture(values: Tensor, recipe: Recipe) -> Tensor:
    """The mean over the looks at each picture, (B * looks,) to (B,)."""
    return values if recipe.looks == 1 else values.view(-1, recipe.looks).mean(1)


def _sameness(prepared: Prepared, taps: Mapping[str, Taps], score: Tensor, facets: Facets) -> Tensor:
    """What pictures of one goal, which stand side by side, cost for being alike, in units of the goal's value."""
    looks = len(taps[prepared.features].output) // len(score)
    groups = [i // facets.count for i in range(len(score))]
    alike = likeness(taps[prepared.features].output[::looks], groups)
    return (facets.weight * score.detach().abs() * alike).sum()


def _gradient_ratio(score: Tensor, pixels: Tensor) -> Tensor:
    """How large each picture's gradient is beside VGG16's, for a picture of its size; 0 where there is none."""
    (gradient,) = torch.autograd.grad(score.sum(), pixels, retain_graph=True)
    return _rms(gradient) * pixels.shape[-1] * pixels.shape[-2] / 224**2 / VGG16_GRADIENT


def _rms(gradient: Tensor) -> Tensor:
    """(B, ...) to (B,), summed one picture at a time: the batch's size must not change the order of a sum."""
    return torch.stack([g.square().mean().sqrt() for g in gradient])
