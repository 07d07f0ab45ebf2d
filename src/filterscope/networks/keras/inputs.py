"""What goes into a Keras model: one picture, however it is laid out, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.config import DEEPEST, Call, Description, describe
from filterscope.networks.keras.layers.base import Shape
from filterscope.networks.keras.layers.functions import POINTWISE
from filterscope.networks.keras.layers.operations import TENSORFLOW
from filterscope.networks.keras.layers.reshaping import IDENTITIES

MOST_CHANNELS = 4096  # of a picture


class Grey(nn.Module):
    """A picture (B, 1, H, W) as Keras' (B, H, W), the last axis second as everywhere: (B, W, H)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0].transpose(1, 2)

    def output_shape(self, shape: Shape) -> Shape:
        """What comes out, without the batch."""
        return (shape[2], shape[1])


def several_inputs(names: Sequence[str]) -> str:
    """Why a model of several inputs is not drawn, and what can be done."""
    return (
        f"networks with several inputs are not supported (this one has {', '.join(names)}). Make a model of the picture "
        "alone, with the other inputs held at fixed values, and open that"
    )


def no_picture(shape: Sequence[Any]) -> str | None:
    """Why an input of a shape (batch, ...) is no picture; None where it is one."""
    told = {
        2: f", a vector of {shape[-1]} values, and only networks for pictures are drawn",
        5: ", a volume or a video (batch, depth, height, width, channels), and only networks for single pictures are drawn",
    }
    if len(shape) not in (3, 4):
        expected = ", expected (batch, height, width, channels)"
        return f"its shape is {tuple(shape)}{told.get(len(shape), expected)}"
    if len(shape) == 4 and shape[3] is None and shape[1] is None:
        return f"its shape {tuple(shape)} leaves the number of channels open"
    if any(side is not None and int(side) < 1 for side in shape[1:]):
        return f"its shape is {tuple(shape)}"
    return None


def require_picture(name: str, shape: Any) -> None:
    """NetworkError for an input that is no picture."""
    if shape is None:
        raise NetworkError(
            f"the input {name!r} is no picture: it has no shape, expected (batch, height, width, channels); give a live "
            "model one first: model.build((None, 224, 224, 3))"
        )
    problem = no_picture(shape)
    if problem is not None:
        raise NetworkError(f"the input {name!r} is no picture: {problem}")


# what a grey picture goes through before it is given its axis of one channel, and what gives it
_BEFORE = {"Rescaling", "Normalization", "Activation", "BatchNormalization", "ReLU", *IDENTITIES, *POINTWISE}
_GIVING = {
    "Reshape",
    "Flatten",
    "ExpandDims",
    "GetItem",
    "SlicingOpLambda",
    "Stack",
    "Repeat",
    "BroadcastTo",
    "Lambda",
}


def require_grey(model: Description, name: str, shape: Sequence[Any]) -> None:
    """NetworkError for an input (batch, height, width) that is no grey picture: a series, whose last axis is channels."""
    if not _is_grey(model, name):
        raise NetworkError(
            f"the input {name!r} is no picture: its shape is {tuple(shape)}, a series of {shape[2]} values each, and "
            "only networks for pictures are drawn; a grey picture is (batch, height, width, 1), or is given one behind it"
        )


def _is_grey(model: Description, name: str, depth: int = 0) -> bool:
    names = {name}
    for call in model.calls:
        if not any(ref.layer in names for ref in call.refs):
            continue
        if call.is_model and depth < DEEPEST:
            inner = call.inner or describe(call.kind, call.config, f"{call.name}/")
            return any(_is_grey(inner, entry, depth + 1) for entry in inner.inputs)
        if call.kind not in _BEFORE:
            kind = _renamed(call)
            if kind not in _BEFORE:
                return call.whole is True or kind in _GIVING
        names.add(call.name)
    return False


def _renamed(call: Call) -> str:
    """Of an operation of Keras 2 the name that Keras 3 has for it."""
    return TENSORFLOW.get(str(call.config.get("function")), "") if call.kind == "TFOpLambda" else call.kind


def require_channels(name: str, channels: Any) -> None:
    """NetworkError for a number of channels that no picture has."""
    if channels is None or not 1 <= int(channels) <= MOST_CHANNELS:
        raise NetworkError(
            f"the input {name!r} has {channels} channels; 1 to {MOST_CHANNELS} are a picture's"
        )
