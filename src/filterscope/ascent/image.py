"""What is optimised: parameters and their way to a picture, in pixel values 0 to 255, RGB, (B, C, H, W).

Every parametrization keeps its pictures apart: picture i depends on row i of the parameters alone, and its
first values come from its own generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from filterscope.recipe import Fourier, Image, Pixels

# Principal axes of RGB in columns (brightness, blue against red, green), each times its standard deviation,
# over the first. Measured over the 100,000 training pictures of Tiny ImageNet by
# `python -m training.natural colour DATA`; lucid's, of ImageNet, differ from it by at most 0.02.
COLOUR = ((0.567, 0.216, 0.054), (0.584, -0.005, -0.112), (0.581, -0.206, 0.059))


Sides = tuple[int, int]  # height and width in pixels


class Canvas(Protocol):
    """Parameters that are optimised, and the picture they stand for."""

    parameters: Tensor

    def pixels(self) -> Tensor:
        """The pictures, (B, C, H, W), pixel values on the 0 to 255 scale."""

    def resized(self, size: Sides) -> Canvas:
        """The same pictures at another size, to go on from."""


class PixelCanvas:
    """The pixel values themselves; nothing keeps them within 0 to 255."""

    def __init__(self, parameters: Tensor):
        self.parameters = parameters.requires_grad_()

    @classmethod
    def start(
        cls, recipe: Pixels, generators: Sequence[torch.Generator], channels: int, size: Sides
    ) -> PixelCanvas:
        noise = [torch.rand(channels, *size, generator=g) for g in generators]
        return cls((torch.stack(noise) - 0.5) * recipe.spread + recipe.center)

    def pixels(self) -> Tensor:
        return self.parameters

    def resized(self, size: Sides) -> PixelCanvas:
        old = self.parameters.detach()
        return PixelCanvas(torch.nn.functional.interpolate(old, size, mode="bilinear", antialias=True))


class FourierCanvas:
    """Fourier coefficients with 1 / f scaling, decorrelated colour and a sigmoid into 0 to 255.

    parameters: (B, C, H, W // 2 + 1, 2), real and imaginary parts. The coefficient of k cycles per picture is
    divided by max(k, 1) ** decay, which at size H = W is lucid's scaling; the amplitudes are free of the
    picture's size (norm="forward"), so that a larger picture goes on from the same coefficients.
    """

    GAIN = 0.25  # lucid's: sigmoid(x / 4) keeps the first steps in its linear range

    def __init__(self, parameters: Tensor, recipe: Fourier, size: Sides):
        self.parameters = parameters.requires_grad_()
        self.recipe = recipe
        self.size = size
        k = torch.hypot(*_frequencies(size)).to(parameters.device)
        self.scale = (1 / k.clamp(min=1) ** recipe.decay)[..., None]  # (H, W // 2 + 1, 1)
        self.colour = torch.tensor(COLOUR, device=parameters.device)

    @classmethod
    def start(
        cls, recipe: Fourier, generators: Sequence[torch.Generator], channels: int, size: Sides
    ) -> FourierCanvas:
        shape = (channels, size[0], size[1] // 2 + 1, 2)
        return cls(
            torch.stack([torch.randn(shape, generator=g) for g in generators]) * recipe.sd, recipe, size
        )

    def pixels(self) -> Tensor:
        spectrum = torch.view_as_complex((self.parameters * self.scale).contiguous())
        x = torch.fft.irfft2(spectrum, s=self.size, norm="forward") * self.GAIN
        if self.recipe.decorrelate and x.shape[1] == 3:
            x = torch.einsum("oc,bchw->bohw", self.colour, x)
        return 255 * torch.sigmoid(x)

    def resized(self, size: Sides) -> FourierCanvas:
        old = (self.parameters * self.scale).detach()
        rows = _shared_rows(min(self.size[0], size[0]))
        columns = (min(self.size[1], size[1]) - 1) // 2 + 1
        new = FourierCanvas(old.new_zeros(*old.shape[:2], size[0], size[1] // 2 + 1, 2), self.recipe, size)
        values = torch.zeros_like(new.parameters)
        values[:, :, rows % size[0], :columns] = old[:, :, rows % self.size[0], :columns]
        return FourierCanvas((values / new.scale).detach(), self.recipe, size)


def start_canvas(
    recipe: Image, generators: Sequence[torch.Generator], channels: int, size: Sides, device: torch.device
) -> Canvas:
    """The first picture of each generator's target, drawn on the CPU so that every device starts alike."""
    kind = FourierCanvas if isinstance(recipe, Fourier) else PixelCanvas
    canvas: Canvas = kind.start(recipe, generators, channels, size)  # type: ignore[arg-type]
    if device.type != "cpu":
        moved = canvas.parameters.detach().to(device)
        canvas = FourierCanvas(moved, recipe, size) if isinstance(recipe, Fourier) else PixelCanvas(moved)
    return canvas


def _shared_rows(n: int) -> Tensor:
    """The row frequencies that two sizes have, of which the smaller is n; Nyquist's means something else at each."""
    rows: Tensor = torch.fft.fftfreq(n, 1 / n).long()
    return rows[rows != -(n // 2)] if n % 2 == 0 else rows


def _frequencies(size: Sides) -> tuple[Tensor, Tensor]:
    """Row and column frequencies of rfft2, in cycles per longer side, broadcast to (H, W // 2 + 1)."""
    longer = max(size)
    rows = torch.fft.fftfreq(size[0], 1 / longer)[:, None]
    columns = torch.fft.rfftfreq(size[1], 1 / longer)[None]
    return rows.expand(-1, columns.shape[1]), columns.expand(rows.shape[0], -1)
