"""What a picture is compared with while it is drawn: a photograph's activations beside its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from filterscope.ascent.canvas.photograph import resized
from filterscope.ascent.engine.prepare import Prepared
from filterscope.ascent.objectives import References
from filterscope.ascent.tiles import Window
from filterscope.ascent.transforms import Transforms
from filterscope.networks.layer import Taps
from filterscope.objective import Objective, roles
from filterscope.recipe import Recipe
from filterscope.sides import Sides, Size, sides_of


class ReferenceTaps:
    """The layers' activations for the photographs that `goals` are compared with, at one stage of an ascent.

    The photograph that the picture is compared with goes through the same windows and transforms as the
    picture; the guide goes through the network once, whole, no larger than a window. No gradient flows into either.
    """

    def __init__(
        self,
        prepared: Prepared,
        goals: Sequence[Objective],
        photographs: Mapping[str, Tensor],
        sides: Sides,
        recipe: Recipe,
        *,
        raw: bool = False,
    ):
        self.prepared = prepared
        self.raw = raw
        self.pictures, self.views = len(goals), recipe.views
        asked = {role for goal in goals for role in roles(goal)} & set(photographs)
        self.image: Tensor | None = None
        if "image" in asked:
            self.image = resized(photographs["image"], sides)[None].to(prepared.device)
        self.guide = self._guide(photographs["guide"], sides, recipe.tile) if "guide" in asked else None
        self._known: dict[str, Taps] | None = None

    def _guide(self, guide: Tensor, sides: Sides, tile: Size | None) -> dict[str, Taps]:
        longest = min(max(sides), max(sides_of(tile)) if tile else max(sides))
        scale = min(1.0, longest / max(guide.shape[-2:]))
        small = (max(1, round(guide.shape[-2] * scale)), max(1, round(guide.shape[-1] * scale)))
        return self._taps(resized(guide, small).expand(self.pictures * self.views, -1, -1, -1))

    def __call__(self, window: Window, transforms: Transforms, step: int) -> References:
        """For one window of one step, by role."""
        found: dict[str, dict[str, Taps]] = {} if self.guide is None else {"guide": self.guide}
        if self.image is not None:
            found["image"] = self._aligned(window, transforms, step)
        return found

    def _aligned(self, window: Window, transforms: Transforms, step: int) -> dict[str, Taps]:
        assert self.image is not None
        if self._known is not None:
            return self._known
        part = window.of(self.image)
        still = transforms.grids is None and not transforms.noises and part is self.image
        taps = self._taps(transforms(part.expand(self.pictures, -1, -1, -1), step))
        if still:  # nothing moves: the same at every step
            self._known = taps
        return taps

    @torch.no_grad()
    def _taps(self, pixels: Tensor) -> dict[str, Taps]:
        taps = self.prepared(pixels.to(self.prepared.device), raw=self.raw)
        return {n: Taps(t.linear.detach(), t.output.detach(), t.softmax, t.sigmoid) for n, t in taps.items()}
