"""What the builders of Keras layers share: what they return, and the torch modules that several of them use.

Tensors have their channels second throughout, whatever their rank: Keras' (B, H, W, C) is (B, C, H, W) here,
its (B, T, C) is (B, C, T). Where Keras' order shows in the numbers, a module goes through it and back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.weights.table import Slot

Config = dict[str, Any]
# settings that say nothing of what a trained layer computes
_HARMLESS = re.compile(
    r"name|trainable|dtype|seed|\w*(initializer|regularizer|constraint)|batch_(input_)?shape|input_(dtype|dim|length)"
)
_OF_TRAINING: dict[str, tuple[str, ...]] = {
    "BatchNormalization": (
        "momentum",
        "synchronized",
        "fused",
        "virtual_batch_size",
        "renorm_clipping",
        "renorm_momentum",
    ),
    "MultiHeadAttention": (
        *("dropout", "flash_attention", "softmax_robust_masking", "query_shape", "key_shape", "value_shape"),
    ),
    "LayerScale": ("init_values", "projection_dim"),
}
FARTHEST = 2**16  # pixels that a kernel may reach
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Built:
    """A layer as torch runs it.

    window: (kernel, stride) of what one value depends on, None for everything. pools: whether it only gathers each
    channel's own values, so that a channel is active where the one before it is. acts: whether the layer is an
    activation function and nothing else. joins: whether it puts its inputs' channels side by side.
    """

    module: nn.Module
    slots: tuple[Slot, ...] = ()
    activation: nn.Module | None = None
    window: tuple[int, int | Fraction] | None = (1, 1)
    pools: bool = False
    acts: bool = False
    joins: bool = False


class Settings(dict[str, Any]):
    """A layer's config that notes which of its settings are read: one that nothing reads was not built."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.read: set[str] = set()
        self.absent: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def _note(self, key: str) -> None:
        (self.read if key in self else self.absent).add(key)

    def unread(self) -> dict[str, Any]:
        """The settings that nothing read and that are not off."""
        return {k: v for k, v in self.items() if k not in self.read and _is_on(v)}


def _is_on(value: Any) -> bool:
    return not (value is None or value is False or (isinstance(value, list | tuple | dict) and not value))


def require_all_read(kind: str, settings: Settings) -> None:
    """NetworkError for a setting that is on and that the layer was built without."""
    harmless = _OF_TRAINING.get(kind, ())
    for key, value in settings.unread().items():
        if not _HARMLESS.fullmatch(key) and key not in harmless:
            raise NetworkError(f"it has the setting {key}={short(value)}, which filterscope does not build")


def short(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(getattr(value, "value", value))
    return text if len(text) <= 60 else text[:57] + "..."


Builder = Callable[[Config, Shape], Built]
Joiner = Callable[[Config, Sequence[Shape]], Built]


def keras_order(x: Tensor) -> Tensor:
    """(B, C, ...) to Keras' (B, ..., C)."""
    return x.movedim(1, -1) if x.ndim > 2 else x


def own_order(x: Tensor) -> Tensor:
    """Keras' (B, ..., C) to (B, C, ...)."""
    return x.movedim(-1, 1) if x.ndim > 2 else x


def keras_shape(shape: Shape) -> Shape:
    """(C, ...) to Keras' (..., C), the batch left out."""
    return (*shape[1:], shape[0])


class InKerasOrder(nn.Module):
    """A function of tensors in Keras' order, applied to tensors in ours."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        result = self.function(*(keras_order(x) for x in inputs))
        return own_order(result) if isinstance(result, Tensor) else tuple(own_order(r) for r in result)


class Elementwise(nn.Module):
    """A function of one tensor or several that knows no order."""

    def __init__(self, function: Callable[..., Tensor]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class SamePad(nn.Module):
    """TensorFlow's `same` padding: as much as makes the output ceil(size / stride), the odd one behind."""

    def __init__(self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float):
        super().__init__()
        self.kernel, self.stride, self.dilation, self.value = kernel, stride, dilation, value

    def pads(self, sizes: Sequence[int]) -> list[int]:
        """Before and after each side, the last side first, as torch takes them."""
        pads: list[int] = []
        for size, k, s, d in zip(sizes, self.kernel, self.stride, self.dilation, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        return pads

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pads(x.shape[2:]), value=self.value)


class Affine(nn.Module):
    """scale * x + offset, per channel: Keras' Rescaling, and Normalization by numbers that are known."""

    def __init__(self, scale: Tensor, offset: Tensor):
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return x * self.get_buffer("scale").view(shape) + self.get_buffer("offset").view(shape)

    def output_shape(self, shape: Shape) -> Shape:
        """What comes out, without the batch."""
        return shape


def meta(*shape: int) -> nn.Parameter:
    """A parameter that has a shape and no numbers yet."""
    return nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)


def constant(value: float, size: int) -> nn.Parameter:
    """A parameter of one number throughout, which takes no room."""
    return nn.Parameter(torch.full((1,), value).expand(size), requires_grad=False)


def sides(value: Any, count: int = 2) -> tuple[int, ...]:
    """A kernel's or stride's sides: one number for all, or one for each."""
    return (value,) * count if isinstance(value, int) else tuple(int(v) for v in value)


def same_window(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> tuple[int, int]:
    """(kernel, stride) of what one value depends on, the largest over the sides; NetworkError where that is absurd."""
    reach = max((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    if not 1 <= reach <= FARTHEST or min(*stride, *dilation) < 1:
        raise NetworkError(f"a kernel of {kernel}, strides {stride}, dilation {dilation} is no picture's")
    return reach, max(stride)


def padding_of(
    config: Config, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float = 0.0
) -> tuple[SamePad | None, tuple[int, ...]]:
    """Either a module that pads, or torch's own symmetric padding where that is the same."""
    require_channels_last(config)
    if config["padding"] == "valid":
        return None, (0,) * len(kernel)
    if config["padding"] != "same":
        raise NetworkError(f"padding {config['padding']!r} is not supported; 'valid' and 'same' are")
    if all(s == 1 for s in stride) and all(k % 2 for k in kernel):
        return None, tuple(k // 2 * d for k, d in zip(kernel, dilation, strict=True))
    return SamePad(kernel, stride, dilation, value), (0,) * len(kernel)


def require_channels_last(config: Config) -> None:
    """NetworkError for a layer whose channels come first."""
    if config.get("data_format", "channels_last") not in ("channels_last", None):
        raise NetworkError("data_format 'channels_first' is not supported; save the model as channels_last")


def axes_of(config: Config, shape: Shape, default: int = -1) -> tuple[int, ...]:
    """The config's `axis` as axes of Keras' (B, ..., C), counted from 0."""
    value = config.get("axis", default)
    axes = [value] if isinstance(value, int) else [int(v) for v in value]
    rank = len(shape) + 1
    if any(not -rank <= a < rank or a % rank == 0 for a in axes):
        raise NetworkError(f"axis {value!r} is none of a tensor of {rank} axes")
    return tuple(a % rank for a in axes)


def require_last_axis(config: Config, shape: Shape) -> None:
    """NetworkError for a layer that works along another axis than the channels'."""
    if axes_of(config, shape) != (len(shape),):
        raise NetworkError(f"axis {config['axis']!r} is not supported; only the last is")


def in_row(**modules: nn.Module | None) -> nn.Sequential:
    """The modules that are there, one behind the other, under their names."""
    whole = nn.Sequential()
    for name, module in modules.items():
        if module is not None:
            whole.add_module(name, module)
    return whole


def slots_of(shapes: Mapping[str, tuple[Shape, str, tuple[int, ...]]]) -> tuple[Slot, ...]:
    """{Keras name: (Keras shape, torch parameter, axes)} as slots."""
    return tuple(Slot(name, *rest) for name, rest in shapes.items())
