"""What is optimised: parameters and their way to a picture, in pixel values 0 to 255, RGB, (B, C, H, W).

Every parametrization keeps its pictures apart: picture i depends on row i of the parameters alone, and its
first values come from its own generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from filterscope.ascent.canvas.canvas import Canvas
from filterscope.ascent.canvas.cppn import CppnCanvas
from filterscope.ascent.canvas.spectrum import COLOUR, frequencies, natural_amplitudes
from filterscope.networks.held import held
from filterscope.recipe import Fourier, Image, Phase, Pixels
from filterscope.sides import Sides


class PixelCanvas:
    """The pixel values themselves; nothing keeps them within 0 to 255 unless the recipe is `bounded`.

    Bounded, the parameters are logits: 255 * sigmoid(colour @ parameters).
    """

    def __init__(self, parameters: Tensor, recipe: Pixels = Pixels()):  # noqa: B008  # frozen data
        self.parameters = parameters.requires_grad_()
        self.recipe = recipe

    @classmethod
    def start(
        cls, recipe: Pixels, generators: Sequence[torch.Generator], channels: int, size: Sides
    ) -> PixelCanvas:
        noise = [torch.rand(channels, *size, generator=g) for g in generators]
        values = (torch.stack(noise) - 0.5) * recipe.spread + recipe.center
        if recipe.bounded:
            values = torch.logit((values / 255).clamp(0.001, 0.999))
            if recipe.decorrelate and channels == 3:
                values = _coloured(values, torch.linalg.inv(torch.tensor(COLOUR)))
        return cls(values, recipe)

    def pixels(self) -> Tensor:
        if not self.recipe.bounded:
            return self.parameters
        x = self.parameters
        if self.recipe.decorrelate and x.shape[1] == 3:
            x = _coloured(x, held(COLOUR, x))
        return 255 * torch.sigmoid(x)

    def resized(self, size: Sides) -> PixelCanvas:
        old = self.parameters.detach()
        grown = torch.nn.functional.interpolate(old, size, mode="bilinear", antialias=True)
        return PixelCanvas(grown, self.recipe)

    def to(self, device: torch.device) -> PixelCanvas:
        return PixelCanvas(self.parameters.detach().to(device), self.recipe)


class FourierCanvas:
    """Fourier coefficients with 1 / f scaling, decorrelated colour and a sigmoid into 0 to 255.

    parameters: (B, C, H, W // 2 + 1, 2), real and imaginary parts. The coefficient of k cycles per picture is
    divided by max(k, 1) ** decay, which at size H = W is lucid's scaling; the amplitudes are free of the
    picture's size (norm="forward"), so that a larger picture goes on from the same coefficients. With the
    spectrum "natural" the amplitudes of natural images stand in for 1 / k.
    """

    GAIN = 0.25  # lucid's: sigmoid(x / 4) keeps the first steps in its linear range

    def __init__(self, parameters: Tensor, recipe: Fourier, size: Sides):
        self.parameters = parameters.requires_grad_()
        self.recipe = recipe
        self.size = size
        channels = parameters.shape[1]
        if recipe.spectrum == "natural":
            natural = natural_amplitudes(channels, size, decorrelated=recipe.decorrelate)
            shape = (max(2, size[0]), max(2, size[1]))  # a picture one pixel wide has no cycle to measure by
            known = natural if shape == size else natural_amplitudes(1, shape)
            scale = natural / known[0, 1, 1] / 2**0.5  # 1 / k at one cycle either way
        else:
            scale = (1 / frequencies(size).clamp(min=1) ** recipe.decay).expand(channels, -1, -1).clone()
        scale[:, 0, 0] *= recipe.mean_gain
        self.scale = scale[..., None].to(parameters.device)  # (C, H, W // 2 + 1, 1)
        self.colour = torch.tensor(COLOUR, device=parameters.device)

    @classmethod
    def start(
        cls, recipe: Fourier, generators: Sequence[torch.Generator], channels: int, size: Sides
    ) -> FourierCanvas:
        shape = (channels, size[0], size[1] // 2 + 1, 2)
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators]) * recipe.sd
        noise[:, :, 0, 0] /= recipe.mean_gain  # the start is as grey as ever
        return cls(noise, recipe, size)

    def pixels(self) -> Tensor:
        spectrum = torch.view_as_complex((self.parameters * self.scale).contiguous())
        x = torch.fft.irfft2(spectrum, s=self.size, norm="forward") * self.GAIN
        if self.recipe.decorrelate and x.shape[1] == 3:
            x = _coloured(x, self.colour)
        return 255 * torch.sigmoid(x)

    def resized(self, size: Sides) -> FourierCanvas:
        old = (self.parameters * self.scale).detach()
        new = FourierCanvas(old.new_zeros(*old.shape[:2], size[0], size[1] // 2 + 1, 2), self.recipe, size)
        values = _carried(old, self.size, torch.zeros_like(new.parameters), size)
        return FourierCanvas((values / new.scale).detach(), self.recipe, size)

    def to(self, device: torch.device) -> FourierCanvas:
        return FourierCanvas(self.parameters.detach().to(device), self.recipe, self.size)


class PhaseCanvas:
    """The phases of Fourier coefficients whose magnitudes are those of natural images (MACO, Fel et al. 2023).

    parameters: (B, C, H, W // 2 + 1), standardised before use, as is the picture before colour and sigmoid;
    both per picture.
    """

    def __init__(self, parameters: Tensor, recipe: Phase, size: Sides, generators: Sequence[torch.Generator]):
        self.parameters = parameters.requires_grad_()
        self.recipe = recipe
        self.size = size
        self.generators = generators
        magnitude = natural_amplitudes(parameters.shape[1], size, decorrelated=recipe.decorrelate)
        self.magnitude = magnitude.to(parameters.device)
        self.colour = torch.tensor(COLOUR, device=parameters.device)

    @classmethod
    def start(
        cls, recipe: Phase, generators: Sequence[torch.Generator], channels: int, size: Sides
    ) -> PhaseCanvas:
        shape = (channels, size[0], size[1] // 2 + 1)
        phases = torch.stack([torch.randn(shape, generator=g) for g in generators]) * recipe.sd
        return cls(phases, recipe, size, generators)

    def pixels(self) -> Tensor:
        phases = _standardized(self.parameters)
        x = torch.fft.irfft2(torch.polar(self.magnitude.expand_as(phases), phases), s=self.size)
        x = _standardized(x)
        if self.recipe.decorrelate and x.shape[1] == 3:
            x = _coloured(x, self.colour)
        return 255 * torch.sigmoid(x)

    def resized(self, size: Sides) -> PhaseCanvas:
        old = self.parameters.detach()
        new = PhaseCanvas.start(self.recipe, self.generators, old.shape[1], size)
        fresh = new.parameters.detach().to(old.device)
        phases = _carried(_standardized(old) * self.recipe.sd, self.size, fresh, size)
        return PhaseCanvas(phases, self.recipe, size, self.generators)

    def to(self, device: torch.device) -> PhaseCanvas:
        return PhaseCanvas(self.parameters.detach().to(device), self.recipe, self.size, self.generators)


def start_canvas(
    recipe: Image, generators: Sequence[torch.Generator], channels: int, size: Sides, device: torch.device
) -> Canvas:
    """The first picture of each generator's target, drawn on the CPU so that every device starts alike."""
    kinds = {"pixels": PixelCanvas, "fourier": FourierCanvas, "phase": PhaseCanvas, "cppn": CppnCanvas}
    canvas: Canvas = kinds[recipe.kind].start(recipe, generators, channels, size)  # type: ignore[attr-defined]
    return canvas if device.type == "cpu" else canvas.to(device)


def _coloured(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("oc,bchw->bohw", matrix, x)


def _standardized(x: Tensor) -> Tensor:
    """Each picture's values minus their mean, over their standard deviation (+ 1e-5)."""
    return torch.stack([(v - v.mean()) / (v.std(correction=0) + 1e-5) for v in x])


def _carried(old: Tensor, before: Sides, new: Tensor, after: Sides) -> Tensor:
    """`new` with the coefficients (B, C, H, W // 2 + 1, ...) that both sizes have taken from `old`."""
    rows = _shared_rows(min(before[0], after[0]))
    columns = (min(before[1], after[1]) - 1) // 2 + 1
    values = new.detach().clone()
    values[:, :, rows % after[0], :columns] = old[:, :, rows % before[0], :columns]
    return values


def _shared_rows(n: int) -> Tensor:
    """The row frequencies that two sizes have, of which the smaller is n; Nyquist's means something else at each."""
    rows: Tensor = torch.fft.fftfreq(n, 1 / n).long()
    return rows[rows != -(n // 2)] if n % 2 == 0 else rows
