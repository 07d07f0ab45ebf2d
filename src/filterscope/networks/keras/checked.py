"""A live Keras model that holds a person's own code as a graph, tried against the model itself."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from filterscope.errors import NetworkError, first_line, is_out_of_memory
from filterscope.networks.keras.build import KerasGraph, build_graph
from filterscope.networks.keras.config import Description
from filterscope.networks.keras.hooked import hooked_graph
from filterscope.networks.keras.importing import import_keras
from filterscope.networks.keras.inputs import require_picture, several_inputs
from filterscope.networks.keras.layers.base import keras_order
from filterscope.networks.keras.live import ON_TORCH, LiveReader, UnfollowedError, keras_class
from filterscope.networks.keras.source import live_weights
from filterscope.networks.weights.table import WeightTable

log = logging.getLogger("filterscope")

TOLERANCE = 1e-3  # of the largest output: float32 sums in another order, through deep networks
USUAL = 224  # the side of pictures of a model that leaves it open


def checked_graph(model: Any) -> tuple[KerasGraph, WeightTable]:
    """The graph and the weights of a live model with code of a person's own, which gives the model's numbers.

    NetworkError where its code cannot be followed and Keras does not run on torch, and where it gives other numbers each
    time.
    """
    shape = input_shape(model)
    problem: Exception | None = None
    try:
        descriptions = [*_descriptions(model, shape)]
    except UnfollowedError as error:
        if not LiveReader().on_torch:
            raise NetworkError(
                f"the code of {type(model).__name__} cannot be followed on a picture without numbers ({error}); {ON_TORCH}"
            ) from error
        log.info("%s runs as it is, which is right but slower: %s", model.name, error)
        return hooked_graph(model, shape)
    for description in descriptions:
        for alone in (False, True) if None in shape[1:3] or keras_class(model) is None else (True,):
            graph = build_graph(description, size=USUAL, alone=alone)
            weights = live_weights(model, graph.slots, graph.live)
            for name in graph.slots:
                weights.load(graph.graph, name)
            try:
                _compare(model, graph, alone)
            except _OtherNumbersError as error:
                problem = error
                continue
            _ = weights.sha256  # of the numbers as they are now: own layers keep them
            return graph, weights
    raise NetworkError(f"{model.name}: {problem}") from problem


def _descriptions(model: Any, shape: tuple[int | None, ...]) -> Iterator[Description]:
    """The model with a person's own code followed, then as far as it is layers of its own, kept whole."""
    reader = LiveReader()
    yield reader.read(model, shape)
    if reader.on_torch:
        with contextlib.suppress(UnfollowedError):
            yield LiveReader(follow=False).read(model, shape)


def input_shape(model: Any) -> tuple[int | None, ...]:
    """The shape (batch, height, width, channels) of the pictures that a model was made for or called on."""
    if getattr(model, "inputs", None):
        return tuple(model.inputs[0].shape)
    arguments = inspect.signature(model.call).parameters.values()
    needed = [
        p.name for p in arguments if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    asked = [name for name in needed if name not in ("training", "mask")]
    if len(asked) > 1:
        raise NetworkError(several_inputs(asked))
    built = model.get_build_config() or {}
    found, several = built.get("input_shape"), built.get("shapes_dict")
    if isinstance(found, dict):
        several = found
    elif isinstance(found, list | tuple) and any(isinstance(n, list | tuple) for n in found):
        several = {f"input {i}": n for i, n in enumerate(found)}
    if several and len(several) > 1:
        raise NetworkError(several_inputs([name.removesuffix("_shape") for name in several]))
    if several:
        raise NetworkError(
            f"{type(model).__name__} takes its picture in a dictionary or list: make a model that takes the picture itself"
        )
    if not isinstance(found, list | tuple):
        raise NetworkError(
            f"{type(model).__name__} was never called on pictures, so that its layers have no shapes: call it once on a "
            "batch of pictures before it is opened"
        )
    require_picture("input", (None, *found[1:]))
    return (None, *found[1:])


class _OtherNumbersError(Exception):
    """The graph does not compute what the model does."""


def _compare(model: Any, graph: KerasGraph, alone: bool) -> None:
    spec = graph.input
    height, width = graph.layers[next(iter(graph.layers))].output_shape[1:]
    sizes = [(height, width)] if alone or spec.fixed else [(height, width), (height + 32, width + 32)]
    for size in sizes:
        pixels = np.random.default_rng(0).uniform(0, 255, (2, spec.channels, *size)).astype(np.float32)
        axes = {"last": (0, 2, 3, 1), "first": (0, 1, 2, 3), "none": (0, 2, 3, 1)}[graph.entry]
        given = pixels.transpose(axes)[..., 0] if graph.entry == "none" else pixels.transpose(axes)
        wanted, again = _outputs(model, given), _outputs(model, given)
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(wanted, again, strict=True)):
            raise NetworkError(
                f"{model.name}: its forward pass gives other numbers each time for the same picture (random numbers?)"
            )
        with torch.no_grad():
            found = graph.graph.forward(torch.from_numpy(pixels))
        for value, first, theirs in zip(found, graph.firsts, wanted, strict=True):
            ours = (value if first else keras_order(value)).numpy()
            if not _alike(ours, theirs):
                raise _OtherNumbersError(
                    f"what was read of it gives other numbers at {size[0]} x {size[1]} px"
                )


def _alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if ours.shape != theirs.shape:
        return False
    scale = max(1e-12, float(np.abs(theirs).max(initial=0)))
    return np.allclose(ours / scale, theirs / scale, rtol=0, atol=TOLERANCE, equal_nan=True)


def _outputs(model: Any, pixels: np.ndarray) -> list[np.ndarray]:
    keras = import_keras()
    try:
        with torch.no_grad():
            given = getattr(model, "_inputs_struct", None)
            found = model(
                pixels if given is None else keras.tree.pack_sequence_as(given, [pixels]), training=False
            )
    except Exception as error:  # whatever a person's code raises at another size
        if is_out_of_memory(error):
            raise
        raise _OtherNumbersError(
            f"it does not run at {pixels.shape[1]} x {pixels.shape[2]} px: {first_line(error)}"
        ) from error
    return [np.asarray(keras.ops.convert_to_numpy(value)) for value in keras.tree.flatten(found)]
