"""A live Keras model whose code needs values, where Keras runs on torch: run as it is, its layers captured through hooks.

Right but slower: all layers are computed for each that is asked for.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from filterscope.errors import NetworkError, first_line, is_out_of_memory
from filterscope.networks.input_spec import InputSpec
from filterscope.networks.keras.build import KerasGraph, Reader
from filterscope.networks.keras.config import Description
from filterscope.networks.keras.first import FORMAT, InKerasAxes
from filterscope.networks.keras.importing import import_keras
from filterscope.networks.keras.inputs import require_picture
from filterscope.networks.keras.layer_table import Row, layer_table, token_table
from filterscope.networks.keras.layers.activations import ACTIVATIONS
from filterscope.networks.keras.layers.base import Built
from filterscope.networks.keras.own import OwnCode, why_unfit
from filterscope.networks.keras.places import patches_among
from filterscope.networks.keras.source import live_weights
from filterscope.networks.weights.table import WeightTable
from filterscope.sides import as_size

Place = tuple[str, int]  # a layer's name and which call of it
END, BEFORE = "output", " before"


class HookedModel(OwnCode):
    """The model (B, C, H, W) to its output and then what each of `places` gives."""

    def __init__(self, model: Any, twin: Any, places: Sequence[Place] = ()):
        super().__init__(twin)
        self.values = tuple((v, v.value.detach().clone()) for v in model.variables)
        self.places = tuple(places)

    def called(self, tensors: Sequence[Tensor]) -> Any:
        found = self.all_of(tensors[0])
        return [found[END, 1], *(found[place] for place in self.places)]

    def all_of(self, pictures: Tensor) -> dict[Place, Tensor]:
        """What every layer gives for pictures (B, H, W, C), the model's own output first."""
        _local.found, _local.counts = {}, Counter()
        mapping = [(v, value.to(pictures.device)) for v, value in self.values]
        with import_keras().StatelessScope(state_mapping=mapping):
            result = self.held[0](pictures, training=False)
        whole = next(t for t in import_keras().tree.flatten(result) if isinstance(t, Tensor))
        found = {(END, 1): whole, **_local.found}
        _local.found = {}
        return found


_local = threading.local()  # what is captured: of each thread its own


def hooked_graph(model: Any, shape: Sequence[int | None]) -> tuple[KerasGraph, WeightTable]:
    """The graph and the weights of a model for pictures of a shape (batch, height, width, channels)."""
    require_picture(model.name, shape)
    names: dict[str, Any] = {}
    twin = _twin(model, "", names, {})
    example = (
        np.random.default_rng(0).uniform(0, 255, (2, *(int(s or 224) for s in shape[1:]))).astype(np.float32)
    )
    try:
        with torch.no_grad():
            captured = HookedModel(model, twin).all_of(torch.from_numpy(example))
    except Exception as error:  # whatever a person's code raises
        if is_out_of_memory(error):
            raise
        raise NetworkError(
            f"the forward pass of {type(model).__name__} failed: {type(error).__name__}: {first_line(error)}"
        ) from error
    places = [
        place
        for place, value in captured.items()
        if place != (END, 1) and value.ndim >= 2 and len(value) == 2
    ]
    module = HookedModel(model, twin, places)
    if (reason := why_unfit(module, [(example.shape[-1], *example.shape[1:-1])])) is not None:
        raise NetworkError(f"the forward pass of {type(model).__name__} {reason}")
    return _graph_of(model, module, names, example.shape)


def _graph_of(
    model: Any, module: HookedModel, names: dict[str, Any], shape: Sequence[int]
) -> tuple[KerasGraph, WeightTable]:
    reader = Reader(shape[1])
    reader.whole = Description((), ("input",), (), ())
    entry = reader.input("input", {"batch_shape": (None, *shape[1:])})
    given = reader.through(entry, InKerasAxes()) if entry.first else entry
    values = reader.add("captured", "captured", Built(module, window=None), [given])
    nodes = dict(zip(module.places, values[1:], strict=True)) | {(END, 1): values[0]}
    for (name, count), value in nodes.items():
        if name.endswith(BEFORE):
            continue
        row = name if count == 1 else f"{name}#{count}"
        kind = type(names[name]).__name__ if name in names else "Output"
        before = nodes.get((f"{name}{BEFORE}", count), value)
        linear = before if before.shape == value.shape else value
        built = Built(nn.Identity(), activation=_activation(names.get(name)))
        reader.rows[row] = Row(kind, replace(value, row=row), built, [entry.row], linear.node, row)
    patches = patches_among(reader)
    layers = {row.name: row for row in layer_table(reader, patches=patches)}
    tokens = {token.name: token for token in token_table(reader, layers, patches)}
    for name, layer in names.items():
        if name in layers:
            layers[name] = replace(layers[name], parameters=layer.count_params())
    reader.graph.output((reader.nodes[values[0].node],))
    channels, *sides = entry.shape
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    fixed = values[0].other is None
    spec = InputSpec(size=as_size(*sides), channels=channels, mean=zeros, std=ones, fixed=fixed)
    graph = KerasGraph(fx.GraphModule(reader.root, reader.graph).eval(), layers, {}, spec, tokens)
    return graph, live_weights(model, {}, {})


def _activation(layer: Any) -> nn.Module | None:
    """A layer's activation where it is one that tells classes apart, which is climbed by what goes into it."""
    function = vars(layer).get("activation") if layer is not None else None
    known = import_keras().activations
    name = next((n for n in ("softmax", "sigmoid") if getattr(known, n) is function), None)
    return ACTIVATIONS[name]() if name else None


def _twin(layer: Any, prefix: str, names: dict[str, Any], done: dict[int, Any]) -> Any:
    """A copy of the tree of layers that shares all else with the model, so that no hook is left in it."""
    if id(layer) in done:
        return done[id(layer)]
    twin = done[id(layer)] = object.__new__(type(layer))
    vars(twin).update(vars(layer))
    for hooks in [n for n in vars(layer) if n.endswith("_hooks")]:
        vars(twin)[hooks] = OrderedDict()
    keras = import_keras()

    def inner(value: Any) -> Any:
        if not isinstance(value, keras.Layer):
            return value
        name = prefix + value.name
        new = id(value) not in done
        found = _twin(value, f"{name}/", names, done)
        if new and name not in names:
            names[name] = value
            nn.Module.register_forward_hook(found, _note(name, value))
            function = vars(value).get("activation")
            if callable(function) and function is not keras.activations.linear:
                vars(found)["activation"] = _noting(name, value, function)
        return found

    vars(twin)["_modules"] = {n: inner(m) for n, m in vars(layer)["_modules"].items()}
    for name, value in vars(layer).items():
        if not name.startswith("_"):
            vars(twin)[name] = _replaced(value, inner)
    return twin


def _replaced(value: Any, inner: Callable[[Any], Any]) -> Any:
    """A list or dictionary of layers with their copies."""
    if isinstance(value, list | tuple) and any(inner(v) is not v for v in value):
        return [inner(v) for v in value]
    if isinstance(value, dict) and any(inner(v) is not v for v in value.values()):
        return {k: inner(v) for k, v in value.items()}
    return value


def _note(name: str, layer: Any) -> Callable[..., None]:
    def hook(_: nn.Module, __: Any, result: Any) -> None:
        tensor = next(_tensors(result), None)
        if tensor is not None:
            _local.counts[name] += 1
            _local.found[name, _local.counts[name]] = _channels_last(layer, tensor)

    return hook


def _noting(name: str, layer: Any, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A layer's activation, which notes what goes into it."""

    def noting(x: Tensor) -> Tensor:
        _local.found[f"{name}{BEFORE}", _local.counts[name] + 1] = _channels_last(layer, x)
        return function(x)

    return noting


def _channels_last(layer: Any, x: Tensor) -> Tensor:
    return x.movedim(1, -1) if getattr(layer, FORMAT, None) == "channels_first" and x.ndim == 4 else x


def _tensors(value: Any) -> Iterator[Tensor]:
    return (t for t in import_keras().tree.flatten(value) if isinstance(t, Tensor))
