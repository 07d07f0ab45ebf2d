"""A live Keras model that was opened, remembered until something of it changes: a weight, a setting, a layer, its code."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from filterscope.networks.keras.importing import import_keras
from filterscope.networks.keras.live import keras_class, own_activation
from filterscope.networks.network import Network
from filterscope.networks.remembered import Remembered
from filterscope.networks.state import UnknownError, Values

REMEMBERED = Remembered(most=1)  # a network may hold its model's layers, which then stay in memory with it
_LIBRARIES = ("keras", "tensorflow", "jax", "jaxlib")
# what training leaves on a model, and no forward pass reads
_OF_TRAINING = {
    "history", "optimizer", "loss", "train_function", "test_function", "predict_function", "stop_training",
    "stop_predicting", "stop_evaluating", "_compile_config", "_compiled_trainable_state", "_eval_epoch_iterator",
}  # fmt: skip


def opened_once(model: Any, open_it: Callable[[], Network]) -> Network:
    """The network that `open_it` makes of a model, or the one that it made, where nothing has changed since then."""
    return REMEMBERED.opened_once(model, None, open_it, state_of)


def state_of(model: Any) -> Any:
    """All that a live model's results depend on, in comparable form; None where something cannot be compared."""
    try:
        return _State(model).whole()
    except (UnknownError, RuntimeError, RecursionError):
        return None


class _State(Values):
    def __init__(self, model: Any):
        self.model = model
        self.layers = list(model._flatten_layers(include_self=True, recursive=True))
        super().__init__({id(layer): ("layer", place) for place, layer in enumerate(self.layers)})

    def is_as_it_is(self, module: str) -> bool:
        return super().is_as_it_is(module) or module.partition(".")[0] in _LIBRARIES

    def whole(self) -> Any:
        """Numbers, layers, and the code of a person's own."""
        layers = [(type(layer), layer.name, self._layer(layer)) for layer in self.layers]
        kinds = [type(layer) for layer in self.layers if keras_class(layer) is None]
        return (
            _numbers(self.model),
            layers,
            *self.code(kinds, {"call", "__call__", "__getattr__", "__getattribute__"}),
        )

    def _layer(self, layer: Any) -> Any:
        inner = [self.places.get(id(own)) for own in getattr(layer, "_layers", ())]
        if keras_class(layer) is None:
            own = [(n, self.of(v)) for n, v in list(vars(layer).items()) if n not in _usual_names()]
            return own, inner
        if inner:
            return inner
        try:
            config = layer.get_config()
        except Exception as error:  # what Keras cannot write down
            raise UnknownError(layer.name) from error
        return self.of(config), self.of(own_activation(layer))

    def _object(self, value: Any) -> Any:
        if isinstance(value, import_keras().Variable):  # compared by its numbers
            return "variable", tuple(value.shape)
        return super()._object(value)

    def _own(self, value: Any) -> Any:
        tracked = type(value).__module__.startswith("keras.")  # Keras' lists note who holds them
        return () if tracked else super()._own(value)


def _numbers(model: Any) -> list[Any]:
    """Of each variable its type, shape and a checksum: quicker than a hash, and no change goes by it but by one in 2^32."""
    keras = import_keras()
    arrays = [np.ascontiguousarray(keras.ops.convert_to_numpy(v.value)) for v in model.weights]
    return [(str(a.dtype), a.shape, zlib.crc32(a.reshape(-1).view(np.uint8).data)) for a in arrays]


@functools.cache
def _usual_names() -> frozenset[str]:
    """The attributes that every layer and model has."""
    keras = import_keras()
    bare = (keras.layers.Layer(name="bare"), keras.Model(name="bare"))
    return frozenset(_OF_TRAINING.union(*map(vars, bare)))
