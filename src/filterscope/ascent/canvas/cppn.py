"""A picture as a small network of coordinates, which can be drawn at any size: a CPPN.

Stanley 2007, "Compositional pattern producing networks: A novel abstraction of development"; as the parametrization of an
ascent Mordvintsev et al. 2018, "Differentiable Image Parameterizations", section "Compositional Pattern Producing Networks",
with its layers, activation and first weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from filterscope.recipe import Cppn
from filterscope.sides import Sides

REACH = 3**0.5  # coordinates go from minus this to this along the longer side: their standard deviation is 1
ODD, EVEN = 0.67, 0.6  # root mean squares of atan(x) and atan(x)^2 of normal x
BIAS = 0.1  # standard deviation of the biases at the start
STRIP = 2**18  # pixels that are computed at a time where no gradient is asked for


class CppnCanvas:
    """The weights of one network of coordinates for each picture.

    parameters: (B, P): for each layer its weights (inputs, outputs) and biases, row by row. A hidden layer's outputs go
    through the composite activation, atan(x) / 0.67 beside atan(x)^2 / 0.6; the last one's through a sigmoid into 0 to 255.
    """

    def __init__(self, parameters: Tensor, recipe: Cppn, channels: int, size: Sides):
        self.parameters = parameters.requires_grad_()
        self.recipe, self.channels, self.size = recipe, channels, size

    @classmethod
    def start(
        cls, recipe: Cppn, generators: Sequence[torch.Generator], channels: int, size: Sides
    ) -> CppnCanvas:
        return cls(torch.stack([_first(recipe, channels, g) for g in generators]), recipe, channels, size)

    def pixels(self) -> Tensor:
        return torch.stack(
            [self._drawn(weights) for weights in self.parameters]
        )  # one by one: as if each were alone

    def resized(self, size: Sides) -> CppnCanvas:
        return CppnCanvas(self.parameters.detach().clone(), self.recipe, self.channels, size)

    def to(self, device: torch.device) -> CppnCanvas:
        return CppnCanvas(self.parameters.detach().to(device), self.recipe, self.channels, self.size)

    @property
    def networks(self) -> Tensor:
        """What a picture is drawn from at any other size, (B, P)."""
        return self.parameters.detach()

    def _drawn(self, weights: Tensor) -> Tensor:
        """One picture, (C, H, W)."""
        places = _coordinates(self.size, weights.device)
        strips = [places] if torch.is_grad_enabled() else list(torch.split(places, STRIP))
        values = torch.cat([self._colours(weights, strip) for strip in strips])
        return values.T.reshape(self.channels, *self.size)

    def _colours(self, weights: Tensor, x: Tensor) -> Tensor:
        """Pixel values at coordinates, (N, 2) to (N, C)."""
        begin, shapes = 0, layer_shapes(self.recipe, self.channels)
        for i, (inputs, outputs) in enumerate(shapes):
            own = weights[begin : begin + (inputs + 1) * outputs].view(inputs + 1, outputs)
            x = torch.addmm(own[-1], x, own[:-1])
            if i < len(shapes) - 1:
                x = x.atan()
                x = torch.cat([x / ODD, x.square() / EVEN], 1)
            begin += own.numel()
        return 255 * x.sigmoid()


def layer_shapes(recipe: Cppn, channels: int) -> list[tuple[int, int]]:
    """Inputs and outputs of each layer, the coordinates' first."""
    inputs = [2, *[2 * recipe.width] * recipe.layers]
    return [*((n, recipe.width) for n in inputs[:-1]), (inputs[-1], channels)]


def count_parameters(recipe: Cppn, channels: int) -> int:
    """How many numbers one picture is.

    >>> count_parameters(Cppn(), 3)
    8451
    """
    return sum((inputs + 1) * outputs for inputs, outputs in layer_shapes(recipe, channels))


def render(recipe: Cppn, networks: Tensor, channels: int, size: Sides) -> Tensor:
    """Pictures (B, C, H, W) in pixel values at a size, drawn from their networks (B, P)."""
    with torch.no_grad():
        return CppnCanvas(networks.detach().clone(), recipe, channels, size).pixels()


def _first(recipe: Cppn, channels: int, generator: torch.Generator) -> Tensor:
    """Weights of variance 1 / inputs, small biases; the last layer is 0, so that every picture begins grey."""
    parts = []
    for inputs, outputs in layer_shapes(recipe, channels)[:-1]:
        weights = torch.randn(inputs, outputs, generator=generator) / inputs**0.5
        parts.append(torch.cat([weights, BIAS * torch.randn(1, outputs, generator=generator)]))
    inputs, outputs = layer_shapes(recipe, channels)[-1]
    return torch.cat([*(part.flatten() for part in parts), torch.zeros((inputs + 1) * outputs)])


def _coordinates(size: Sides, device: torch.device) -> Tensor:
    """x and y of each pixel's middle, row by row, (H * W, 2); the picture's middle is 0."""
    longer = max(size)
    y, x = ((torch.arange(n, device=device) + 0.5 - n / 2) * (2 * REACH / longer) for n in size)
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1).view(-1, 2)
