"""Keras models whose channels come first: which of a layer's axes are which.

A value (B, C, H, W) of such a model is kept as it is, and layers are told the axes that they would have in a model with
channels last. Where an order shows in the numbers the value goes through `InKerasAxes`, as any tensor of Keras' does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from filterscope.networks.keras.config import Call, Config, Description, describe
from filterscope.networks.keras.layers.base import Built, Shape
from filterscope.networks.keras.layers.reshaping import IDENTITIES
from filterscope.networks.keras.own import OwnCode

FORMAT = "data_format"
PLAIN = (1, 3)  # channels of pictures
# layers whose `axis` names one axis, or a list of one
_AXIS = ("BatchNormalization", "Concatenate", "GroupNormalization", "LayerNormalization", "RMSNormalization")
_ALONG = (*_AXIS, "Normalization", "Softmax", "UnitNormalization")
_POINTWISE = {
    *(
        "Activation",
        "ELU",
        "LeakyReLU",
        "ReLU",
        "ThresholdedReLU",
        "Add",
        "Average",
        "Maximum",
        "Minimum",
        "Multiply",
    ),
    *("Subtract", "CustomScaleLayer", *IDENTITIES),
}
_ACTING = {
    "Relu",
    "Relu6",
    "Sigmoid",
    "Silu",
    "Tanh",
    "Gelu",
    "Elu",
    "Selu",
    "Softplus",
    "LeakyRelu",
    "HardSilu",
    "Mish",
}
# what may put the channels elsewhere
_MOVING = ("Permute", "Reshape", "Transpose", "Moveaxis", "Swapaxes", "Einsum")


class InKerasAxes(nn.Module):
    """(B, C, H, W) of a model with channels first, whose last axis is W, as (B, W, C, H): the last axis second."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 1)

    def output_shape(self, shape: Shape) -> Shape:
        """What comes out, without the batch."""
        return (shape[-1], *shape[:-1])


class FromKerasAxes(nn.Module):
    """The way back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1)

    def output_shape(self, shape: Shape) -> Shape:
        """What comes out, without the batch."""
        return (*shape[1:], shape[0])


def channels_first(model: Description, shape: Sequence[Any]) -> bool:
    """Whether pictures of a shape (batch, ...) have their channels first: the only number of channels that a picture has
    stands there, or else the first layer that has an order says so."""
    if len(shape) != 4:
        return False
    front, back = shape[1] in PLAIN, shape[3] in PLAIN
    if front != back:
        return front and shape[3] is not None
    return next(_orders(model.calls), "channels_last") == "channels_first"


def _orders(calls: Iterable[Call]) -> Iterator[str]:
    for call in calls:
        if FORMAT in call.config:
            yield str(call.config[FORMAT])
        elif call.is_model:
            yield from _orders((call.inner or describe(call.kind, call.config)).calls)


def as_last(call: Call, firsts: Sequence[bool]) -> Call | None:
    """The call as it is in a model with channels last, for values kept with their channels second; None where the values
    have to go through Keras' axes."""
    config = call.config
    if not all(firsts) or call.whole:
        return None
    if call.is_operation:
        return call if call.kind in _ACTING else None
    if says_first(call):
        return replace(call, config={**config, FORMAT: "channels_last"})
    if call.kind == "Activation" and not isinstance(config.get("activation"), str):
        return None
    if call.kind in _POINTWISE:
        return None if config.get("activation") in ("softmax", "log_softmax") else call
    if call.kind == "Rescaling":
        return _rescaling(call)
    if call.kind in _ALONG and not isinstance(config.get("axis"), type(None)):
        axis = config["axis"]
        axes = [axis] if isinstance(axis, int) else list(axis)
        turned = [{1: 3, 2: 1, 3: 2}.get(int(a) % 4) for a in axes]
        return replace(call, config={**config, "axis": turned[0]}) if len(turned) == 1 and turned[0] else None
    return None


def _rescaling(call: Call) -> Call | None:
    arrays = {k: np.asarray(call.config[k], np.float32) for k in ("scale", "offset")}
    if any(a.size > 1 and (a.ndim < 3 or a.shape[-2:] != (1, 1)) for a in arrays.values()):
        return None
    return replace(call, config={**call.config, **{k: a.reshape(-1).tolist() for k, a in arrays.items()}})


def says_first(call: Call) -> bool:
    """Whether a layer says that its channels come first."""
    return call.config.get(FORMAT) == "channels_first"


def in_keras_axes(built: Built) -> Built:
    """A layer of a model with channels first whose own activation works along Keras' last axis, or does what is not
    known."""
    if not isinstance(built.activation, nn.Softmax | nn.LogSoftmax | OwnCode):
        return built
    activation = nn.Sequential(InKerasAxes(), built.activation, FromKerasAxes())
    return replace(built, activation=activation)


def stays_first(call: Call) -> bool:
    """Whether what comes out of a layer that went through Keras' axes has its channels first again."""
    told: Config = call.config
    return call.kind not in _MOVING and told.get(FORMAT) != "channels_last"
