"""The sizes of pictures at which a layer runs, and the one it is drawn at where nothing says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from filterscope.errors import ArgumentError
from filterscope.networks.input_spec import InputSpec
from filterscope.networks.layer import Layer
from filterscope.networks.subgraph import Shapes
from filterscope.sides import Size, pixels_text, sides_of, size_text, times

# pixels: pictures of MNIST, CIFAR and their like are smaller; from here on a layer is drawn with room around
SMALL = 64


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network's layers: of the network called `name`, which takes `input` and gives `shapes`."""

    name: str
    input: InputSpec
    shapes: Shapes

    def shape(self, row: Layer, size: Size) -> tuple[int, ...] | None:
        """The shape of a layer's output at a size, without the batch; None where it does not run."""
        shape = self.shapes.of(row.output, self.input.channels, size)
        return shape and row.shaped(shape)

    def runs(self, row: Layer, size: Size) -> bool:
        """Whether the layer runs at a size."""
        return self.shape(row, size) is not None

    def takes_one(self, row: Layer) -> bool:
        """Whether the layer runs at the network's own size alone."""
        return self.input.fixed and row.receptive_field is None

    def require_shape(self, row: Layer, size: Size) -> tuple[int, ...]:
        """The shape; ArgumentError with the sizes that work where this one does not."""
        if self.takes_one(row) and size != self.input.size:
            raise ArgumentError(
                f"{row.name} of {self.name} runs at {pixels_text(self.input.size)} only (got {size_text(size)})"
            )
        shape = self.shape(row, size)
        if shape is None:
            raise ArgumentError(self._advice(row, size))
        return shape

    def usual(self, row: Layer, wanted: int | Literal["own"] | None) -> Size:
        """The size of a picture of the layer, see `Network.picture_size`."""
        own = self.input.size
        if wanted == "own" or self.takes_one(row) or min(sides_of(own)) < SMALL:
            return own
        longer = max(sides_of(own))
        wanted = wanted or max(longer, 128)
        size = wanted if isinstance(own, int) else times(own, wanted / longer)
        return size if self.runs(row, size) else own

    def smallest(self, row: Layer) -> Size:
        """The smallest side in pixels at which the layer runs; its only size where it takes just one."""
        own = self.input.size
        if self.takes_one(row):
            return own
        works = next((2**i for i in range(13) if self.runs(row, 2**i)), max(sides_of(own)))
        if not self.runs(row, works):
            return own
        fails = works // 2
        while works - fails > 1:  # between a size that runs and one that does not
            middle = (works + fails) // 2
            if self.runs(row, middle):
                works = middle
            else:
                fails = middle
        return works

    def _advice(self, row: Layer, size: Size) -> str:
        least = self.smallest(row)
        if min(sides_of(size)) < min(sides_of(least)):
            return f"{size_text(size)} px is too small for {row.name}: the smallest size that works is {size_text(least)} px"
        near = [s for s in _near(size) if self.runs(row, s)][:2] if isinstance(size, int) else []
        works = " and ".join(f"{s} px" for s in sorted(near))
        return f"{row.name} of {self.name} does not run at {size_text(size)} px" + (
            f"; near it do {works}" if works else ""
        )


def _near(size: int) -> Iterator[int]:
    for step in range(1, size):
        yield from (size - step, size + step)
