"""A row of the layer table, and the part of a network that layers need with what is captured there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from filterscope.errors import TargetError
from filterscope.target import At, place_text


@dataclass(frozen=True)
class Layer:
    """One row of the layer table.

    `output_shape` is (channels, height, width), (units,), or (channels, steps) of a sequence whose steps are no places
    of the picture (the graph gives it as a map of one row), at the network's own size. `receptive_field` is
    the side in pixels of one value's receptive field, None where that is the whole image. The node names say where
    in the graph its activations are: `linear` before the layer's own activation, `output` after it, `softmax` where a
    softmax is the layer's activation or follows it directly, `logits` before that. With `sigmoid` it is the sigmoid in
    which the network ends, each unit a probability of its own, and `softmax` the node behind it.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    receptive_field: int | None
    trained: bool
    output: str
    linear: str
    softmax: str | None = None
    logits: str | None = None
    sigmoid: bool = False
    depends_on: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """How many channels, neurons or classes the layer has."""
        return self.output_shape[0]

    @property
    def spatial(self) -> bool:
        """Whether the output is a map (channels, height, width)."""
        return len(self.output_shape) == 3

    def shaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what the graph gives, without the batch, as `output_shape` says it."""
        return (shape[0], shape[2]) if len(self.output_shape) == 2 else shape

    def require_place(self, at: At) -> None:
        """TargetError where a place is none of this layer's output: @ROW,COLUMN of a map, @STEP of a sequence."""
        text = place_text(at)
        if min(at) < 0:
            raise TargetError(f"rows and columns are counted from 0 (got {text})")
        places = len(self.output_shape) - 1
        if not places:
            raise TargetError(f"{self.name} has no rows and columns: leave out @{text}")
        if places != len(at):
            told = (
                "a map: its places are @ROW,COLUMN",
                f"a sequence of {self.output_shape[1]} steps: each is @NUMBER",
            )
            raise TargetError(f"{self.name} is {told[places == 1]} (got @{text})")


@dataclass(frozen=True)
class Taps:
    """What is captured at a layer, each (B, C, H, W) or (B, units).

    linear: before the layer's own activation. output: after it, but for a layer of classes before the softmax.
    softmax: the classes' probabilities, None where there are none or they were not asked for; with `sigmoid` those
        of a sigmoid, (B, units) or (B, C, H, W).
    """

    linear: Tensor
    output: Tensor
    softmax: Tensor | None
    sigmoid: bool = False


class Part(nn.Module):
    """The part of a network that one layer needs: input (B, C, H, W), already preprocessed, to its Taps."""

    def __init__(self, graph: fx.GraphModule, layer: Layer, *, with_softmax: bool):
        super().__init__()
        self.graph = graph
        self.layer = layer
        self.with_softmax = with_softmax

    def forward(self, x: Tensor) -> Taps:
        linear, output, *softmax = self.graph.forward(x)  # a graph that is called prints what it raises
        return Taps(linear, output, softmax[0] if softmax else None, self.layer.sigmoid)


class Parts(nn.Module):
    """The part of a network that several layers need: input (B, C, H, W), preprocessed, to each layer's Taps.

    `with_softmax` names the layers whose Taps have their softmax, `sigmoids` those whose probabilities a sigmoid makes.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        layers: Sequence[str],
        with_softmax: Sequence[str] = (),
        sigmoids: Sequence[str] = (),
    ):
        super().__init__()
        self.graph = graph
        self.layers = tuple(layers)
        self.with_softmax = tuple(with_softmax)
        self.sigmoids = tuple(sigmoids)

    def forward(self, x: Tensor) -> dict[str, Taps]:
        return self.named(self.graph.forward(x))

    def named(self, outputs: Sequence[Tensor]) -> dict[str, Taps]:
        """What the graph gives, by layer."""
        values = iter(outputs)
        taps = {}
        for layer in self.layers:
            linear, output = next(values), next(values)
            softmax = next(values) if layer in self.with_softmax else None
            taps[layer] = Taps(linear, output, softmax, layer in self.sigmoids)
        return taps


def safe_attribute(name: str) -> str:
    """A layer's name as torch accepts it for a submodule (no dots, not empty); other signs as their code."""
    return "layer_" + re.sub(r"\W", lambda sign: f"_{ord(sign[0]):x}_", name)
