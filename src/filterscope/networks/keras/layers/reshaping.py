"""Keras' layers that move values about: padding, cropping, reshaping, resizing, pooling."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.layers.base import (
    Builder,
    Built,
    Config,
    Elementwise,
    InKerasOrder,
    SamePad,
    Shape,
    in_row,
    keras_shape,
    padding_of,
    require_channels_last,
    same_window,
    sides,
)


class Flatten(nn.Module):
    """(B, C, H, W) to (B, H * W * C): Keras' order, channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(1) if x.ndim > 2 else x.flatten(1)


class GlobalPool(nn.Module):
    """(B, C, ...) to (B, C), the mean or the largest over space; to (B, C, 1, ...) with `keepdims`."""

    def __init__(self, kind: str, keepdims: bool = False):
        super().__init__()
        self.kind, self.keepdims = kind, keepdims

    def forward(self, x: Tensor) -> Tensor:
        space = tuple(range(2, x.ndim))
        return (x.mean if self.kind == "mean" else x.amax)(space, keepdim=self.keepdims)

    def output_shape(self, shape: Shape) -> Shape:
        """What comes out, without the batch."""
        return (shape[0], *(1 for _ in shape[1:])) if self.keepdims else shape[:1]


class SameAverage(nn.Module):
    """The mean over each window, of the values in the picture alone: TensorFlow's average with `same` padding."""

    def __init__(self, pad: SamePad):
        super().__init__()
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        pool: Callable[..., Tensor] = F.avg_pool2d if x.ndim == 4 else F.avg_pool1d
        means = pool(self.pad(x), self.pad.kernel, self.pad.stride)
        shares = pool(self.pad(torch.ones_like(x[:1, :1])), self.pad.kernel, self.pad.stride)
        return means / shares


def _flatten(config: Config, shape: Shape) -> Built:
    require_channels_last(config)
    return Built(Flatten(), window=None)


def _global(kind: str) -> Builder:
    def build(config: Config, shape: Shape) -> Built:
        require_channels_last(config)
        return Built(GlobalPool(kind, bool(config.get("keepdims", False))), window=None, pools=True)

    return build


def _pool(kind: str, count: int) -> Builder:
    def build(config: Config, shape: Shape) -> Built:
        kernel = sides(config["pool_size"], count)
        stride = sides(config.get("strides") or config["pool_size"], count)
        ones = (1,) * count
        pad, native = padding_of(config, kernel, stride, ones, float("-inf") if kind == "max" else 0.0)
        module: nn.Module
        if kind == "max":
            largest: Callable[..., nn.Module] = nn.MaxPool2d if count == 2 else nn.MaxPool1d
            module = in_row(pad=pad, pool=largest(kernel, stride, native))
        elif pad is not None:
            module = SameAverage(pad)
        else:
            average: Callable[..., nn.Module] = nn.AvgPool2d if count == 2 else nn.AvgPool1d
            pool = average(kernel, stride, native, count_include_pad=False)
            module = in_row(pool=pool)
        return Built(module, window=same_window(kernel, stride, ones), pools=True)

    return build


def _adaptive(kind: type[nn.Module]) -> Builder:
    def build(config: Config, shape: Shape) -> Built:
        require_channels_last(config)
        return Built(in_row(pool=kind(sides(config["output_size"]))), window=None, pools=True)

    return build


class Pad(nn.Module):
    """Adds (or with negative numbers takes away) rows at each side; last side first, as torch has it."""

    def __init__(self, pads: list[int], mode: str = "constant", value: float = 0.0):
        super().__init__()
        self.pads, self.mode, self.value = pads, mode, value

    def forward(self, x: Tensor) -> Tensor:
        if any(
            x.shape[-1 - i // 2] + self.pads[i] + self.pads[i + 1] < 1 for i in range(0, len(self.pads), 2)
        ):
            raise RuntimeError(f"nothing is left of {list(x.shape[2:])} after cropping")
        return F.pad(x, self.pads, self.mode, self.value if self.mode == "constant" else None)


def _margins(value: Any, count: int) -> list[int]:
    """Keras' `padding` or `cropping`, as torch's list of pads: last side first."""
    rows = [value] * count if isinstance(value, int) else list(value)
    if count == 1 and not isinstance(value, int):
        rows = [value]
    pairs = [sides(row, 2) for row in rows]
    if len(pairs) != count:
        raise NetworkError(f"{value!r} is no padding for {count} sides")
    return [int(v) for pair in reversed(pairs) for v in pair]


def _zero_padding(count: int) -> Builder:
    def build(config: Config, shape: Shape) -> Built:
        require_channels_last(config)
        return Built(Pad(_margins(config["padding"], count)), pools=True)

    return build


def _cropping(count: int) -> Builder:
    def build(config: Config, shape: Shape) -> Built:
        require_channels_last(config)
        return Built(Pad([-v for v in _margins(config["cropping"], count)]), pools=True)

    return build


def _reshape(config: Config, shape: Shape) -> Built:
    target = tuple(-1 if side is None else int(side) for side in config["target_shape"])
    apply = partial(_reshaped, target=target)
    return Built(InKerasOrder(apply), window=_window(prod(shape[1:]) == 1 or keras_shape(shape) == target))


def _reshaped(x: Tensor, target: Shape) -> Tensor:
    return x.reshape(x.shape[0], *target)


def _window(each_sees_one_place: bool) -> tuple[int, int] | None:
    return (1, 1) if each_sees_one_place else None


def _permute(config: Config, shape: Shape) -> Built:
    dims = [int(d) for d in config["dims"]]
    if sorted(dims) != list(range(1, len(shape) + 1)):
        raise NetworkError(f"dims {dims} are no order of {len(shape)} axes")
    return Built(InKerasOrder(lambda x: x.permute(0, *dims)), window=_window(dims[-1] == len(shape)))


def _repeat(config: Config, shape: Shape) -> Built:
    count = int(config["n"])
    return Built(InKerasOrder(lambda x: x[:, None].expand(-1, count, -1)))


_MODES = {"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic"}


def _mode(config: Config) -> str:
    name = str(config.get("interpolation", "nearest")).lower()
    if name not in _MODES:
        raise NetworkError(f"interpolation {name!r} is not supported; {', '.join(_MODES)} are")
    return _MODES[name]


def resize(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """(B, C, H, W) to another size, as TensorFlow does it: pixels' centres, no smoothing before."""
    if mode == "nearest":
        return F.interpolate(x, size, mode="nearest-exact")
    return F.interpolate(x, size, mode=mode, align_corners=False)


def _up_sampling(config: Config, shape: Shape) -> Built:
    require_channels_last(config)
    factor, mode = sides(config["size"]), _mode(config)

    def enlarge(x: Tensor) -> Tensor:
        return resize(x, (x.shape[2] * factor[0], x.shape[3] * factor[1]), mode)

    reach = {"nearest": 1, "bilinear": 2, "bicubic": 4}[mode]
    return Built(Elementwise(enlarge), window=(reach, Fraction(1, max(factor))), pools=mode == "nearest")


def _up_sampling_1d(config: Config, shape: Shape) -> Built:
    factor = int(config["size"])
    return Built(
        Elementwise(lambda x: x.repeat_interleave(factor, 2)), window=(1, Fraction(1, factor)), pools=True
    )


def _resizing(config: Config, shape: Shape) -> Built:
    require_channels_last(config)
    size, mode = (int(config["height"]), int(config["width"])), _mode(config)
    for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if config.get(option):
            raise NetworkError(f"{option} is not supported")
    for option in ("fill_mode", "fill_value"):  # of what is padded
        config.get(option)
    return Built(Elementwise(partial(resize, size=size, mode=mode)), window=None)


def _center_crop(config: Config, shape: Shape) -> Built:
    require_channels_last(config)
    height, width = int(config["height"]), int(config["width"])

    def crop(x: Tensor) -> Tensor:
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        if top < 0 or left < 0:
            raise RuntimeError(f"{list(x.shape[2:])} is smaller than the crop {[height, width]}")
        return x[:, :, top : top + height, left : left + width]

    return Built(Elementwise(crop), pools=True)


def _as_it_is(config: Config, shape: Shape) -> Built:
    for setting in config:  # of training alone
        config.get(setting)
    return Built(nn.Identity(), pools=True)


# layers that do something in training alone
IDENTITIES = (
    *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity"),
    *("SpatialDropout1D", "SpatialDropout2D", "StochasticDepth", "AugMix", "CutMix", "MixUp", "RandAugment"),
    *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomErasing"),
    *("RandomElasticTransform", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue"),
    *("RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
    *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom"),
)

RANDOM = frozenset(IDENTITIES) - {"Identity", "ActivityRegularization"}

BUILDERS: dict[str, Callable[[Config, Shape], Built]] = {
    **dict.fromkeys(IDENTITIES, _as_it_is),
    "AdaptiveAveragePooling2D": _adaptive(nn.AdaptiveAvgPool2d),
    "AdaptiveMaxPooling2D": _adaptive(nn.AdaptiveMaxPool2d),
    "AveragePooling1D": _pool("mean", 1),
    "AveragePooling2D": _pool("mean", 2),
    "CenterCrop": _center_crop,
    "Cropping1D": _cropping(1),
    "Cropping2D": _cropping(2),
    "Flatten": _flatten,
    "GlobalAveragePooling1D": _global("mean"),
    "GlobalAveragePooling2D": _global("mean"),
    "GlobalMaxPooling1D": _global("max"),
    "GlobalMaxPooling2D": _global("max"),
    "MaxPooling1D": _pool("max", 1),
    "MaxPooling2D": _pool("max", 2),
    "Permute": _permute,
    "RepeatVector": _repeat,
    "Reshape": _reshape,
    "Resizing": _resizing,
    "UpSampling1D": _up_sampling_1d,
    "UpSampling2D": _up_sampling,
    "ZeroPadding1D": _zero_padding(1),
    "ZeroPadding2D": _zero_padding(2),
}
