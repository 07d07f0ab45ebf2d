"""InputSpec: how pixel values become a network's input, and what a person may say otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from filterscope.errors import ArgumentError, did_you_mean
from filterscope.networks.held import held
from filterscope.sides import Size, checked_size, is_side, pixels_text, size_text

# of pixel values from 0 to 1: torchvision.transforms of all its ImageNet weights, timm's IMAGENET_DEFAULT_MEAN and _STD
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """How a network wants its pictures: value range, then colour order, minus mean, over std.

    `low` and `high` are the values of black and white; `mean` and `std` are per channel, in the network's
    own channel order and value range. `size` is the side in pixels that it was trained on, or height and
    width where they differ; `fixed` says that no other size runs. `shown` are the channels that a
    picture shows as red, green and blue where there are neither 1 nor 3: the first three, and of two the second twice.
    """

    size: Size = 224
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
        return (x - held(self.mean, x).view(shape)) / held(self.std, x).view(shape)

    def __str__(self) -> str:
        order = {1: "grey", 3: "BGR" if self.bgr else "RGB"}.get(self.channels, f"{self.channels} channels")
        numbers = [pixels_text(self.size) + ("" if self.fixed else " or other sizes")]
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
                spec,
                channels=channels,
                bgr=False,
                mean=_fitted(self.mean, channels),
                std=_fitted(self.std, channels),
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
            whole = tuple(values) * (channels // len(values))
            spec = (
                dataclasses.replace(spec, mean=whole)
                if name == "mean"
                else dataclasses.replace(spec, std=whole)
            )
        if options.shown is not None:
            if max(options.shown) >= channels:
                raise ArgumentError(
                    f"shown names channel {max(options.shown)}; the network has channels 0 to {channels - 1}"
                )
            if channels == 3:  # red, green and blue are all there is: this is their order
                if set(options.shown) != {0, 1, 2} or options.shown[1] != 1:
                    raise ArgumentError(
                        f"shown is 0,1,2 (RGB) or 2,1,0 (BGR) of three channels (got {','.join(map(str, options.shown))})"
                    )
                spec = dataclasses.replace(spec, bgr=options.shown == (2, 1, 0))
            else:
                spec = dataclasses.replace(spec, shown=options.shown)
        return dataclasses.replace(spec, size=options.size) if options.size else spec


@dataclass(frozen=True)
class InputOptions:
    """What a person says of a network's input; None leaves what was found.

    mean, std: one number, or one a channel, in the network's own value range. range: the values of black and
    white. channels, size: of the input (a side, or height and width). shown: the channels that pictures show as red,
    green and blue; of three (2, 1, 0) says that the network takes them as BGR.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    range: tuple[float, float] | None = None
    channels: int | None = None
    size: Size | None = None
    shown: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        """As it stands behind a network's name: `mean=0.5&range=0,1`."""
        parts = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "size" and value is not None:
                parts.append(f"size={size_text(value)}")
            elif value is not None:
                numbers = value if isinstance(value, tuple) else (value,)
                parts.append(f"{field.name}={','.join(f'{v:.9g}' for v in numbers)}")
        return "&".join(parts)

    def over(self, other: InputOptions) -> InputOptions:
        """These, and where they say nothing the other's."""
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(other, **{n: v for n, v in told.items() if v is not None})

    @classmethod
    def parse(cls, text: str) -> InputOptions:
        """Read what stands behind a network's name; ArgumentError where it cannot be read.

        >>> InputOptions.parse("range=-1,1&size=32")
        InputOptions(mean=None, std=None, range=(-1.0, 1.0), channels=None, size=32, shown=None)
        """
        told: dict[str, Any] = {}
        for part in text.split("&"):
            key, sign, value = part.partition("=")
            names = [f.name for f in dataclasses.fields(cls)]
            if not sign or key not in names:
                near = did_you_mean(key, names)
                raise ArgumentError(
                    f"{part!r}: behind a network's ? stands {', '.join(names)}, as ?size=32{near}"
                )
            if key == "size":
                told[key] = value
                continue
            try:
                numbers = [float(v) for v in value.split(",")]
            except ValueError:
                raise ArgumentError(f"{key} takes numbers with commas between (got {value!r})") from None
            whole = key in ("channels", "shown")
            if whole and any(v != int(v) for v in numbers if math.isfinite(v)):
                raise ArgumentError(f"{key} takes whole numbers (got {value!r})")
            if key == "channels":
                told[key] = int(numbers[0]) if len(numbers) == 1 and math.isfinite(numbers[0]) else -1
            else:
                told[key] = numbers
        return cls.checked(**told)

    @classmethod
    def checked(
        cls,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        range: Sequence[float] | None = None,
        channels: int | None = None,
        size: Size | str | None = None,
        shown: Sequence[int] | None = None,
    ) -> InputOptions:
        """From what a person passed; ArgumentError for what can be no input."""
        low_high = _numbers("range", range)
        if low_high is not None and (len(low_high) != 2 or low_high[0] >= low_high[1]):
            raise ArgumentError(f"range takes the values of black and white, as 0,1 or -1,1 (got {range})")
        spread = _numbers("std", std)
        if spread is not None and min(spread) <= 0:
            raise ArgumentError(f"std takes numbers above 0 (got {std})")
        if channels is not None and not is_side(channels):
            raise ArgumentError(f"channels takes a whole number from 1 to 8192 (got {channels!r})")
        seen = _numbers("shown", shown)
        if seen is not None and (len(seen) != 3 or any(v < 0 or v != int(v) for v in seen)):
            raise ArgumentError(f"shown takes three channels' numbers, as 3,2,1 (got {shown})")
        colours = seen and (int(seen[0]), int(seen[1]), int(seen[2]))
        return cls(
            _numbers("mean", mean), spread, low_high and (low_high[0], low_high[1]), channels,
            None if size is None else checked_size("size", size), colours,
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
