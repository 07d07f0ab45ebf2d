"""What is asked of Keras itself: an application's config, its published weights, a live model's tensors."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from filterscope.errors import DownloadError, first_line
from filterscope.networks.keras.applications import (
    APPLICATIONS,
    EFFICIENTNET_MEAN,
    EFFICIENTNET_STD,
    Application,
    canonical_names,
    corrected,
    renamed,
)
from filterscope.networks.keras.build import read_graph
from filterscope.networks.keras.importing import import_keras
from filterscope.networks.weights.table import Slots, Table, WeightTable, sha256_arrays


def application_config(name: str, *, include_top: bool = True, published: bool = True) -> dict[str, Any]:
    """The serialised graph of a Keras application, made without allocating any weights, names counted anew.

    EfficientNet is as Keras builds it for its published weights, or else for any others.
    """
    keras = import_keras()
    application = APPLICATIONS[name]
    with _forgotten_variables(), keras.StatelessScope(initialize_variables=False):
        model = _make(application, weights=None, include_top=include_top)
    config = model.get_config()
    config = renamed(config, canonical_names(config))
    return {
        "class_name": "Functional",
        "config": corrected(config) if published and application.corrected else config,
    }


@contextlib.contextmanager
def _forgotten_variables() -> Iterator[None]:
    """Variables made here are not on Keras' list of those that are still to be filled: the next model that a person builds
    would fill them all, which is gigabytes after a few applications."""
    try:
        state = importlib.import_module("keras.src.backend.common.global_state")
    except ImportError:  # another version of Keras keeps it elsewhere, or has no such list
        yield
        return
    before = list(state.get_global_attribute("uninitialized_variables") or [])
    try:
        yield
    finally:
        state.set_global_attribute("uninitialized_variables", before)


def _make(application: Application, **settings: Any) -> Any:
    """The Keras model of an application."""
    keras = import_keras()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on input shapes that are left to their defaults
        if application.function == "NASNetMobile" and keras.backend.backend() == "torch":
            # Keras refuses NASNetMobile on torch, where its own pooling differs; the graph and the weights are the same
            nasnet = importlib.import_module("keras.src.applications.nasnet")
            shape = None if settings["include_top"] else (224, 224, 3)
            return nasnet.NASNet(
                shape, 1056, 4, 32, False, 2, default_size=224, name="nasnet_mobile", **settings
            )
        return getattr(keras.applications, application.function)(**settings)


@dataclass
class DownloadedWeights:
    """The weights that Keras publishes, downloaded and cached by Keras: only the file that a layer needs."""

    name: str
    slots: Slots
    label: str = "Keras' published weights"
    path: Path | None = None
    parts: dict[bool, WeightTable] = field(default_factory=dict)
    _hidden: frozenset[str] | None = None

    @property
    def sha256(self) -> str:
        """Over the hidden layers' tensors, so that it is the same whether the classes are loaded or not."""
        part = next(iter(self.parts.values())) if self.parts else self._part(False)
        return part.sha256

    @property
    def hidden(self) -> frozenset[str]:
        """The layers that the file without the classes covers."""
        if self._hidden is None:
            graph = read_graph(application_config(self.name, include_top=False))
            self._hidden = frozenset(graph.layers)
        return self._hidden

    def covers(self, layer: str) -> bool:
        return True

    def is_here(self, layer: str) -> bool:
        """Whether the file that covers the layer has been read already."""
        return layer not in self.slots or True in self.parts or (layer in self.hidden and bool(self.parts))

    def tensors(self, layer: str) -> list[np.ndarray] | None:
        """What the layer's weights are expected to be, for EfficientNet's Normalization; None for all others."""
        if not APPLICATIONS[self.name].corrected or layer != "normalization":
            return None
        return [np.asarray(EFFICIENTNET_MEAN), np.asarray(EFFICIENTNET_STD)]

    def load(self, module: nn.Module, layer: str) -> None:
        if layer in self.slots:
            self._part(layer not in self.hidden).load(module, layer)

    def _part(self, top: bool) -> WeightTable:
        top = top or True in self.parts
        if top not in self.parts:
            model = self._fetch(top)
            names = canonical_names(model.get_config())
            unhashed = [layer for layer in self.slots if layer not in self.hidden]
            self.parts[top] = model_weights(
                model, self.slots, names=names, unhashed=unhashed, known_only=True
            )
        return self.parts[top]

    def _fetch(self, top: bool) -> Any:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # standard output is the result's
                return _make(APPLICATIONS[self.name], weights="imagenet", include_top=top)
        except Exception as error:  # Keras raises a bare Exception for any failed download
            raise DownloadError(
                f"the weights of {self.name} could not be downloaded ({first_line(error)}); pass a file you have "
                f"as weights=FILE, or use tiny-vgg16, which needs no download"
            ) from error


def downloaded_weights(name: str, slots: Slots) -> DownloadedWeights:
    """Keras' published weights for an application; nothing is downloaded before a layer needs it."""
    return DownloadedWeights(name, slots)


def model_weights(
    model: Any,
    slots: Slots,
    *,
    names: Mapping[str, str] | None = None,
    unhashed: Sequence[str] = (),
    known_only: bool = False,
) -> WeightTable:
    """The tensors of a live Keras model, on whatever backend it runs; copied, never changed.

    `names` renames layers. Layers named in `unhashed` are left out of the weights' sha256. With `known_only` layers
    that the network does not have are passed over: ConvNeXt without its classes ends in a norm of its own.
    """
    table = {
        name: layer_tensors(weights)
        for name, weights in _weights_of(model, names or {})
        if name in slots or not known_only
    }
    weights = WeightTable(f"the model {model.name!r}", slots, table, lambda: _digest(table, unhashed))
    weights.check()
    return weights


def live_weights(model: Any, slots: Slots, layers: Mapping[str, Any]) -> WeightTable:
    """The tensors of a live model's layers, given by the names that they have in the network, which differ from the
    model's own where a person's own layers are made of others."""
    table = {name: layer_tensors(layers[name].weights) for name in slots}
    whole = {"model": layer_tensors(model.weights)}  # also what the network holds as constants
    weights = WeightTable(f"the model {model.name!r}", slots, table, lambda: _digest(whole, ()))
    weights.check()
    return weights


def layer_tensors(weights: Sequence[Any]) -> list[tuple[str, tuple[int, ...], Callable[[], np.ndarray]]]:
    """(name, shape, a function that reads it) for each of a layer's variables."""
    keras = import_keras()

    def reader(variable: Any) -> Callable[[], np.ndarray]:
        return lambda: _float32(keras.ops.convert_to_numpy(variable.value))

    return [(title, tuple(v.shape), reader(v)) for title, v in zip(_titles(weights), weights, strict=True)]


def _digest(table: Table, unhashed: Sequence[str]) -> str:
    rows = {n: tensors for n, tensors in table.items() if n not in unhashed}
    return sha256_arrays({f"{n}/{name}": read() for n, tensors in rows.items() for name, _, read in tensors})


def _weights_of(model: Any, names: Mapping[str, str], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Each layer of the model, and of models within it, that has weights, with them."""
    for layer in model.layers:
        name = prefix + names.get(layer.name, layer.name)
        if hasattr(layer, "layers"):
            yield from _weights_of(layer, names, f"{name}/")
        elif layer.weights:
            yield name, list(layer.weights)


def _titles(variables: Sequence[Any]) -> list[str]:
    """The variables' names, told apart by their count where a layer of several parts has the same name twice."""
    seen: Counter[str] = Counter()
    titles = []
    for variable in variables:
        seen[variable.name] += 1
        titles.append(variable.name if seen[variable.name] == 1 else f"{variable.name} {seen[variable.name]}")
    return titles


def _float32(value: Any) -> np.ndarray:
    return np.array(value, dtype=np.float32)  # also from bfloat16, as Keras' mixed precision keeps some
