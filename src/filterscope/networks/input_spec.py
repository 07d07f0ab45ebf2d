"""InputSpec: how pixel values become a network's input, and what a person may say otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from filterscope.errors import ArgumentError


@dataclass(frozen=True)
class InputSpec:
    """How a network wants its pictures: value range, then colour order, minus mean, over std.

    `low` and `high` are the values of black and white; `mean` and `std` are per channel, in the network's
    own channel order and value range. `size` is the side in pixels that it was trained on; `fixed` says
    that no other size runs. `shown` are the channels that a picture shows as red, green and blue where there
    are neither 1 nor 3: the first three, and of two the second twice.
    """

    size: int = 224
    channels: int = 3
    low: float = 0.0
    high: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    bgr: bool = False
    fixed: bool = False
    shown: tuple[int, int, int] | None = None

    @property
    def keeps_pixel_scale(self) -> bool:
        """Whether values stay on the 0 to 255 scale (at most swapped and shifted), as VGG16's do."""
        return (self.low, self.high) == (0.0, 255.0) and all(s == 1 for s in self.std)

    @property
    def as_colours(self) -> tuple[int, int, int]:
        """The channels shown as red, green and blue."""
        last = self.channels - 1
        return self.shown or (0, min(1, last), min(2, last))

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Pixel values 0 to 255, RGB, (B, C, H, W), to what the network takes."""
        x = pixels * ((self.high - self.low) / 255) + self.low
        if self.bgr:
            x = x.flip(1)
        shape = (1, -1, 1, 1)
        return (x - x.new_tensor(self.mean).view(shape)) / x.new_tensor(self.std).view(shape)

    def __str__(self) -> str:
        order = {1: "grey", 3: "BGR" if self.bgr else "RGB"}.get(self.channels, f"{self.channels} channels")
        numbers = [f"{self.size} x {self.size} px" + ("" if self.fixed else " or other sizes")]
        numbers += [f"{order} {self.low:g} to {self.high:g}"]
        if any(self.mean):
            numbers.append("minus mean " + ", ".join(f"{v:g}" for v in self.mean))
        if any(s != 1 for s in self.std):
            numbers.append("over std " + ", ".join(f"{v:g}" for v in self.std))
        if self.channels not in (1, 3):
            numbers.append("shown as RGB: channels " + ", ".join(map(str, self.as_colours)))
        return "; ".join(numbers)

    def changed(self, options: InputOptions) -> InputSpec:
        """This spec with what a person said in place of what was found; ArgumentError where it does not fit."""
        channels = options.channels or self.channels
        spec = self
        if channels != self.channels:
            spec = dataclasses.replace(
                spec, channels=channels, bgr=False, mean=_fitted(self.mean, channels), std=_fitted(self.std, channels)
            )
        if options.range is not None:
            spec = dataclasses.replace(spec, low=options.range[0], high=options.range[1])
        for name in ("mean", "std"):
            values = getattr(options, name)
            if values is None:
                continue
            if len(values) not in (1, channels):
                raise ArgumentError(
                    f"{name} takes one number, or one for each of the {channels} channels (got {len(values)})"
                )
            spec = dataclasses.replace(spec, **{name: tuple(values) * (channels // len(values))})
        if options.shown is not None:
            if max(options.shown) >= channels:
                raise ArgumentError(
                    f"show-channels names channel {max(options.shown)}; the network has channels 0 to {channels - 1}"
                )
            spec = dataclasses.replace(spec, shown=options.shown)
        return dataclasses.replace(spec, size=options.size) if options.size else spec


@dataclass(frozen=True)
class InputOptions:
    """What a person says of a network's input; None leaves what was found.

    mean, std: one number, or one a channel, in the network's own value range. range: the values of black and
    white. channels, size: of the input. shown: the channels that pictures show as red, green and blue.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    range: tuple[float, float] | None = None
    channels: int | None = None
    size: int | None = None
    shown: tuple[int, int, int] | None = None

    @classmethod
    def checked(
        cls,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        range: Sequence[float] | None = None,
        channels: int | None = None,
        size: int | None = None,
        shown: Sequence[int] | None = None,
    ) -> InputOptions:
        """From what a person passed; ArgumentError for what can be no input."""
        low_high = _numbers("range", range)
        if low_high is not None and (len(low_high) != 2 or low_high[0] >= low_high[1]):
            raise ArgumentError(f"range takes the values of black and white, as 0,1 or -1,1 (got {range})")
        spread = _numbers("std", std)
        if spread is not None and min(spread) <= 0:
            raise ArgumentError(f"std takes numbers above 0 (got {std})")
        for name, number in (("channels", channels), ("size", size)):
            if number is not None and (isinstance(number, bool) or not 1 <= int(number) <= 8192):
                raise ArgumentError(f"{name} takes a whole number from 1 to 8192 (got {number})")
        colours = None if shown is None else tuple(int(v) for v in shown)
        if colours is not None and (len(colours) != 3 or min(colours) < 0):
            raise ArgumentError(f"show-channels takes three channels' numbers, as 3,2,1 (got {shown})")
        return cls(
            _numbers("mean", mean), spread, low_high and (low_high[0], low_high[1]), channels, size,
            colours and (colours[0], colours[1], colours[2]),
        )  # fmt: skip


def _numbers(name: str, value: float | Sequence[float] | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(v) for v in ([value] if isinstance(value, int | float) else value))
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} takes numbers (got {value!r})") from None
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ArgumentError(f"{name} takes finite numbers (got {value!r})")
    return numbers


def _fitted(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Values for another number of channels: their mean for each."""
    return (sum(values) / len(values),) * channels
