"""Keras networks opened: an application by name, a model file, a live model."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from filterscope.catalog import EMBEDDED
from filterscope.errors import NetworkError
from filterscope.networks.keras.applications import (
    APPLICATIONS,
    BUILT_IN,
    EFFICIENTNET_MEAN,
    EFFICIENTNET_STD,
    application_called,
)
from filterscope.networks.keras.archive import archived_config, archived_weights
from filterscope.networks.keras.build import KerasGraph, read_graph
from filterscope.networks.keras.checked import checked_graph
from filterscope.networks.keras.kept import opened_once
from filterscope.networks.keras.live import LiveReader, has_own_code, keras_class, require_one_picture
from filterscope.networks.keras.preprocessing import lift_preprocessing
from filterscope.networks.keras.source import (
    application_config,
    downloaded_weights,
    model_weights,
)
from filterscope.networks.network import Network
from filterscope.networks.weights.files import open_weights
from filterscope.networks.weights.hdf5 import hdf5_config
from filterscope.networks.weights.table import (
    RANDOM,
    WeightSource,
    WeightTable,
    random_weights,
    warn_of_random,
)

log = logging.getLogger("filterscope")

_DATA = resources.files("filterscope.networks") / "data"
Path_ = str | os.PathLike[str]


def open_application(name: str, weights: Path_ | None) -> Network:
    """A network of keras.applications, with the weights that Keras publishes, those of a file, or random ones."""
    graph = _known_graph(name)
    if weights is None:
        downloads = downloaded_weights(name, graph.slots)
        lift_preprocessing(graph, downloads.tensors, surely=False)
        return _network(name, graph, downloads, _classes(name))
    if str(weights) == RANDOM:
        fed = {"normalization": {"mean": EFFICIENTNET_MEAN, "variance": EFFICIENTNET_STD}}
        return _random(name, graph, fed if APPLICATIONS[name].corrected else {})
    source = open_weights(Path(weights), graph.slots)
    if APPLICATIONS[name].corrected and not _published(source):
        graph = read_graph(application_config(name, published=False))
    return _network(name, graph, source, _classes(name))


def _published(source: WeightTable) -> bool:
    """Whether EfficientNet's weights are of the kind that needs the Rescaling which Keras adds for them."""
    values = source.tensors("normalization")
    return values is None or np.allclose(values[1], EFFICIENTNET_STD, atol=1e-3)


def open_embedded(weights: Path_ | None) -> Network:
    """The network that ships in the package, with its own weights, those of a file, or random ones."""
    graph = _known_graph(EMBEDDED)
    if str(weights) == RANDOM:
        return _random(EMBEDDED, graph, {})
    with resources.as_file(_DATA / f"{EMBEDDED}.safetensors") as own:
        source = open_weights(Path(weights or own), graph.slots)
    return _network(EMBEDDED, graph, source, _classes(EMBEDDED))


def _random(name: str, graph: KerasGraph, known: Mapping[str, Mapping[str, Sequence[float]]]) -> Network:
    warn_of_random(name)
    found = _network(name, graph, random_weights(graph.slots, known), _classes(name))
    return dataclasses.replace(found, random=True)


def _own_weights(name: str, weights: Path_ | None) -> None:
    """NetworkError where random weights are asked for in place of those that a model carries."""
    if str(weights) == RANDOM:
        raise NetworkError(f"{name} has weights of its own: leave out weights='random'")


def _known_graph(name: str) -> KerasGraph:
    """The graph of a network that opens by name, with its input spec where the graph does not hold it."""
    if name == EMBEDDED:
        return read_graph(json.loads((_DATA / f"{EMBEDDED}.json").read_text()), size=64)
    graph = read_graph(application_config(name))
    spec = APPLICATIONS[name].input
    if spec is not BUILT_IN:
        graph.input = dataclasses.replace(spec, size=graph.input.size, fixed=graph.input.fixed)
    return graph


def _recognized(name: str, graph: KerasGraph) -> tuple[Sequence[Sequence[str]], bool]:
    """Where a model is one that opens by name (its name and all its weights' shapes are), that one's class names, and
    whether its pictures are fed as that one's are: the graph takes its input spec, which a Keras model does not carry,
    where nothing more stands before its first weights, as its own `preprocess_input` would."""
    known_name = name if name == EMBEDDED else application_called(name)
    if known_name is None or not graph.slots:
        return (), False
    shapes = [[slot.shape for slot in tensors] for _, tensors in graph.slots.values()]
    known = _known_graph(known_name)
    if shapes != [[slot.shape for slot in tensors] for _, tensors in known.slots.values()][: len(shapes)]:
        return (), False
    if _front(graph) != _front(known):
        return _classes(known_name), False
    if known_name == EMBEDDED:
        graph.input = dataclasses.replace(graph.input, size=known.input.size)
    elif APPLICATIONS[known_name].input is not BUILT_IN:
        graph.input = dataclasses.replace(known.input, size=graph.input.size, fixed=graph.input.fixed)
    return _classes(known_name), True


def _front(graph: KerasGraph) -> list[str]:
    """The kinds of the layers up to the first that has weights."""
    rows = graph.layers.values()
    return [row.kind for row in itertools.takewhile(lambda row: not row.parameters, rows)]


def open_keras_file(path: Path, weights: Path_ | None) -> Network:
    """A whole model in a file: Keras 3's `.keras`, or `.h5` of any Keras."""
    _own_weights(path.name, weights)
    if not path.is_file():
        raise NetworkError(f"there is no model file {str(path)!r}")
    if path.suffix == ".keras":
        config = archived_config(path)
    elif path.suffix in (".h5", ".hdf5"):
        config = hdf5_config(path)
    else:
        raise NetworkError(f"{str(path)!r}: a model file ends in .keras or .h5")
    graph = _read(config, path.name)
    source: WeightTable
    if weights is not None:
        source = open_weights(Path(weights), graph.slots)
    elif path.suffix == ".keras":
        source = archived_weights(path, graph.slots)
    else:
        source = open_weights(path, graph.slots)
    classes, fed = _recognized(
        str(config["config"].get("name")) if isinstance(config["config"], dict) else "", graph
    )
    return _network(path.stem, graph, source, classes, known=fed)


def _read(config: Any, name: str) -> KerasGraph:
    """The graph of a config that came from anywhere: whatever is wrong with it is said, never a traceback."""
    try:
        return read_graph(config)
    except NetworkError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        StopIteration,
        TypeError,
        ValueError,
    ) as error:
        raise NetworkError(
            f"the config of {name} describes no model: {type(error).__name__} {error}"
        ) from error


def open_keras_model(model: Any, weights: Path_ | None) -> Network:
    """A live Keras model on any backend; it is read and never changed. Opened again as it was, without weights of a file,
    it is what was made of it before."""
    _own_weights(str(model.name), weights)
    if weights is None:
        return opened_once(model, lambda: _opened_model(model, None))
    return _opened_model(model, weights)


def _opened_model(model: Any, weights: Path_ | None) -> Network:
    require_one_picture(model)
    graph, own = _live_graph(model)
    source = open_weights(Path(weights), graph.slots) if weights else own or model_weights(model, graph.slots)
    classes, fed = _recognized(model.name, graph)
    return _network(model.name, graph, source, classes, known=fed)


def _live_graph(model: Any) -> tuple[KerasGraph, WeightTable | None]:
    """The graph of a live model, with its weights where it holds a person's own code."""
    base = keras_class(model)
    if base is None or has_own_code(model):
        return checked_graph(model)
    try:
        config = model.get_config()
    except Exception:  # what Keras cannot write down: a variable among a call's arguments
        return checked_graph(model)
    try:
        return read_graph({"class_name": base.__name__, "config": config}), None
    except NetworkError as cause:
        if not LiveReader().on_torch or not model.built:
            raise
        try:
            return checked_graph(model)  # with the layers that nothing here builds run as they are
        except NetworkError:
            raise cause from None


def is_keras_model(model: Any) -> bool:
    """Whether an object is a Keras model, told by its classes' names: Keras is not imported for it."""
    return any(
        c.__module__.partition(".")[0] == "keras" and c.__name__ == "Model" for c in type(model).__mro__
    )


def _network(
    name: str,
    graph: KerasGraph,
    weights: WeightSource,
    classes: Sequence[Sequence[str]],
    *,
    known: bool = True,
) -> Network:
    """`known` says whether it is known how the network wants its pictures; its own Rescaling tells too."""
    if graph.random:
        log.warning(
            "%s: %s would act at random (called with training=True); that is left out",
            name,
            ", ".join(graph.random),
        )
    known |= isinstance(weights, WeightTable) and lift_preprocessing(graph, weights.tensors)
    layers = {n: dataclasses.replace(row, trained=weights.covers(n)) for n, row in graph.layers.items()}
    guessed = () if known else ("range",)
    return Network(
        name, graph.graph, layers, graph.input, weights, classes, tokens=graph.tokens, guessed=guessed
    )


def _classes(name: str) -> Sequence[Sequence[str]]:
    """For each class of a network that opens by name (name, WordNet id), in the order of its outputs."""
    file = "tiny-imagenet-classes.json" if name == EMBEDDED else "imagenet-classes.json"
    rows = json.loads((_DATA / file).read_text(encoding="utf-8"))
    return [(title, wnid) for wnid, title in rows]
