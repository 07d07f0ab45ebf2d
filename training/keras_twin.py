"""The same network as a Keras functional model: its config, and the `.keras` file.

Layers in order: `input_layer` (any size), `preprocessing` (RGB 0..255 to what the network was trained
on), the architecture's own, `predictions` (linear), `softmax`.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from training.architectures import INPUT, MEAN, STD, Layer, architecture
from training.errors import TrainingError
from training.files import write_whole
from training.folding import Weights
from training.measure import Classifier

if TYPE_CHECKING:
    import keras


def keras_model(arch: str, classes: int) -> "keras.Model":
    """The folded network as an uncompiled Keras model with fresh weights, named as the architecture."""
    keras = _keras()
    image = keras.Input((None, None, 3), name="input_layer")
    scale, offset = [1 / s for s in STD], [-m / s for m, s in zip(MEAN, STD, strict=True)]
    values = {INPUT: keras.layers.Rescaling(scale, offset, name=INPUT)(image)}
    for layer in architecture(arch, classes):
        values[layer.name] = _apply(keras, layer, [values[name] for name in layer.inputs])
    return keras.Model(image, keras.layers.Softmax(name="softmax")(values["predictions"]), name=arch)


def fill(model: "keras.Model", weights: Weights) -> "keras.Model":
    """The model with these folded weights, as float32."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(
                [weights[f"{layer.name}/{part}"].float().numpy() for part in ("kernel", "bias")]
            )
    return model


def config(model: "keras.Model") -> dict[str, Any]:
    """What Keras writes as config.json into a .keras file: {"class_name": "Functional", "config": ...}."""
    return json.loads(json.dumps(_keras().saving.serialize_keras_object(model)))


def save_twin(model: "keras.Model", path: Path) -> None:
    """Write the model as a whole .keras file."""
    if path.suffix != ".keras":
        raise TrainingError(f"a Keras file is called *.keras, received {path.name}")
    write_whole(path, model.save)


def open_twin(path: Path) -> Classifier:
    """A `.keras` file as a classifier that Keras itself runs: RGB 0..255 (B, 3, H, W) to its output."""
    keras = _keras()
    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"cannot read the Keras model {path}: {error}") from error

    def classify(pixels: Tensor) -> Tensor:
        return torch.from_numpy(model.predict_on_batch(pixels.permute(0, 2, 3, 1).numpy()))

    return classify


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def _apply(keras: Any, layer: Layer, inputs: list[Any]) -> Any:
    layers = keras.layers
    match layer.kind:
        case "conv":
            return _convolve(layers, layer, inputs[0])
        case "max_pool":
            return layers.MaxPooling2D(2, name=layer.name)(inputs[0])
        case "add":
            return layers.Add(name=layer.name)(inputs)
        case "relu":
            return layers.Activation("relu", name=layer.name)(inputs[0])
        case "global_pool":
            return layers.GlobalAveragePooling2D(name=layer.name)(inputs[0])
        case "dense":
            return layers.Dense(layer.channels, name=layer.name)(inputs[0])


def _convolve(layers: Any, layer: Layer, x: Any) -> Any:
    """A strided 3 x 3 is padded by a layer of its own: Keras' `same` would pad one side only."""
    padding = "same"
    if layer.stride > 1:
        padding = "valid"
        if layer.kernel > 1:
            x = layers.ZeroPadding2D(layer.kernel // 2, name=layer.name.removesuffix("conv") + "pad")(x)
    return layers.Conv2D(
        layer.channels,
        layer.kernel,
        layer.stride,
        padding,
        activation="relu" if layer.relu else None,
        name=layer.name,
    )(x)
