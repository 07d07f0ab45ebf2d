"""The part of a network behind a layer, run with other values there: the rest of the picture stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from filterscope.errors import ArgumentError
from filterscope.explanation.split import split
from filterscope.networks.network import Network


@dataclass
class Kept:
    """A picture's own values, by how many copies of it went through the network together: the layer's source, then what
    lies beside it."""

    pixels: Tensor
    of: dict[int, list[Any]] = field(default_factory=dict)


class Tail:
    """From a layer's maps (B, C, H, W) to a later layer's values (B, units), for one picture at a time.

    Values that reach the later layer by other ways, as by a shortcut around the layer, are the picture's own. Raises
    ArgumentError where the later layer does not follow from the layer.
    """

    def __init__(self, network: Network, layer: str, later: str):
        halves = split(network.probe([layer, later]).eval(), 1)
        if halves is None:
            raise ArgumentError(
                f"{later} of {network.name} does not follow from {layer} step by step: the network runs as a whole, or the "
                "layer lies behind"
            )
        self.halves = halves

    @torch.no_grad()
    def run(self, pixels: Tensor) -> tuple[Kept, Tensor]:
        """The values for one preprocessed picture (1, C, H, W), and the layer's maps, (1, C, H, W)."""
        kept = Kept(pixels)
        source, *others = self._of(kept, 1)
        view = self.halves.view
        maps = source if view is None else view(source, *others[self.halves.sides :])[0]
        return kept, maps

    @torch.no_grad()
    def _of(self, kept: Kept, count: int) -> list[Any]:
        if count not in kept.of:
            known = kept.of.get(1)
            plain = known is not None and all(isinstance(value, Tensor) for value in known)
            if known is not None and plain:  # copies of one picture: it need not go through the network again
                dependent = [True, *self.halves.dependent, *[True] * (len(known) - 1 - self.halves.sides)]
                kept.of[count] = [
                    v.expand(count, *v.shape[1:]) if own and v.ndim and len(v) == 1 else v
                    for v, own in zip(known, dependent, strict=True)
                ]
            else:
                kept.of[count] = list(self.halves.before(kept.pixels.expand(count, -1, -1, -1)))
        return kept.of[count]

    def values(self, kept: Kept, maps: Tensor) -> Tensor:
        """The later layer's values where the layer's maps are these, (B, C, H, W), and all else is the picture's."""
        source, *others = self._of(kept, len(maps))
        sides, beside = others[: self.halves.sides], others[self.halves.sides :]
        view = self.halves.view
        if view is not None:
            maps = source + _PutBack.apply(maps, source, lambda value: view(value, *beside)[0])  # type: ignore[no-untyped-call]
        found: Tensor = self.halves.behind(maps, *sides)[0]
        return found


class _PutBack(torch.autograd.Function):
    """maps - view(source), put into the places of `source` that the view takes: a view is a choice and an order of values,
    so that the transpose of its derivative puts them back, and leaves the others, as the class token's, alone."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, source: Tensor, view: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.view = view
        with torch.enable_grad():
            value = source.detach().clone().requires_grad_()
            seen = view(value)
            (found,) = torch.autograd.grad((seen * (maps.detach() - seen.detach())).sum(), value)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return ctx.view(gradients[0]), None, None
