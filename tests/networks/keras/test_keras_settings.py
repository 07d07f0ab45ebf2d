"""Nothing of a Keras model is left out without a word: settings, activations, calls, classes of a person's own."""

import json
import logging
import zipfile
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from tests.helpers.keras_comparison import fill, torch_outputs

from filterscope.errors import FilterscopeError, NetworkError
from filterscope.networks import open_network
from filterscope.networks.keras.build import read_graph

pytestmark = pytest.mark.filterwarnings("ignore:The object being serialized:UserWarning")
logging.getLogger("absl").setLevel(logging.ERROR)


def through(layer, *, before=()):
    return fill(keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(4, 3), *before, layer]))


def saved(model, path, kind):
    """The model itself, or as a file of one of Keras' formats."""
    if kind == "live":
        return model
    model.save(path / f"model.{kind}")
    return path / f"model.{kind}"


def entry(kind, **config):
    return {"class_name": kind, "config": {"name": "odd", **config}}


def graph_of(*entries):
    first = {"class_name": "InputLayer", "config": {"name": "picture", "batch_shape": [None, 8, 8, 3]}}
    return read_graph({"class_name": "Sequential", "config": {"name": "m", "layers": [first, *entries]}})


# --- settings -----------------------------------------------------------------------------------------------

CONV = {
    "filters": 4,
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "dilation_rate": [1, 1],
    "padding": "same",
    "use_bias": True,
}


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("Conv2D", {**CONV, "lora_rank": 4}, "the setting lora_rank=4"),
        ("Conv2D", {**CONV, "standardized": True}, "the setting standardized=True"),
        ("Conv2D", {**CONV, "padding": "causal"}, "padding 'causal' is not supported"),
        ("Dense", {"units": 3, "use_bias": True, "sparsity": [0.5, 2]}, r"the setting sparsity=\[0.5, 2\]"),
        ("BatchNormalization", {"axis": -1, "renorm": True}, "the setting renorm=True"),
        ("ReLU", {"max_value": 6, "leak": 0.1}, "the setting leak=0.1"),
        ("UpSampling2D", {"size": [2, 2], "antialias": "area"}, "the setting antialias='area'"),
        ("GlobalAveragePooling2D", {"data_format": None, "power": 3}, "the setting power=3"),
        ("ZeroPadding2D", {"padding": 1, "mode": "reflect"}, "the setting mode='reflect'"),
        ("Add", {"weights": [1, 2]}, r"the setting weights=\[1, 2\]"),
        ("Rescaling", {"scale": 2.0, "offset": 0, "dtype": "uint8"}, "computes in uint8"),
        ("Rescaling", {"scale": [2.0, 3.0], "offset": 0}, "expand"),
        ("Dense", {"units": 3, "use_bias": True, "dtype": "int8_from_float32"}, "is quantized"),
    ],
)
def test_settings_that_nothing_reads(kind, config, message):
    """A setting that no builder knows is refused by its name and value, unless it is off."""
    with pytest.raises(NetworkError, match=message):
        graph_of(entry(kind, **config))


def test_settings_that_are_off():
    """Newer versions write settings that are off, of which nothing need be known."""
    graph = graph_of(entry("Conv2D", **CONV, lora_rank=None, standardized=False, extras=[]))
    assert "odd" in graph.layers


WHOLE = [
    layers.Conv2D(3, 3),
    layers.DepthwiseConv2D(3),
    layers.SeparableConv2D(3, 3),
    layers.Conv2DTranspose(3, 3),
    layers.Dense(2),
    layers.BatchNormalization(),
    layers.LayerNormalization(),
    layers.GroupNormalization(2),
    layers.UnitNormalization(),
    layers.Normalization(mean=0.0, variance=1.0),
    layers.Rescaling(2.0),
    layers.ReLU(),
    layers.PReLU(),
    layers.Softmax(),
    layers.MaxPooling2D(),
    layers.AveragePooling2D(2),
    layers.GlobalMaxPooling2D(),
    layers.UpSampling2D(),
    layers.ZeroPadding2D(),
    layers.Cropping2D(),
    layers.CenterCrop(4, 4),
    layers.Resizing(4, 4),
    layers.Reshape((-1, 4)),
    layers.Permute((2, 1, 3)),
    layers.Flatten(),
    layers.Activation("relu"),
]


@pytest.mark.parametrize("layer", WHOLE, ids=lambda layer: type(layer).__name__)
def test_every_layer_refuses_what_it_does_not_know(layer):
    """All that Keras writes of a layer is read; what nobody has heard of is refused."""
    config = json.loads(json.dumps(layer.get_config()))
    first = entry("Conv2D", **CONV)
    kind = type(layer).__name__
    graph_of({"class_name": "Conv2D", "config": {**first["config"], "name": "first"}}, entry_of(kind, config))
    with pytest.raises(NetworkError, match="the setting unheard_of='of'"):
        graph_of(first, entry_of(kind, {**config, "unheard_of": "of"}))


def entry_of(kind, config):
    return {"class_name": kind, "config": config}


# --- activations --------------------------------------------------------------------------------------------


def squared(x):
    return ops.relu(x) ** 2


@keras.saving.register_keras_serializable("mine")
def silu(x):
    return x * 3


@keras.saving.register_keras_serializable("mine")
class ReLU(layers.Layer):
    def call(self, x):
        return x * 5


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (lambda x: ops.relu(x) ** 2, "a lambda for its activation"),
        (squared, "activation 'squared' has no counterpart"),
        (silu, "activation 'mine>silu' has no counterpart"),
        (ReLU(), "activation 'mine>ReLU' has no counterpart"),
        (layers.PReLU(), "has weights"),
    ],
)
@pytest.mark.parametrize("at", ["Conv2D", "Activation", "Dense"])
def test_activations_of_a_persons_own(tmp_path, kind, activation, message, at):
    """In a file they are refused, whatever they are called, and the message says how to open such a network."""
    layer = {
        "Conv2D": lambda: layers.Conv2D(2, 3, activation=activation),
        "Activation": lambda: layers.Activation(activation),
        "Dense": lambda: layers.Dense(2, activation=activation),
    }[at]()
    with pytest.raises(NetworkError, match=message):
        open_network(saved(through(layer), tmp_path, kind))


@pytest.mark.parametrize("kind", ["live", "keras", "h5"])
@pytest.mark.parametrize(
    "activation",
    ["gelu", keras.activations.gelu, ops.relu, layers.ReLU(max_value=2.0), layers.Softmax(), layers.ELU(0.3)],
)
def test_activations_of_keras_own(tmp_path, kind, activation):
    """Keras' functions by name and as themselves, and its layers with their settings, have Keras' numbers."""
    model = through(layers.Conv2D(3, 3, activation=activation, name="end"))
    assert_keras_numbers(model, saved(model, tmp_path, kind))


def assert_keras_numbers(model, source, name="end"):
    net = open_network(source)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 9, 9, 3)).astype(np.float32)
    found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2)))[name]
    wanted = keras.ops.convert_to_numpy(model(pixels))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


def test_a_function_as_keras_2_12_wrote_it():
    """There Keras' own functions are written as a person's are; of later names only a person's can be so written."""
    function = {"module": "builtins", "class_name": "function", "registered_name": "function"}
    graph = graph_of(entry("Conv2D", **CONV, activation={**function, "config": "relu"}))
    assert graph.layers["odd"].linear != graph.layers["odd"].output
    with pytest.raises(NetworkError, match="activation 'hard_shrink' has no counterpart"):
        graph_of(entry("Conv2D", **CONV, activation={**function, "config": "hard_shrink"}))


def test_what_a_file_cannot_tell(tmp_path):
    """A function that is called as one of Keras' is, and not registered, leaves the file of Keras' own: Keras itself reads
    it so, and so do we."""

    def gelu(x):
        return ops.relu(x) ** 2

    model = through(layers.Conv2D(3, 3, activation=gelu, name="end"))
    model.save(tmp_path / "model.keras")
    config = json.loads(zipfile.ZipFile(tmp_path / "model.keras").read("config.json"))
    assert config["config"]["layers"][-1]["config"]["activation"] == "gelu"
    assert_keras_numbers(keras.models.load_model(tmp_path / "model.keras"), tmp_path / "model.keras")


# --- classes ------------------------------------------------------------------------------------------------


class Flatten(layers.Layer):
    """Not Keras'."""

    def call(self, x):
        return x * 2


class GaussianNoise(layers.Layer):
    """Not Keras' either."""

    def call(self, x):
        return x * 2


@keras.saving.register_keras_serializable("mine")
class Dropout(layers.Layer):
    def call(self, x):
        return x * 2


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("own", [ReLU, Flatten, Dropout, GaussianNoise])
def test_classes_called_as_keras_own_are(tmp_path, kind, own):
    """In a `.h5` file a class has no module: one of a person's own shows by what it lacks, or by what Keras adds."""
    with pytest.raises(NetworkError, match="own"):
        open_network(saved(through(own(name="odd")), tmp_path, kind))


class Model(keras.Model):
    def call(self, x, training=None, mask=None):
        return super().call(x) * 5


class Functional(Model):
    """Called as Keras' is."""


@pytest.mark.parametrize(("kind", "own"), [("keras", Functional), ("keras", Model), ("h5", Model)])
@pytest.mark.parametrize("within", [False, True])
def test_models_called_as_keras_own_are(tmp_path, kind, own, within):
    """Also a whole model, and one within another."""
    entry = keras.Input((9, 9, 3))
    model = own(entry, layers.Conv2D(4, 3)(entry), name="odd")
    if within:
        model = keras.Sequential([entry, model, layers.Conv2D(2, 1)])
    with pytest.raises(NetworkError, match="of a class of its own"):
        open_network(saved(model, tmp_path, kind))


# --- calls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"args": [["PREVIOUS", 1.5]]}, "is called on a constant"),
        ({"args": ["PREVIOUS"], "kwargs": {"mask": [[1, 0]]}}, "mask is not supported"),
        ({"args": ["PREVIOUS"], "kwargs": {"power": 2}}, "is called with power=2"),
    ],
)
def test_calls_on_more_than_tensors(call, message):
    """Numbers, masks and settings of a layer's call are not left out."""
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["picture", 0, 0]}}
    node = json.loads(json.dumps({"kwargs": {}, **call}).replace('"PREVIOUS"', json.dumps(tensor)))
    picture: dict[str, Any] = {"class_name": "InputLayer", "name": "picture", "inbound_nodes": []}
    picture["config"] = {"name": "picture", "batch_shape": [None, 8, 8, 3]}
    odd = {**entry("Add"), "name": "odd", "module": "keras.layers", "inbound_nodes": [node]}
    ends = {"input_layers": [["picture", 0, 0]], "output_layers": [["odd", 0, 0]]}
    with pytest.raises(NetworkError, match=message):
        read_graph({"class_name": "Functional", "config": {"name": "m", "layers": [picture, odd], **ends}})


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_the_file_is_read_as_data(tmp_path, kind):
    """A marshalled function in a file is never decoded: it may hold anything."""
    model = through(layers.Conv2D(3, 3, activation=lambda x: x * 2))
    path = saved(model, tmp_path, kind)
    if kind == "h5":
        with h5py.File(path, "a") as file:
            text = file.attrs["model_config"]
            config = json.loads(text)
            config["config"]["layers"][-1]["config"]["activation"]["value"][0] = "no code at all"
            file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(FilterscopeError, match="lambda"):
        open_network(path)
