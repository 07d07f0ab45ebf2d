"""A live Keras model as a list of calls: what a person's own code in it computes, found by calling it.

A live model's code is in the process already, as a torch module's is. Keras calls it on tensors without numbers, whatever
its backend, and notes the operations and layers; what cannot be followed so is kept whole where Keras runs on torch.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from filterscope.errors import NetworkError, first_line
from filterscope.networks.keras.config import (
    OPERATIONS,
    Call,
    Config,
    Constant,
    Description,
    Ref,
    in_order,
)
from filterscope.networks.keras.importing import import_keras
from filterscope.networks.keras.inputs import require_picture, several_inputs
from filterscope.networks.keras.layers.activations import ACTIVATIONS
from filterscope.networks.keras.names import snake_case
from filterscope.networks.keras.own import OwnFunction

ON_TORCH = (
    "a live model may run its own code where Keras runs on torch: set KERAS_BACKEND=torch before Keras is imported, and "
    "load the model again"
)
# what a subclass of a Keras layer may define without computing anything else than it
_PLAIN = {
    *(
        "__init__",
        "__module__",
        "__doc__",
        "__qualname__",
        "__annotations__",
        "__firstlineno__",
        "__static_attributes__",
    ),
    *(
        "__slots__",
        "__parameters__",
        "__orig_bases__",
        "get_config",
        "from_config",
        "train_step",
        "test_step",
    ),
    *(
        "compute_loss",
        "compute_metrics",
        "metrics",
        "compute_output_shape",
        "compute_output_spec",
        "get_build_config",
    ),
}
# functions of TensorFlow and JAX that compute what Keras' of that name do
_ELSEWHERE = {
    "elu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
}


def has_own_code(model: Any) -> bool:
    """Whether a live model holds a layer or function that is not Keras' own, told by the objects themselves."""
    return any(
        keras_class(layer) is None or own_activation(layer) is not None
        for layer in model._flatten_layers(include_self=True, recursive=True)
    )


def keras_class(layer: Any) -> type | None:
    """The class of Keras' whose computation a layer has; None where it has one of its own."""
    if {"call", "__call__"} & set(vars(layer)):
        return None
    for base in type(layer).__mro__:
        if _is_of_keras(base):
            return None if base.__name__ in ("Layer", "Model", "Lambda", "Operation", "Wrapper") else base
        if set(vars(base)) - _PLAIN:
            return None
    return None


def _is_of_keras(thing: Any) -> bool:
    module = str(getattr(thing, "__module__", ""))
    home = sys.modules.get(module) if module.startswith("keras.src.") else None
    return home is not None and getattr(home, thing.__name__, None) is thing


def own_activation(layer: Any) -> Any:
    """A layer's activation where it is a function or object that is not Keras' own; None else."""
    function = vars(layer).get("activation")
    if function is None or isinstance(function, str) or not callable(function):
        return None
    name = getattr(function, "__name__", "")
    keras = import_keras()
    if getattr(keras.activations, name, None) is function:
        return None
    if isinstance(function, keras.Layer):
        known = type(function).__name__ in ("ReLU", "LeakyReLU", "ELU", "Softmax")
        return None if known and keras_class(function) is not None else function
    home = str(getattr(function, "__module__", "")).partition(".")[0]
    if name in ACTIVATIONS and name != "gelu" and _is_of_keras(function):
        return None  # keras.ops.relu; its gelu is another one than keras.activations'
    return None if home in ("tensorflow", "jax") and name in _ELSEWHERE else function


class UnfollowedError(Exception):
    """A person's code does something that only runs on numbers."""


def require_one_picture(model: Any) -> None:
    """NetworkError for a live model that takes anything but one picture."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return
    if len(inputs) > 1:
        raise NetworkError(several_inputs([t.name for t in inputs]))
    require_picture(inputs[0].name, tuple(inputs[0].shape))


@dataclass
class LiveReader:
    """Reads live models as calls. With `follow` false a person's own code is kept whole, never followed."""

    follow: bool = True
    keras: Any = field(default_factory=import_keras)

    @property
    def on_torch(self) -> bool:
        """Whether what cannot be followed can run as it is."""
        return bool(self.keras.backend.backend() == "torch")

    def read(self, model: Any, shape: Sequence[int | None]) -> Description:
        """The whole model, for pictures of the shape (batch, height, width, channels)."""
        with _left_as_it_was(model):
            if keras_class(model) is not None:
                return self.describe(model)
            entry = self.keras.Input(batch_shape=tuple(shape), name="input")
            return self._followed(model, (entry,), {}, [entry])

    def describe(self, model: Any, *, counted: bool = False) -> Description:
        """A functional or sequential model; `counted` names bare operations anew, as Keras counts through a session."""
        graph = getattr(model, "_functional", None) or model
        if not hasattr(graph, "_nodes_by_depth"):  # a Sequential with code that runs on numbers alone
            raise UnfollowedError("Keras itself cannot call its layers on a picture without numbers")
        known = {id(node) for nodes in graph._nodes_by_depth.values() for node in nodes}
        names = _counted(graph.operations) if counted else {}
        nodes = {
            id(op): [(i, n) for i, n in enumerate(op._inbound_nodes) if id(n) in known]
            for op in graph.operations
        }
        places = {(key, i): count for key, rows in nodes.items() for count, (i, _) in enumerate(rows)}

        def ref(tensor: Any) -> Ref:
            op, index, position = tensor._keras_history
            return Ref(names.get(id(op), op.name), places[id(op), index], position)

        calls = {
            names.get(id(op), op.name): [
                self._call(op, names.get(id(op), op.name), count, node, ref)
                for count, (_, node) in enumerate(nodes[id(op)])
            ]
            for op in graph.operations
        }
        return Description(
            tuple(in_order(calls, "", False)),
            tuple(ref(t).layer for t in graph.inputs),
            tuple(ref(t) for t in graph.outputs),
            tuple((name, rows[0].kind) for name, rows in calls.items()),
        )

    def _call(self, op: Any, name: str, count: int, node: Any, ref: Callable[[Any], Ref]) -> Call:
        given, named = node.arguments.args, node.arguments.kwargs
        args = tuple(_plain(v, ref) for v in given)
        kwargs = {k: _plain(v, ref) for k, v in named.items()}
        kind = type(op).__name__
        whole = False if self.on_torch else None
        call = Call(name, kind, {}, count, args, kwargs, "keras.layers", live=op, whole=whole)
        if isinstance(op, self.keras.layers.InputLayer):
            return replace(call, config=op.get_config())
        if not isinstance(op, self.keras.Layer):
            known = _is_of_keras(type(op))
            return (
                replace(call, config=_settings(op), module=OPERATIONS)
                if known
                else replace(call, whole=self._whole(name))
            )
        base = keras_class(op)
        if base is None:
            inner = self._inner(op, given, named)
            return replace(call, inner=inner) if inner else replace(call, whole=self._whole(name))
        if hasattr(op, "_nodes_by_depth") or getattr(op, "_functional", None) is not None:
            return replace(call, kind=base.__name__, inner=self.describe(op))
        if isinstance(op, self.keras.Sequential):
            return replace(call, whole=self._whole(name))
        config, function = _settings(op, base), own_activation(op)
        if function is not None:
            self._whole(name)
            config["activation"] = OwnFunction(function)
        return replace(call, kind=base.__name__, config=config)

    def _whole(self, name: str) -> bool:
        if not self.on_torch:
            raise NetworkError(f"layer {name!r} has code of your own: {ON_TORCH}")
        return True

    def _inner(self, layer: Any, args: Any, kwargs: Config) -> Description | None:
        """What a layer of a person's own is made of, where its code can be followed."""
        entries: list[Any] = []

        def fresh(value: Any) -> Any:
            if not isinstance(value, self.keras.KerasTensor):
                return value
            name = f"given_{len(entries)}"
            entries.append(self.keras.Input(batch_shape=value.shape, dtype=value.dtype, name=name))
            return entries[-1]

        given, named = self.keras.tree.map_structure(fresh, (tuple(args), dict(kwargs)))
        try:
            return self._followed(layer, given, named, entries) if self.follow else None
        except UnfollowedError:
            return None

    def _followed(self, layer: Any, args: Any, kwargs: Config, entries: list[Any]) -> Description:
        """A layer's or model's own code, called on tensors without numbers."""
        if "training" in inspect.signature(layer.call).parameters and kwargs.get("training") is None:
            kwargs = {**kwargs, "training": False}
        try:
            outputs = layer.call(*args, **kwargs)
            graph = self.keras.Model(entries, outputs, name="followed")
        except Exception as error:  # whatever a person's code raises on what is no tensor
            raise UnfollowedError(first_line(error)) from error
        return self.describe(graph, counted=True)


def _plain(value: Any, ref: Callable[[Any], Ref]) -> Any:
    """An argument of a call: Refs for tensors, arrays that the model holds as they are now, plain values."""
    if hasattr(value, "_keras_history"):
        return ref(value)
    if isinstance(value, list | tuple):
        return [_plain(v, ref) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v, ref) for k, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    keras = import_keras()
    if isinstance(value, keras.Variable | np.ndarray) or keras.ops.is_tensor(value):
        return Constant(np.array(keras.ops.convert_to_numpy(value)))
    return value


def _settings(op: Any, base: type | None = None) -> Config:
    """What a layer or operation was made with, as its config holds it."""
    if own_activation(op) is None:
        return dict(op.get_config() if base is None else base.get_config(op))  # type: ignore[attr-defined]
    names = inspect.signature(base or type(op)).parameters  # a config would hold the code
    return {n: getattr(op, n) for n in names if n not in ("self", "kwargs", "activation") and hasattr(op, n)}


def _counted(operations: Sequence[Any]) -> dict[int, str]:
    """Names of bare operations, counted within the model: `add`, `add_1`."""
    taken = {op.name for op in operations if not _is_bare(op)}
    names: dict[int, str] = {}
    for op in operations:
        if _is_bare(op):
            stem = snake_case(type(op).__name__)
            name = next(n for i in itertools.count() if (n := f"{stem}_{i}" if i else stem) not in taken)
            names[id(op)] = name
            taken.add(name)
    return names


def _is_bare(op: Any) -> bool:
    return not isinstance(op, import_keras().Layer)


@contextlib.contextmanager
def _left_as_it_was(model: Any) -> Iterator[None]:
    """What Keras notes of each call is taken back: the model is read, never changed."""
    layers = model._flatten_layers(include_self=True, recursive=True)
    before = [(layer, list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers]
    try:
        yield
    finally:
        for layer, inbound, outbound in before:
            layer._inbound_nodes[:], layer._outbound_nodes[:] = inbound, outbound
