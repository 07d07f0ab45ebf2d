"""What a network computes behind a layer, for one photograph: values of the layer in, values of targets out.

    behind = Behind(network, "block4_conv3", ["predictions"], pixels)
    behind.activations                         # (1, C, H, W), the layer's values for the photograph
    behind.outputs(behind.source)              # {"predictions": (1, classes)}, as the network gives them
    behind.removed(keep)                       # the same with some channels set to 0, several choices at once

The graph is cut at the layer. What lies before it, and beside it where shortcuts lead around it, is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from filterscope.ascent.engine.passes import is_untraced
from filterscope.errors import TargetError
from filterscope.explanation.split import split
from filterscope.networks.network import Network

BATCH = 8  # values of the layer that go through what is behind it at once


class Behind:
    """The part of a network behind a layer.

    source: the value in the graph that the layer is, (1, ...) in the network's own order of axes, tokens that stand for no
        patch among them. activations: the same as the layer table has it, (1, C, H, W) or (1, units). alone: whether
        everything that reaches the targets passes through this layer, so that no shortcut leads around it.

    Raises TargetError where none of the targets' layers depends on the layer, or the network could not be traced.
    """

    def __init__(self, network: Network, layer: str, ends: Sequence[str], pixels: Tensor):
        self.network, self.layer, self.ends = network, layer, tuple(ends)
        whole = network.probe([layer, *ends]).eval().to(pixels.device)
        untraced = is_untraced(whole)
        found = None if untraced else split(whole, len(ends))
        if found is None:
            raise TargetError(_refusal(network, layer, ends, untraced=untraced))
        self._behind, self._view = found.behind, found.view
        self._dependent = found.dependent
        with torch.no_grad():
            values = list(found.before(network.input.preprocess(pixels)))
        self.source: Tensor = values[0]
        self._sides = values[1 : 1 + found.sides]
        self._beside_view = values[1 + found.sides :]
        self._batch = (
            BATCH if len(self.source) == 1 and all(map(_is_one, self._sides, self._dependent)) else 1
        )
        self.alone = not any(self._dependent)
        with torch.no_grad():
            self.activations = self.viewed(self.source)
        if not self._only_moves():
            raise TargetError(
                f"{layer} of {network.name} is computed beside what leads to {', '.join(ends)}: no gradient comes to it"
            )

    def viewed(self, source: Tensor) -> Tensor:
        """The source's values, or those of its gradient, as the layer table has them: (B, C, H, W) or (B, units)."""
        if self._view is None:
            return source
        found: Tensor = self._view(source, *self._beside_view)[0]
        return found

    def placed(self, values: Tensor) -> Tensor:
        """The way back: values as the layer table has them, in the source's order; 0 where the layer has no such place."""
        if self._view is None:
            return values
        with torch.enable_grad():
            probe = self.source.detach().expand(len(values), *self.source.shape[1:]).clone().requires_grad_()
            (back,) = torch.autograd.grad(self.viewed(probe), probe, values)
        return back

    def outputs(self, source: Tensor) -> dict[str, Tensor]:
        """The values of the targets' layers, classes before their softmax, for values of the source (B, ...)."""
        sides = [
            side.expand(len(source), *side.shape[1:])
            if depends and isinstance(side, Tensor) and len(side) == 1
            else side
            for side, depends in zip(self._sides, self._dependent, strict=True)
        ]
        return dict(zip(self.ends, self._behind(source, *sides), strict=True))

    def batches(self, count: int) -> Iterable[range]:
        """Numbers from 0 to `count` as many at a time as go through together."""
        return (range(begin, min(count, begin + self._batch)) for begin in range(0, count, self._batch))

    def scaled(self, factors: Tensor) -> Tensor:
        """The source with each channel of the layer times a factor: (B, C) to (B, ...)."""
        wide = factors.view(*factors.shape, *[1] * (self.activations.ndim - 2))
        if self._view is None:
            return self.source * wide
        return self.source + self.placed(self.activations * (wide - 1))

    def _only_moves(self) -> bool:
        """Whether the view of the source only moves its values, so that each has one place in it."""
        back = self.viewed(self.placed(self.activations))
        return bool(torch.equal(back, self.activations))


def _is_one(side: object, depends: bool) -> bool:
    """Whether a value beside the layer is of one picture, or of none, so that it can stand beside several."""
    return isinstance(side, Tensor) and (not depends or (side.ndim > 0 and len(side) == 1))


def _refusal(network: Network, layer: str, ends: Sequence[str], *, untraced: bool) -> str:
    """Why nothing can be attributed to a layer."""
    if untraced:
        return (
            f"{network.name} cannot be traced as a graph, so that no gradient can be taken at {layer}: explain needs a "
            "traced network"
        )
    if layer in ends:
        return f"{layer} is the target's own layer: name layers before it"
    return (
        f"no gradient leads from {', '.join(ends)} of {network.name} to {layer}, which lies behind it or beside it: name "
        "layers before it"
    )
