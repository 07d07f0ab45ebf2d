"""3 x 3 convolutions in float32 by Winograd's algorithm, a quarter of the products (Lavin and Gray 2016, F(4 x 4, 3 x 3)).

Tiles of 6 x 6 values, 4 px apart, become 36 matrices, one for each place of a tile; these are multiplied by the kernel's 36,
and the products become tiles of 4 x 4 outputs. Every transformation is a product with a small matrix, a few rows of tiles
at a time, so that what lies between stays in the caches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.ascent.engine.onednn import LAYOUT, RELU, Bounds, Kernel, Pads
from filterscope.ascent.engine.places import Pair, sides

LEAST_CHANNELS = 128  # in and out: below, the passes over the tiles take what the products save
LEAST_TILES = 49  # of a picture, 28 x 28 px: below, reading the kernel's 36 matrices takes longer than its 9
TOGETHER = 64  # tiles that are transformed at a time

_INPUT = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)  # fmt: skip
_KERNEL = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


class Winograd(Kernel):
    """A kernel of 3 x 3 that large maps meet by Winograd's algorithm, small ones as any other.

    Each picture is computed by itself, whatever the batch. It rounds ten times as coarsely as the plain sum: 1e-5 of the
    largest value.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, pads: Pads):
        super().__init__(weight, bias, pads, (1, 1), (1, 1), 1)
        self.matrices: dict[str, Tensor] = {}

    @staticmethod
    def suits(weight: Tensor, pads: Pads, stride: Pair, dilation: Pair, groups: int) -> bool:
        """Whether a convolution is one of 3 x 3 and of many channels, in float32 and where torch has fast products."""
        left, right, top, bottom = pads
        plain = groups == 1 and stride == dilation == (1, 1) and sides(weight) == (3, 3)
        even = left == right and top == bottom and max(pads) <= 2 and min(pads) >= 0
        many = min(weight.shape[:2]) >= LEAST_CHANNELS and weight.dtype == torch.float32
        return bool(plain and even and many and torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]

    def run(self, x: Tensor, shortcut: Tensor | None, bounds: Bounds | None) -> Tensor:
        """The convolution of `x`, plus the shortcut, clamped to the bounds."""
        if _tiles(sides(x)) < LEAST_TILES:
            return super().run(x, shortcut, bounds)
        alone = shortcut is None
        y = _convolved(x, self._matrices("forward"), self.padding, self.bias, bounds if alone else None)
        return y if shortcut is None else _clamped(y.add_(shortcut), bounds)

    def gradient(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of the input of `shape` from the output's."""
        if _tiles(sides(g)) < LEAST_TILES:
            return super().gradient(g, shape)
        rows, columns = self._turned_padding()
        return _convolved(g, self._matrices("backward"), (rows, columns), None, None)

    def _matrices(self, way: str) -> Tensor:
        """The kernel's matrices, (36, channels in, channels out)."""
        if way not in self.matrices:
            weight = self.weight if way == "forward" else self._turned()
            places = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (9, channels in, channels out)
            spread = torch.mm(_both_ways(_KERNEL), places.flatten(1))
            self.matrices[way] = spread.view(36, *places.shape[1:])
        return self.matrices[way]


def _convolved(
    x: Tensor, matrices: Tensor, padding: Pair, bias: Tensor | None, bounds: Bounds | None
) -> Tensor:
    """(B, C, H, W) by a kernel's matrices, with that many rows and columns of zeros around it."""
    (height, width), out = sides(x), matrices.shape[2]
    above, left = padding
    outputs = (height + 2 * above - 2, width + 2 * left - 2)
    high, wide = -(-outputs[0] // 4), -(-outputs[1] // 4)
    behind = (4 * high + 2 - height - above, 4 * wide + 2 - width - left)
    maps = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, behind[1], above, behind[0]))
    tiles = maps.unfold(1, 6, 4).unfold(2, 6, 4)  # (B, high, wide, C, 6, 6), nothing copied
    there, back = (_both_ways(rows) for rows in (_INPUT, _OUTPUT))
    y = x.new_empty(len(x), high, 4, wide, 4, out)
    step = max(1, TOGETHER // wide)
    for picture, whole in zip(tiles, y, strict=True):
        for part, result in zip(picture.split(step), whole.split(step), strict=True):
            spread = torch.mm(there, part.permute(3, 4, 0, 1, 2).reshape(36, -1)).view(36, -1, x.shape[1])
            found = torch.mm(back, torch.bmm(spread, matrices).view(36, -1)).view(4, 4, len(part), wide, out)
            found = found if bias is None else found.add_(bias)
            result.copy_(_clamped(found, bounds).permute(2, 0, 3, 1, 4))
    whole = y.view(len(x), 4 * high, 4 * wide, out)[:, : outputs[0], : outputs[1]]
    return whole.permute(0, 3, 1, 2).contiguous(memory_format=LAYOUT)


def _both_ways(rows: tuple[tuple[float, ...], ...]) -> Tensor:
    """A transformation of columns and of rows as one matrix."""
    one = torch.tensor(rows, dtype=torch.float32)
    return torch.kron(one, one)


def _tiles(size: Pair) -> int:
    return (size[0] // 4) * (size[1] // 4)


def _clamped(y: Tensor, bounds: Bounds | None) -> Tensor:
    if bounds is None:
        return y
    return F.relu_(y) if bounds == RELU else F.hardtanh_(y, *bounds[:2])
