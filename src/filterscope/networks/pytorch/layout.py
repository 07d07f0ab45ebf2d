"""Where channels and places are in a value of a torch network, and one order for all of them: (B, C, H, W).

Convolutions give (B, C, H, W); Swin and ConvNeXt blocks (B, H, W, C); transformers tokens (B, N, C), of which
some stand for patches of the picture, row by row, and some for none (class, distillation, registers); windowed
attention (B * windows, N, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterscope.networks.patches import Patches, grid


@dataclass(frozen=True)
class Layout:
    """How a value is laid out: `kind` as in View; of patches the tokens in front and behind that stand for none, and
    how many rows and columns there are a pixel. Without that rate the tokens are steps of a sequence."""

    kind: str
    extra: int = 0
    back: int = 0
    rate: tuple[float, float] | None = None

    @property
    def steps(self) -> bool:
        """Whether it is a sequence whose steps are no places of the picture."""
        return self.kind in _TOKENS and self.rate is None


_TOKENS = ("tokens", "channels", "sequence")


class View(nn.Module):
    """A value as (B, C, H, W), or (B, C) where it has no places; `picture` is the network's input.

    map: (B, C, H, W). last: (B, H, W, C). tokens: (B, N, C). channels: (B, C, N). sequence: (N, B, C): of patches a map,
    of steps (B, C, 1, N).
    windows: (B * k, N, C) or (B * k, h, w, C), as a map of k rows, one a window. single: (B, 1, C).
    alone: (C,) or (C, H, W) of the only picture.
    """

    def __init__(self, layout: Layout):
        super().__init__()
        self.layout = layout

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        kind = self.layout.kind
        if kind == "last":
            return x.permute(0, 3, 1, 2)
        if kind == "single":
            return x[:, 0]
        if kind == "alone":
            return x[None]
        if kind == "windows":
            return x.reshape(picture.shape[0], -1, x[0, ..., 0].numel(), x.shape[-1]).permute(0, 3, 1, 2)
        if kind in _TOKENS:
            x = as_tokens(x, kind)
            x = x[:, self.layout.extra : x.shape[1] - self.layout.back]
            rows, columns = self._grid(x.shape[1], picture)
            return x.transpose(1, 2).reshape(len(x), x.shape[2], rows, columns)
        return x

    def _grid(self, count: int, picture: Tensor) -> tuple[int, int]:
        rate = self.layout.rate
        found = rate and grid(count, picture.shape[2] * rate[0], picture.shape[3] * rate[1])
        return found or (1, count)


class Token(nn.Module):
    """One of the tokens that stand for no patch, as (B, C)."""

    def __init__(self, layout: Layout, index: int):
        super().__init__()
        self.layout, self.index = layout, index

    def forward(self, x: Tensor) -> Tensor:
        return as_tokens(x, self.layout.kind)[:, self.index]


class HeadStrength(nn.Module):
    """How active each attention head is: (B, heads * D, H, W) to the root mean square over D, (B, heads, H, W)."""

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        return (x.reshape(len(x), self.heads, -1, *x.shape[2:]).square().mean(2) + 1e-12).sqrt()


def as_tokens(x: Tensor, kind: str) -> Tensor:
    """Tokens as (B, N, C)."""
    return x.transpose(0, 1) if kind == "sequence" else x.transpose(1, 2) if kind == "channels" else x


# kinds of layouts, None for what has no pictures in it: of a value of this shape, whose axis `channel` counts channels, seen
# with `batch` pictures; in order, the first that fits
_Fits = Callable[[torch.Size, int, int], bool]
_KINDS: tuple[tuple[str | None, _Fits], ...] = (
    ("alone", lambda shape, _, batch: batch == 1 and (len(shape) == 1 or (len(shape) == 3 and 1 not in shape[:2]))),
    (None, lambda shape, _, __: len(shape) < 2),
    ("sequence", lambda shape, _, batch: len(shape) == 3 and shape[0] != batch == shape[1]),
    ("windows", lambda shape, channel, batch: shape[0] != batch and shape[0] % batch == 0 and channel == len(shape) - 1 > 1),
    (None, lambda shape, _, batch: shape[0] != batch),
    ("map", lambda shape, _, __: len(shape) == 2),
    ("last", lambda shape, channel, _: len(shape) == 4 and channel == 3),
    ("map", lambda shape, _, __: len(shape) == 4),
    ("single", lambda shape, channel, _: shape[1] == 1 and channel == 2),
    ("tokens", lambda _, channel, __: channel == 2),
    ("channels", lambda *_: True),
)  # fmt: skip


def layout_of(
    value: Tensor, channel: int, batch: int, patches: Patches | None = None, sides: tuple[int, int] = (1, 1)
) -> Layout | None:
    """The layout of a value seen with `batch` pictures of these sides; None for what has no pictures in it.

    `patches` is what its axis of tokens counts, where that is known to be places of the picture.
    """
    shape = value.shape
    if not 1 <= value.ndim <= 4 or not value.is_floating_point() or 0 in shape:
        return None
    kind = next(kind for kind, fits in _KINDS if fits(shape, channel, batch))
    if kind is None:
        return None
    return _of_tokens(kind, patches, sides) if kind in _TOKENS else Layout(kind)


def _of_tokens(kind: str, patches: Patches | None, sides: tuple[int, int]) -> Layout:
    if not patches:
        return Layout(kind)
    rate = (patches.rows / sides[0], patches.columns / sides[1])
    return Layout(kind, patches.front, patches.back, rate)


def shape_of(view: Tensor, layout: Layout) -> tuple[int, ...]:
    """The shape of a layer's output as the table says it: (C, H, W), (C,), or (C, N) of N steps."""
    shape = tuple(view.shape[1:])
    return (shape[0], shape[2]) if layout.steps else shape


def token_axis(value: Tensor, channel: int, batch: int) -> int:
    """The axis that counts tokens in a value of three axes."""
    return next((i for i in range(3) if i != channel and not (i == 0 and value.shape[0] == batch)), 1)


@dataclass(frozen=True)
class Prefix:
    """The tokens in front of the patches' that stand for none, as the network's own attributes tell."""

    names: tuple[str, ...] = ()

    def of(self, extra: int) -> tuple[str, ...]:
        """Names for `extra` tokens: those known where the number agrees, else the class token comes first."""
        if extra == len(self.names):
            return self.names
        return tuple("cls" if i == 0 else f"extra{i}" for i in range(extra))


def prefix_of(net: nn.Module) -> Prefix:
    """cls, dist, reg1... as cls_token, dist_token and reg_token of timm, torchvision and most others tell."""
    names: list[str] = []
    for name, token in [*net.named_parameters(), *net.named_buffers()]:
        kind = name.rpartition(".")[2]
        if not isinstance(token, torch.Tensor) or name.count(".") > 1:
            continue
        if kind in ("cls_token", "class_token", "class_embedding", "cls"):
            names.append("cls")
        elif kind in ("dist_token", "distillation_token"):
            names.append("dist")
        elif kind in ("reg_token", "reg_tokens", "register_tokens", "registers"):
            names += [f"reg{i}" for i in range(1, (token.shape[-2] if token.ndim > 1 else 1) + 1)]
    order = {"cls": 0, "dist": 1}
    return Prefix(tuple(sorted(dict.fromkeys(names), key=lambda n: (order.get(n, 2), len(n), n))))
