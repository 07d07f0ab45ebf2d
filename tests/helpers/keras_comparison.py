"""Keras models with random weights, and every layer of an opened one beside Keras' own output."""

import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch

from filterscope.networks import Network
from filterscope.networks.keras.applications import APPLICATIONS
from filterscope.networks.keras.source import _make
from filterscope.networks.subgraph import cut

# the smallest pictures that the architecture takes, where 64 px are too few or need not be; NASNetMobile has but one
SIZES = {
    "vgg16": 32,
    "vgg19": 32,
    "xception": 75,
    "inceptionv3": 80,
    "inceptionresnetv2": 80,
    "nasnetlarge": 96,
}


def fill(model: Any, seed: int = 0) -> Any:
    """Seeded random weights, with batch-norm statistics that are not trivial and near what pictures give.

    Statistics at random alone make deep networks with gates chaotic: with them Keras' own outputs for
    EfficientNetV2S move by 99 % where the picture moves by 2e-7, and nothing can be compared. Statistics of
    pictures of full contrast alone leave ResNetV2 dead in the pale noise that an ascent starts from: all that
    follows its first max pool lies below that pool's mean.
    """
    rng = np.random.default_rng(seed)
    for layer in _layers(model):
        for variable in layer.weights:
            name, shape = variable.name, tuple(variable.shape)
            if name == "count":
                continue
            if "variance" in name or name in ("gamma", "scale"):
                values = rng.uniform(0.5, 1.5, shape)
            elif "kernel" in name or "embeddings" in name:
                depthwise = "Depthwise" in type(layer).__name__ or "depthwise" in name
                fan = np.prod(shape[:2] if depthwise else shape[:-1])
                values = rng.standard_normal(shape) * (1.5 / fan) ** 0.5
            else:  # moving means, betas, biases
                values = rng.normal(0, 0.2, shape)
            variable.assign(values.astype(np.float32))
        if hasattr(layer, "finalize_state"):  # Normalization works with copies of its weights
            layer.finalize_state()
    _calibrate(model, rng)
    return model


def _calibrate(model: Any, rng: np.random.Generator) -> None:
    """Moving means and variances near those of random pictures, moved by a tenth or so."""
    norms = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    shape = [side or 32 for side in model.input_shape[1:]]
    scaled = any(
        isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers[:4]
    )
    contrasts = np.geomspace(0.08, 1, 4)[:, None, None, None]  # the first as pale as an ascent's start
    pictures = contrasts * rng.uniform(-1, 1, (4, *shape))
    if scaled:
        pictures = 127.5 * (pictures + 1)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    keras.utils.set_random_seed(0)  # dropout
    model(pictures.astype(np.float32), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        mean, variance = (
            np.asarray(keras.ops.convert_to_numpy(v), np.float32)
            for v in (norm.moving_mean, norm.moving_variance)
        )
        spread = variance + variance.mean() + 1e-3
        norm.moving_variance.assign((spread * rng.uniform(0.8, 1.2, spread.shape)).astype(np.float32))
        norm.moving_mean.assign((mean + rng.normal(0, 0.1, mean.shape) * spread**0.5).astype(np.float32))


def _layers(model: Any) -> list[Any]:
    return [
        inner for layer in model.layers for inner in (_layers(layer) if hasattr(layer, "layers") else [layer])
    ]


def application(name: str, size: int | None = None) -> tuple[Any, int]:
    """The application as a Keras model with random weights, for small pictures, and their size."""
    size = size or SIZES.get(name, 64)
    shape = {} if name == "nasnetmobile" else {"input_shape": (size, size, 3)}
    return fill(
        _make(APPLICATIONS[name], weights=None, include_top=True, **shape)
    ), 224 if not shape else size


def keras_outputs(model: Any, fed: np.ndarray) -> dict[str, np.ndarray]:
    """What Keras itself computes at every layer and operation; `fed` is what the model takes, (B, H, W, C)."""
    model = getattr(model, "_functional", None) or model  # of a Sequential
    own = [op for op in model.operations if not isinstance(op, keras.layers.InputLayer)]
    # of a shared layer the first call; `op.output` of an inner model would be its own, within it
    ends = [_nodes_in(model, op)[0].output_tensors for op in own]
    probe = keras.Model(model.inputs[0], [end[0] for end in ends])
    values = probe(fed, training=False)
    values = values if isinstance(values, list | tuple) else [values]
    return {op.name: keras.ops.convert_to_numpy(v) for op, v in zip(own, values, strict=True)}


def _nodes_in(model: Any, op: Any) -> list[Any]:
    return [
        node for node in op._inbound_nodes if any(node in nodes for nodes in model._nodes_by_depth.values())
    ]


def torch_outputs(net: Network, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What the torch graph computes at every layer, after its activation, in Keras' order; x is preprocessed."""
    names = [name for name, row in net.layers.items() if row.kind != "InputLayer"]
    net.probe(names)
    nodes = {node.name: node for node in net.graph.graph.nodes}
    ends = [nodes[net.layers[name].output] for name in names]
    # tokens are shown as a map, and compared as they are
    whole = [
        n.all_input_nodes[0].name if n.name.startswith(("places_of_", "patches_of_")) else n.name
        for n in ends
    ]
    with torch.no_grad():
        values = cut(net.graph, whole)(x)
    return {n: (v.movedim(1, -1) if v.ndim > 2 else v).numpy() for n, v in zip(names, values, strict=True)}


def differences(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Of each layer, the largest difference over the largest value; shapes must agree."""
    errors = {}
    for name, value in wanted.items():
        if found[name].shape != value.shape:
            raise ValueError(f"{name}: {found[name].shape} instead of {value.shape}")
        errors[name] = float(np.abs(found[name] - value).max() / max(np.abs(value).max(), 1e-6))
    return errors


def compared(model: Any, net: Network, size: int, *, raw: bool) -> dict[str, float]:
    """The differences at every layer for two random pictures; `raw` where the model does its own preprocessing."""
    pixels = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    x = net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    fed = pixels if raw else x.permute(0, 2, 3, 1).numpy()
    return differences(torch_outputs(net, x), keras_outputs(model, fed))
