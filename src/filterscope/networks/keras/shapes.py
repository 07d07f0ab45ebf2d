"""Shapes of a Keras graph's values, worked out without computing any, and kept within reason."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from filterscope.errors import NetworkError, first_line
from filterscope.networks.keras.layers.base import Affine, Shape, sides
from filterscope.networks.keras.layers.reshaping import GlobalPool

LARGEST = 2**31  # values of one layer's output for one picture, or of one tensor of weights: 8 GB
OTHER = 128  # added to the sides to see which layers run at another size: halved seven times, it stays whole

# modules whose output has their input's shape
_SHAPELESS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Softmax,
)


def _plain_shape(module: nn.Module, shape: Shape) -> Shape | None:
    """The output shape of the commonest layers, None for all others.

    torch knows them too, but takes 20 ms for a batch norm, and before the first convolution or product of tensors
    without numbers it imports its compiler, which takes most of a second.
    """
    if isinstance(module, _SHAPELESS):
        return shape
    if isinstance(module, Affine | GlobalPool):  # layers of ours that say it themselves
        return module.output_shape(shape)
    if isinstance(module, nn.Linear) and shape[-1:] == (module.in_features,):
        return (*shape[:-1], module.out_features)
    if isinstance(module, nn.Conv2d) and len(shape) == 3 and shape[0] == module.in_channels:
        return _slid(module, module.out_channels, shape)
    if isinstance(module, nn.MaxPool2d) and len(shape) == 3 and not module.ceil_mode:
        return _slid(module, shape[0], shape)
    if isinstance(module, nn.Sequential):
        found: Shape | None = shape
        for inner in module:
            found = None if found is None else _plain_shape(inner, found)
        return found
    return None


def _slid(module: nn.Conv2d | nn.MaxPool2d, channels: int, shape: Shape) -> Shape | None:
    """The shape after a window has slid over the picture."""
    if isinstance(module.padding, str):
        return None
    moves = (module.kernel_size, module.stride, module.padding, module.dilation)
    rows = zip(shape[1:], *(sides(move) for move in moves), strict=True)
    left = [(side + 2 * pad - gap * (kernel - 1) - 1) // step + 1 for side, kernel, step, pad, gap in rows]
    return (channels, *left) if min(left) > 0 else None


def shapes_after(module: nn.Module, shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes that come out, without the batch; nothing is computed."""
    if len(shapes) == 1 and (plain := _plain_shape(module, shapes[0])) is not None:
        return [plain]
    if any(not t.is_meta for t in (*module.parameters(), *module.buffers())):
        module = copy.deepcopy(module).to("meta")  # a Rescaling keeps its own numbers
    with torch.device("meta"), torch.no_grad():
        try:
            result = module(*(torch.empty(2, *shape) for shape in shapes))
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            given = ", ".join(str(list(s)) for s in shapes)
            raise NetworkError(f"it does not run on its input {given}: {first_line(error)}") from error
    results = [result] if isinstance(result, Tensor) else list(result)
    if any(len(r) != 2 or not all(r.shape) for r in results):
        raise NetworkError(f"nothing comes out of its input {', '.join(str(list(s)) for s in shapes)}")
    return [tuple(r.shape[1:]) for r in results]


def shapes_elsewhere(module: nn.Module, shapes: Sequence[Shape | None], count: int) -> list[Shape | None]:
    """The same at another size; None where the layer, or one before it, runs at its own size alone."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return [None] * count
    try:
        found: list[Shape | None] = [*shapes_after(module, known)]
    except NetworkError:
        return [None] * count
    return found


def require_sane(name: str, shape: Shape, what: str) -> None:
    """NetworkError for a shape of more values than any layer has."""
    if prod(shape) > LARGEST:
        raise NetworkError(
            f"layer {name!r}: {what} would hold {' x '.join(map(str, shape))} values; at most {LARGEST} are allowed"
        )
