"""Live Keras models with a person's own code: the model's own numbers, under the names of its layers."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from tests.helpers.keras_comparison import fill, torch_outputs

import filterscope as fs
from filterscope.errors import NetworkError
from filterscope.networks import open_network

pytestmark = pytest.mark.filterwarnings("ignore:The object being serialized:UserWarning")


class Swish(layers.Layer):
    def call(self, x):
        return x * ops.sigmoid(2 * x)


class Block(layers.Layer):
    """Layers of its own, a weight of its own, and a choice by `training`."""

    def __init__(self, width, **settings):
        super().__init__(**settings)
        self.conv = layers.Conv2D(width, 3, padding="same", activation="relu", name="conv")
        self.norm = layers.BatchNormalization(name="norm")
        self.swish = Swish(name="swish")

    def build(self, shape):
        self.gain = self.add_weight(shape=(self.conv.filters,), initializer="uniform", name="gain")
        self.conv.build(shape)
        self.norm.build((*shape[:-1], self.conv.filters))

    def call(self, x, training=False):
        y = self.norm(self.conv(x), training=training) * self.gain
        return self.swish(y) + (100.0 if training else 1.0)


class OfTorch(layers.Layer):
    """What only runs on numbers."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = layers.Dense(4, name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return torch.nn.functional.mish(self.dense(x))


class Conv2D(layers.Conv2D):
    """Called as Keras' is."""

    def call(self, x):
        return super().call(x) * 2


class Narrow(layers.Conv2D):
    """Keras' own but for a default."""

    def __init__(self, filters, **settings):
        super().__init__(filters, 3, padding="same", **settings)


def gelu(x):
    return ops.relu(x) ** 2


def numbers(model, net, *, size=12, channels=3, axes=(0, 2, 3, 1)):
    """(ours, Keras' own) of the model's output for two pictures."""
    pixels = np.random.default_rng(0).uniform(0, 255, (2, channels, size, size)).astype(np.float32)
    with torch.no_grad():
        wanted = keras.ops.convert_to_numpy(model(pixels.transpose(axes)))
    last = list(net.layers)[-1]
    found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels)))[last]
    return found, wanted


def assert_alike(found, wanted):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-3 * max(1, np.abs(wanted).max())


OWN = {
    "lambda in front": lambda: [layers.Lambda(lambda x: x / 127.5 - 1), layers.Conv2D(4, 3)],
    "lambda behind": lambda: [layers.Conv2D(4, 3), layers.Lambda(lambda x: ops.maximum(x, 0) ** 2)],
    "lambda of torch": lambda: [layers.Conv2D(4, 3), layers.Lambda(torch.nn.functional.mish)],
    "layer": lambda: [layers.Conv2D(4, 3), Swish()],
    "block": lambda: [Block(4, name="block"), layers.Conv2D(2, 1)],
    "of torch": lambda: [layers.Conv2D(4, 3), OfTorch(name="odd"), layers.Dense(2)],
    "called as one of Keras'": lambda: [Conv2D(4, 3), layers.Conv2D(2, 1)],
    "a default": lambda: [Narrow(4), layers.Conv2D(2, 1)],
    "lambda as activation": lambda: [layers.Conv2D(4, 3, activation=lambda x: ops.relu(x) ** 2)],
    "function as activation": lambda: [layers.Conv2D(4, 3, activation=gelu)],
    "torch's function": lambda: [layers.Conv2D(4, 3, activation=torch.nn.functional.mish)],
    "Keras' operation": lambda: [layers.Conv2D(4, 3, activation=ops.gelu)],
    "layer as activation": lambda: [layers.Conv2D(4, 3, activation=Swish())],
    "Activation of one's own": lambda: [layers.Conv2D(4, 3), layers.Activation(gelu)],
    "a layer without a counterpart": lambda: [
        layers.Conv2D(4, 3),
        layers.SpectralNormalization(layers.Conv2D(3, 3)),
    ],
    "a setting without one": lambda: [layers.Conv2D(4, 3), layers.Resizing(5, 5, antialias=True)],
    "a model within": lambda: [
        keras.Sequential([keras.Input((12, 12, 3)), Block(4)], name="inner"),
        layers.Dense(2),
    ],
}


@pytest.mark.parametrize("name", OWN)
def test_own_code(name):
    """Functions, layers, blocks: Keras' numbers, also where a name says one of Keras' own."""
    model = fill(keras.Sequential([keras.Input((12, 12, 3)), *OWN[name]()]))
    before = {n: len(layer._inbound_nodes) for layer in model.layers for n in [layer.name]}
    net = open_network(model)
    assert_alike(*numbers(model, net))
    assert {n: len(layer._inbound_nodes) for layer in model.layers for n in [layer.name]} == before


def test_layers_within_own_layers():
    """What a block is made of has rows of its own, with what goes before an activation, and its weights' count."""
    model = fill(
        keras.Sequential([keras.Input((12, 12, 3)), Block(4, name="block"), layers.Dense(2, name="end")])
    )
    net = open_network(model)
    assert {"block/conv", "block/norm", "block/swish", "block/swish/sigmoid", "block", "end"} <= set(
        net.layers
    )
    conv = net.layer("block/conv")
    assert conv.linear != conv.output
    assert conv.parameters == 4 * 27 + 4
    picture = fs.visualize(model, "block/conv:1", steps=3, size=12, progress=False)
    assert picture.image.shape == (12, 12, 3)


def test_weights_as_they_are():
    """The network keeps the weights that it was opened with, its own layers' too; opening changes none."""
    model = fill(keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(4, 3), OfTorch(name="odd")]))
    kept = [np.array(w) for w in model.get_weights()]
    net = open_network(model)
    found, wanted = numbers(model, net)
    assert_alike(found, wanted)
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.get_weights(), strict=True))
    model.layers[-1].dense.kernel.assign(model.layers[-1].dense.kernel * 0)
    assert np.array_equal(numbers(model, net)[0], found)
    assert open_network(model).weights.sha256 != net.weights.sha256


class Subclassed(keras.Model):
    def __init__(self, function=ops.relu):
        super().__init__()
        self.body = layers.Conv2D(4, 3, name="body")
        self.block = Block(4, name="block")
        self.head = layers.Dense(3, activation="softmax", name="head")
        self.function = function

    def call(self, x):
        return self.head(ops.mean(self.function(self.block(self.body(x / 255.0))), (1, 2)))


def called(model, size=12):
    model(np.zeros((1, size, size, 3), np.float32))
    return fill(model)


def test_a_subclassed_model():
    """It is followed through its layers, and drawn at other sizes than the one it was called on where it runs there."""
    model = called(Subclassed())
    net = open_network(model)
    assert_alike(*numbers(model, net))
    assert_alike(*numbers(model, net, size=20))
    assert {"body", "block/conv", "head"} <= set(net.layers)
    assert net.layer("head").softmax is not None
    assert fs.visualize(model, "head:1", steps=3, size=16, progress=False).image.shape == (16, 16, 3)


class OnNumbers(keras.Model):
    """Torch's functions, a choice by values, layers in a list."""

    def __init__(self):
        super().__init__()
        self.body = layers.Conv2D(6, 3, activation="relu", name="body")
        self.blocks = [layers.Conv2D(6, 3, name="second"), layers.BatchNormalization(name="norm")]
        self.head = layers.Dense(4, activation="softmax", name="head")

    def call(self, x, training=False):
        x = torch.nn.functional.mish(self.body(x / 255))
        for block in self.blocks:
            x = block(x)
        if float(x.detach().mean()) > 1e9:
            x = x * 0
        return self.head(self.head_input(x))

    def head_input(self, x):
        return torch.mean(x, (1, 2))


def test_a_model_that_only_runs_on_numbers():
    """It runs as it is, and its layers are listened to, with what goes into their activations; the model is not."""
    model = OnNumbers()
    model(np.zeros((1, 12, 12, 3), np.float32))
    net = open_network(model)
    assert list(net.layers) == ["input", "body", "second", "norm", "head", "output"]
    for size in (12, 18):
        found, wanted = numbers(model, net, size=size)
        assert_alike(found, wanted)
    head, body = net.layer("head"), net.layer("body")
    assert head.softmax is not None
    assert body.parameters == 6 * 27 + 6
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 12, 12, 3)).astype(np.float32)
    taps = net.part("body")(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert torch.equal(taps.linear.clamp(min=0), taps.output)
    assert float(taps.linear.min()) < 0
    with torch.no_grad():
        wanted = model.body(torch.from_numpy(pixels) / 255).permute(0, 3, 1, 2)
    assert torch.allclose(taps.output, wanted, atol=1e-4)
    assert fs.visualize(model, "head:1", steps=3, size=16, progress=False).image.shape == (16, 16, 3)
    assert not any(layer._forward_hooks for layer in model._flatten_layers())
    assert model.body.activation is keras.activations.relu


def test_a_model_that_counts_on_its_size():
    """A number taken from the picture's sides holds at one size alone: the network is drawn there, and nowhere else."""

    class Counting(Subclassed):
        def call(self, x):
            return super().call(x) / x.shape[1] + x.shape[2]

    model = called(Counting())
    net = open_network(model)
    assert_alike(*numbers(model, net))
    assert net.input.fixed
    assert net.takes_one_size("body")


def test_a_model_that_was_never_called():
    """Its layers have no shapes yet."""
    with pytest.raises(NetworkError, match=r"Subclassed was never called on pictures.*call it once"):
        open_network(Subclassed())


def test_pictures_that_see_one_another():
    """Code that mixes the pictures of a batch is refused."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3),
            layers.Lambda(lambda x: x - torch.mean(x, 0), name="odd"),
        ]
    )
    with pytest.raises(NetworkError, match=r"layer 'odd'.*mixes the pictures of a batch"):
        open_network(model)


def test_random_numbers():
    """A forward pass that gives other numbers each time is refused for that."""
    model = keras.Sequential(
        [keras.Input((12, 12, 3)), layers.Conv2D(4, 3), layers.Lambda(lambda x: x + torch.randn(x.shape))]
    )
    with pytest.raises(NetworkError, match="gives other numbers each time"):
        open_network(model)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (
            lambda: keras.Sequential(
                [keras.Input((12, 12, 3)), layers.Conv2D(4, 3, name="odd", activation=gelu)]
            ),
            "odd",
        ),
        (lambda: keras.Sequential([keras.Input((12, 12, 3)), OfTorch(name="odd")]), "odd"),
    ],
)
def test_on_other_backends(make, name, monkeypatch):
    """Where Keras does not run on torch, what cannot be followed is refused with what to do."""
    model = make()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(NetworkError, match=rf"layer '{name}' has code of your own.*KERAS_BACKEND=torch"):
        open_network(model)


def test_on_jax():
    """A person's own layers are followed on any backend."""
    program = """
import keras, numpy as np, torch
from keras import layers, ops
from filterscope.networks import open_network
class Swish(layers.Layer):
    def call(self, x):
        return x * ops.sigmoid(2 * x)
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.body, self.swish = layers.Conv2D(4, 3, name="body"), Swish(name="swish")
    def call(self, x):
        return self.swish(self.body(x))
model = Own()
pixels = np.random.default_rng(0).uniform(0, 1, (1, 9, 9, 3)).astype("float32")
wanted = np.asarray(model(pixels))
net = open_network(model)
found = net.part("swish")(torch.from_numpy(pixels).permute(0, 3, 1, 2)).output.permute(0, 2, 3, 1).numpy()
assert keras.backend.backend() == "jax"
assert np.abs(found - wanted).max() < 1e-4
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- inputs -------------------------------------------------------------------------------------------------


def test_several_inputs_and_volumes():
    """The reason, and what to do."""
    first, second = keras.Input((12, 12, 3), name="picture"), keras.Input((4,), name="text")
    joined = layers.Concatenate()([layers.Flatten()(layers.Conv2D(2, 3)(first)), second])
    with pytest.raises(NetworkError, match=r"several inputs.*picture, text.*held at fixed values"):
        open_network(keras.Model([first, second], layers.Dense(2)(joined)))
    with pytest.raises(NetworkError, match="several inputs"):
        open_network(keras.Model({"picture": first, "text": second}, layers.Dense(2)(joined)))
    for entry, layer, message in (
        (keras.Input((4, 8, 8, 3)), layers.Conv3D(2, 3), "a volume or a video"),
        (keras.Input((20,)), layers.Dense(2), "a vector of 20 values"),
        (keras.Input((100, 6)), layers.Conv1D(2, 3), "a series of 6 values each"),
        (keras.Input((12, 12, None)), layers.GlobalAveragePooling2D(), "None channels"),
    ):
        with pytest.raises(NetworkError, match=message):
            open_network(keras.Model(entry, layer(entry)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"picture": (1, 12, 12, 3), "text": (1, 4)}, r"several inputs.*picture, text"),
        ([(1, 12, 12, 3), (1, 4)], r"several inputs"),
        (
            {"picture": (1, 12, 12, 3)},
            r"takes its picture in a dictionary or list: make a model that takes the picture itself",
        ),
        ((1, 4, 8, 8, 3), r"a volume or a video"),
        ((1, 20), r"a vector of 20 values"),
    ],
)
def test_what_subclassed_models_take(given, message):
    """As they were called; two arguments are several inputs too."""

    class Taking(keras.Model):
        def call(self, x):
            return ops.sum(keras.tree.flatten(x)[0])

    class TakingTwo(keras.Model):
        def call(self, picture, text):
            return ops.sum(picture) + ops.sum(text)

    def zeros(shape):
        return np.zeros(shape, np.float32)

    model = Taking()
    if isinstance(given, dict):
        model({name: zeros(shape) for name, shape in given.items()})
    else:
        model([zeros(shape) for shape in given] if isinstance(given, list) else zeros(given))
    with pytest.raises(NetworkError, match=message):
        open_network(model)
    two = TakingTwo()
    two(zeros((1, 12, 12, 3)), zeros((1, 4)))
    with pytest.raises(NetworkError, match=r"several inputs.*picture, text"):
        open_network(two)


def test_a_variable_among_a_calls_arguments():
    """Keras cannot write such a model down; its numbers are there all the same."""
    entry = keras.Input((12, 12, 3))
    scale = keras.Variable(np.array([1.0, -2.0, 3.0, 4.0], np.float32))
    model = fill(keras.Model(entry, layers.Conv2D(4, 3)(entry) * scale))
    assert_alike(*numbers(model, open_network(model)))


def test_classes_that_compute_as_keras_own():
    """A model with a training step of its own is Keras' own to us; one with a call of its own is not, nor is a layer whose
    call was replaced."""

    class Training(keras.Model):
        def train_step(self, data):
            return {}

    class Calling(keras.Model):
        def call(self, x, training=None, mask=None):
            return super().call(x) * 5

    for kind in (Training, Calling):
        entry = keras.Input((12, 12, 3))
        model = fill(kind(entry, layers.Conv2D(4, 3)(entry)))
        assert_alike(*numbers(model, open_network(model)))
    model = fill(keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(4, 3)]))
    plain = model.layers[0].call
    model.layers[0].call = lambda x: plain(x) * 7
    assert_alike(*numbers(model, open_network(model)))


def test_one_input_in_a_dictionary():
    """A dictionary of one picture is one picture, and dictionaries of outputs are layers."""
    entry = keras.Input((12, 12, 3), name="picture")
    x = layers.Conv2D(4, 3, name="conv")(entry)
    model = fill(keras.Model({"picture": entry}, {"map": x, "own": Swish(name="own")(x)}))
    assert {"conv", "own"} <= set(open_network(model).layers)


GREY = {
    "reshape": lambda x: layers.Reshape((12, 12, 1))(x),
    "flatten": lambda x: layers.Flatten()(layers.Rescaling(1 / 255)(x)),
    "expanded": lambda x: ops.expand_dims(x / 255.0, -1),
    "sliced": lambda x: x[..., None],
    "repeated": lambda x: ops.repeat(ops.expand_dims(x, -1), 3, axis=-1),
}


@pytest.mark.parametrize("kind", ["live", "keras", "h5"])
@pytest.mark.parametrize("name", GREY)
def test_grey_pictures(name, kind, tmp_path):
    """(height, width) without an axis of channels."""
    entry = keras.Input((12, 12))
    x = GREY[name](entry)
    x = layers.Flatten()(layers.Conv2D(4, 3)(x)) if len(x.shape) == 4 else x
    model = fill(keras.Model(entry, layers.Dense(3, name="end")(x)))
    if kind != "live":
        model.save(tmp_path / f"m.{kind}")
    net = open_network(model if kind == "live" else tmp_path / f"m.{kind}")
    assert (net.input.channels, net.input.size) == (1, 12)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 12, 12)).astype(np.float32)
    found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels)[:, None]))["end"]
    assert_alike(found, keras.ops.convert_to_numpy(model(pixels)))
    assert fs.visualize(net, "end:1", steps=2, progress=False).image.shape[:2] == (12, 12)


def test_a_grey_picture_and_a_lambda():
    """What gives it its axis of channels may be a person's own."""
    expand = layers.Lambda(lambda y: ops.expand_dims(y, -1))
    model = fill(keras.Sequential([keras.Input((12, 12)), expand, layers.Conv2D(4, 3, name="end")]))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 12, 12)).astype(np.float32)
    net = open_network(model)
    found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels)[:, None]))["end"]
    with torch.no_grad():
        assert_alike(found, keras.ops.convert_to_numpy(model(pixels)))


C = "channels_first"
FIRST = {
    "conv": lambda x: layers.Conv2D(4, 3, padding="same", strides=2, data_format=C, activation="relu")(x),
    "depthwise": lambda x: layers.DepthwiseConv2D(3, data_format=C)(x),
    "separable": lambda x: layers.SeparableConv2D(5, 3, data_format=C)(x),
    "transposed": lambda x: layers.Conv2DTranspose(5, 3, strides=2, data_format=C)(x),
    "norm": lambda x: layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3, data_format=C)(x)),
    "layer norm of all": lambda x: layers.LayerNormalization(axis=(1, 2, 3))(
        layers.Conv2D(4, 3, data_format=C)(x)
    ),
    "group norm": lambda x: layers.GroupNormalization(2, axis=1)(layers.Conv2D(4, 3, data_format=C)(x)),
    "pool": lambda x: layers.MaxPooling2D(3, 2, "same", data_format=C)(x),
    "mean": lambda x: layers.AveragePooling2D(2, data_format=C)(x),
    "global": lambda x: layers.GlobalAveragePooling2D(data_format=C)(x),
    "global kept": lambda x: layers.GlobalMaxPooling2D(data_format=C, keepdims=True)(x),
    "pad": lambda x: layers.ZeroPadding2D(((1, 2), (3, 0)), data_format=C)(x),
    "up": lambda x: layers.UpSampling2D((2, 3), data_format=C)(x),
    "flatten": lambda x: layers.Dense(3)(
        layers.Flatten(data_format=C)(layers.Conv2D(4, 3, data_format=C)(x))
    ),
    "flatten as it lies": lambda x: layers.Dense(3)(
        layers.Flatten(data_format="channels_last")(layers.Conv2D(4, 3, data_format=C)(x))
    ),
    "reshape": lambda x: layers.Reshape((-1, 5))(layers.Conv2D(5, 3, data_format=C)(x)),
    "turned": lambda x: layers.Conv2D(4, 3, data_format="channels_last")(layers.Permute((2, 3, 1))(x)),
    "turned back": lambda x: layers.Conv2D(4, 3, data_format=C)(
        layers.Permute((3, 1, 2))(
            layers.Conv2D(2, 3, data_format="channels_last")(layers.Permute((2, 3, 1))(x))
        )
    ),
    "softmax": lambda x: layers.Softmax(axis=1)(layers.Conv2D(4, 3, data_format=C)(x)),
    "softmax along the last": lambda x: layers.Conv2D(4, 3, data_format=C, activation="softmax")(x),
    "joined": lambda x: layers.Concatenate(axis=1)(
        [layers.Conv2D(4, 3, data_format=C)(x), x[:, :, 1:-1, 1:-1]]
    ),
    "added": lambda x: layers.Add()([layers.Conv2D(3, 3, padding="same", data_format=C)(x), x]),
    "dense": lambda x: layers.Dense(4, activation="relu")(layers.Conv2D(5, 3, data_format=C)(x)),
    "prelu": lambda x: layers.PReLU(shared_axes=(2, 3))(layers.Conv2D(5, 3, data_format=C)(x)),
    "rescaling": lambda x: layers.Rescaling(1 / 9, -3)(layers.Conv2D(5, 3, data_format=C)(x)),
    "operations": lambda x: ops.relu(layers.Conv2D(3, 3, padding="same", data_format=C)(x) * 2 + 1)[:, 1:],
    "bgr": lambda x: keras.applications.vgg16.preprocess_input(x, data_format=C),
    "mean by hand": lambda x: ops.mean(layers.Conv2D(5, 3, data_format=C)(x), axis=(2, 3)),
    "own": lambda x: Swish()(layers.Conv2D(5, 3, data_format=C)(x)),
}


@pytest.mark.parametrize("name", FIRST)
def test_channels_first(name, tmp_path):
    """Keras' numbers, live and from a file, with the channels as units."""
    entry = keras.Input((3, 12, 12))
    model = keras.Model(entry, FIRST[name](layers.Conv2D(3, 1, data_format=C, name="first")(entry)))
    fill(model).save(tmp_path / "m.keras")
    for source in (model, tmp_path / "m.keras"):
        if name == "own" and source is not model:
            continue
        net = open_network(source)
        assert (net.input.channels, net.layer("first").output_shape) == (3, (3, 12, 12))
        pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 12, 12)).astype(np.float32)
        with torch.no_grad():
            wanted = keras.ops.convert_to_numpy(model(pixels))
        row = net.layers[list(net.layers)[-1]]
        found = net.part(row.name)(net.input.preprocess(torch.from_numpy(pixels))).output.numpy()
        if wanted.ndim == 4 and name not in ("turned",):
            assert_alike(found, wanted)
        elif wanted.ndim == 4:
            assert_alike(found, wanted.transpose(0, 3, 1, 2))
        elif wanted.ndim == 2:
            assert_alike(found, wanted)


def test_channels_first_and_a_layer_that_is_run_itself():
    """A batch norm along rows has no counterpart: a live one runs as it is, in a file it is refused."""
    entry = keras.Input((3, 12, 12))
    x = layers.BatchNormalization(axis=2)(layers.Conv2D(4, 3, data_format=C)(entry))
    model = fill(keras.Model(entry, layers.Conv2D(2, 1, data_format=C, name="end")(x)))
    found, wanted = numbers(model, open_network(model), axes=(0, 1, 2, 3))
    assert_alike(found.transpose(0, 3, 1, 2), wanted)


def test_channels_first_without_a_word():
    """Three channels and many rows: no layer says which come first."""
    entry = keras.Input((3, 12, 12))
    model = fill(keras.Model(entry, layers.Conv2D(4, 3, name="end")(layers.Permute((2, 3, 1))(entry))))
    net = open_network(model)
    assert (net.input.channels, net.input.size) == (3, 12)
    found, wanted = numbers(model, net, axes=(0, 1, 2, 3))
    assert_alike(found, wanted)


@pytest.mark.parametrize("kind", ["live", "keras", "h5"])
@pytest.mark.parametrize("mode", ["vgg16", "xception", "densenet"])
def test_preprocess_input_within(mode, kind, tmp_path):
    """keras.applications' three ways, as operations in the model."""
    entry = keras.Input((12, 12, 3))
    x = getattr(keras.applications, mode).preprocess_input(entry)
    model = fill(keras.Model(entry, layers.Conv2D(4, 3, name="end")(x)))
    if kind != "live":
        model.save(tmp_path / f"m.{kind}")
    net = open_network(model if kind == "live" else tmp_path / f"m.{kind}")
    found, wanted = numbers(model, net)
    assert_alike(found, wanted)


# --- code that Keras itself cannot call without numbers ---------------------------------------------------------


def doubled(x):
    """What no picture without numbers has: a value to choose by."""
    return x * 2 if bool(ops.max(x) > -1e9) else x


@pytest.mark.filterwarnings("ignore:Layer .* looks like it has unbuilt state:UserWarning")
def test_a_sequence_that_only_runs_on_numbers():
    """Keras makes no graph of it: it runs as it is, with its numbers."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3, name="conv"),
            layers.Lambda(doubled),
            layers.Dense(2, name="end"),
        ]
    )
    x = np.random.default_rng(0).uniform(0, 9, (2, 12, 12, 3)).astype(np.float32)
    own = ops.convert_to_numpy(model(x))
    found = open_network(model, range=(0, 255)).part("end")(torch.from_numpy(x).permute(0, 3, 1, 2)).output
    assert_alike(found.permute(0, 2, 3, 1).numpy(), own)


def test_code_that_never_runs():
    """The reason in a line, without Keras' wrapping of it."""
    model = keras.Sequential(
        [keras.Input((12, 12, 3)), layers.Lambda(lambda x: divmod(x, 2)[0]), layers.Dense(2)]
    )
    with pytest.raises(
        NetworkError, match=r"unsupported operand type\(s\) for divmod\(\): 'Tensor' and 'int'$"
    ):
        open_network(model)
