"""Ascents that start from a photograph: (C, H, W), pixel values 0 to 255, uint8 or float."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.ascent.canvas.canvas import Canvas
from filterscope.ascent.canvas.parametrizations import FourierCanvas
from filterscope.errors import RecipeError
from filterscope.recipe import Cppn, Fourier, Phase, Recipe
from filterscope.sides import Sides

EDGE = 0.5  # pixel values this near to black or white count as this far from it: a sigmoid reaches neither


def resized(photograph: Tensor, sides: Sides) -> Tensor:
    """The photograph at another size, (C, H, W) in float32, within 0 to 255."""
    if photograph.shape[-2:] == sides:
        return photograph.float()
    if photograph.shape[-2] * photograph.shape[-1] > 4 * sides[0] * sides[1]:
        # bytes to bytes: far larger ones need no float copy of themselves
        small = F.interpolate(_bytes(photograph)[None], sides, mode="bilinear", antialias=True)[0]
        return small.float()
    return F.interpolate(photograph.float()[None], sides, mode="bicubic", antialias=True)[0].clamp(0, 255)


def _bytes(photograph: Tensor) -> Tensor:
    return photograph if photograph.dtype == torch.uint8 else photograph.round().clamp(0, 255).to(torch.uint8)


class PhotographCanvas:
    """A photograph and what is added to it: `parameters` is the detail, (B, C, H, W), in pixel values.

    The picture is photograph + detail - the detail's mean colour, within 0 to 255: no ascent changes the mean
    colour of the whole, but for what is cut off at black and white. At another size the detail is carried
    over, enlarged, and the photograph is taken anew from the original.
    """

    def __init__(self, photograph: Tensor, parameters: Tensor):
        self.photograph = photograph
        self.base = resized(photograph, (parameters.shape[-2], parameters.shape[-1])).to(parameters.device)
        self.parameters = parameters.requires_grad_()

    @classmethod
    def start(cls, photograph: Tensor, count: int, sides: Sides, device: torch.device) -> PhotographCanvas:
        """`count` pictures that are the photograph."""
        return cls(photograph, torch.zeros(count, photograph.shape[0], *sides, device=device))

    def pixels(self) -> Tensor:
        shown: Tensor = _Shown.apply(self.parameters, self.base)  # type: ignore[no-untyped-call]
        return shown

    def resized(self, size: Sides) -> PhotographCanvas:
        detail = F.interpolate(self.parameters.detach(), size, mode="bilinear", antialias=True)
        return PhotographCanvas(self.photograph, detail)

    def to(self, device: torch.device) -> PhotographCanvas:
        return PhotographCanvas(self.photograph, self.parameters.detach().to(device))


class _Shown(torch.autograd.Function):
    """base + detail - mean detail, clipped, in one piece of memory.

    The gradient passes where the picture is within 0 to 255, and at its ends where it leads back inside.
    """

    @staticmethod
    def forward(ctx: Any, detail: Tensor, base: Tensor) -> Tensor:
        shown = base + detail
        shown -= detail.mean((2, 3), keepdim=True)
        shown.clamp_(0, 255)
        ctx.save_for_backward(shown)
        return shown

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (shown,) = ctx.saved_tensors
        # descending a positive gradient darkens: at black nothing is to be had from it
        stuck = ((shown <= 0) & (gradient > 0)) | ((shown >= 255) & (gradient < 0))
        gradient = gradient.masked_fill(stuck, 0)
        gradient -= gradient.mean((2, 3), keepdim=True)
        return gradient, None


def fourier_start(
    recipe: Fourier, photograph: Tensor, count: int, sides: Sides, device: torch.device
) -> FourierCanvas:
    """The Fourier coefficients whose picture is the photograph."""
    plain = FourierCanvas(torch.zeros(1, photograph.shape[0], sides[0], sides[1] // 2 + 1, 2), recipe, sides)
    x = torch.logit((resized(photograph, sides).cpu()[None] / 255).clamp(EDGE / 255, 1 - EDGE / 255))
    if recipe.decorrelate and x.shape[1] == 3:
        x = torch.einsum("oc,bchw->bohw", torch.linalg.inv(plain.colour), x)
    spectrum = torch.fft.rfft2(x / plain.GAIN, norm="forward")
    parameters = torch.view_as_real(spectrum) / plain.scale
    return FourierCanvas(parameters.repeat(count, 1, 1, 1, 1).to(device), recipe, sides)


def photograph_canvas(
    recipe: Recipe, photographs: Mapping[str, Tensor], count: int, sides: Sides, device: torch.device
) -> Canvas:
    """What is optimised where the ascent starts from a photograph; RecipeError where it cannot."""
    if "image" not in photographs:
        raise RecipeError(f"recipe {recipe.name!r} starts from a photograph, and none was given")
    if isinstance(recipe.image, Fourier):
        return fourier_start(recipe.image, photographs["image"], count, sides, device)
    if isinstance(recipe.image, Phase):
        raise RecipeError(
            f"recipe {recipe.name!r}: an image of phases cannot start from a photograph, whose magnitudes are its "
            "own; take image=pixels or image=fourier"
        )
    if isinstance(recipe.image, Cppn):
        raise RecipeError(
            f"recipe {recipe.name!r}: an image of a network of coordinates cannot start from a photograph; take "
            "image=pixels or image=fourier"
        )
    return PhotographCanvas.start(photographs["image"], count, sides, device)
