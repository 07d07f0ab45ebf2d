"""Convolutions that are given the zeros around their input, and how many a module's own code puts there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from filterscope.ascent.engine.onednn import Pads
from filterscope.ascent.engine.places import Pair, sides
from filterscope.networks.known_shapes import pair
from filterscope.networks.pytorch.copying import on_meta

NONE: Pads = (0, 0, 0, 0)
_WHERE = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


class Padded(nn.Conv2d):
    """A Conv2d whose input gets zeros besides its own padding: (B, C, H, W), and pads as `F.pad` takes them."""

    def forward(self, x: Tensor, pads: Sequence[int] | None = None) -> Tensor:
        return super().forward(x if pads is None else F.pad(x, list(pads)))


def padded(weight: Tensor, bias: Tensor | None, how: dict[str, Any]) -> Padded:
    """The convolution by these weights; `how` names its stride, padding, dilation and groups where they differ from
    torch's defaults."""
    out, per, *kernel = weight.shape
    conv = Padded(
        per * int(how.get("groups", 1)),
        out,
        (kernel[0], kernel[1]),
        bias=bias is not None,
        device="meta",
        **how,
    )
    conv.weight = nn.Parameter(weight.detach(), requires_grad=False)
    conv.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    return conv


@dataclass
class Convolved:
    """A convolution that code has called: the zeros around its input, its weights, and its other arguments."""

    pads: Pads
    weight: Tensor
    bias: Tensor | None
    how: dict[str, Any]


class PadsOf(nn.Module):
    """The zeros that a module's own code puts around maps (B, C, H, W) of this size: left, right, top, bottom."""

    def __init__(self, module: nn.Module):
        super().__init__()
        # in a tuple, so that it is no part of the network: its tensors are neither converted nor kept
        self.code = (on_meta(module),)
        self.known: dict[Pair, Pads] = {}

    def forward(self, x: Tensor) -> Pads:
        size = sides(x)
        if size not in self.known:
            pads, _ = what_it_does(self.code[0], x.shape[1], size)
            if pads is None:
                raise RuntimeError(
                    f"{type(self.code[0]).__name__} does something else at {size[0]} x {size[1]}"
                )
            self.known[size] = pads
        return self.known[size]


def what_it_does(module: nn.Module, channels: int, size: Pair) -> tuple[Pads | None, Convolved | None]:
    """The zeros that a module puts around maps of a size, and the convolution that it computes of them if it is one.

    (None, None) where its code does anything else. It runs on a picture without numbers, so that nothing in it can
    depend on them; its weights are computed as they are.
    """
    x = torch.empty(2, channels, *size, device="meta")
    watch = _Watch(x)
    try:
        with torch.no_grad(), watch:
            y = module(x)
    except Exception:  # whatever a person's own code raises
        return None, None
    if watch.made is not None:
        return (watch.made[1].pads, watch.made[1]) if y is watch.made[0] else (None, None)
    return watch.zeros(y), None


class _Watch(TorchFunctionMode):
    """Follows a picture through zeros put around it into one convolution; anything else is an error."""

    def __init__(self, x: Tensor):
        super().__init__()
        self.padded: list[tuple[Tensor, Pads]] = [(x, NONE)]
        self.made: tuple[Tensor, Convolved] | None = None

    def zeros(self, value: Any) -> Pads | None:
        return next((pads for tensor, pads in self.padded if tensor is value), None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        pads = self.zeros(args[0] if args else kwargs.get("input"))
        if pads is not None and func is F.pad:
            return self._pad(pads, *args, **kwargs)
        if pads is not None and func in (F.conv2d, torch.conv2d):
            return self._convolve(pads, {**dict(zip(_WHERE, args, strict=False)), **kwargs})
        out = func(*args, **kwargs)
        about = [*args, *kwargs.values(), *(n for a in args if isinstance(a, list | tuple) for n in a)]
        if (
            isinstance(out, Tensor | tuple | list)
            and not isinstance(out, torch.Size)
            and any(map(self._of_picture, about))
        ):
            raise TypeError(f"{func} is no convolution")
        return out

    def _of_picture(self, value: Any) -> bool:
        return self.zeros(value) is not None or (self.made is not None and value is self.made[0])

    def _pad(self, pads: Pads, input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
        more = [int(n) for n in pad]
        if mode != "constant" or value not in (None, 0) or len(more) not in (2, 4):
            raise TypeError(f"padding by {mode} {value}")
        more += [0] * (4 - len(more))
        left, right, top, bottom = (a + b for a, b in zip(pads, more, strict=True))
        if min(*more, *pads) < 0 and max(*more, *pads) > 0:
            raise TypeError("padding and cropping")  # what is cut off between two paddings is 0 no more
        height, width = sides(input)
        y = input.new_empty(*input.shape[:2], height + more[2] + more[3], width + more[0] + more[1])
        self.padded.append((y, (left, right, top, bottom)))
        return y

    def _convolve(self, pads: Pads, given: dict[str, Any]) -> Tensor:
        weight, bias = given["weight"], given.get("bias")
        if self.made is not None or weight.ndim != 4:
            raise TypeError("more than one convolution")
        how = {name: given[name] for name in _WHERE[3:] if name in given}
        x = cast(Tensor, given["input"])
        y = x.new_empty(len(x), len(weight), *_output_size(sides(x), sides(weight), **how))
        self.made = (y, Convolved(pads, weight, bias, how))
        return y


def _output_size(
    size: Pair, kernel: Pair, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> list[int]:
    if padding == "same":
        return list(size)
    around = (0, 0) if padding == "valid" else pair(padding)
    whole = zip(size, kernel, pair(stride), around, pair(dilation), strict=True)
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in whole]
