"""keras_layers.py: every layer type computes what Keras computes, and refuses what it cannot."""

from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from keras import layers

from filterscope.errors import NetworkError
from filterscope.networks import open_network
from filterscope.networks.keras_layers import ACTIVATIONS, BUILDERS, SamePad, activation_of

SIZES = [(9, 9), (8, 8), (7, 10)]


def assert_equals_keras(model, *, seed: int = 0, pixels=None):
    """Every layer's output equals Keras' own within 1e-4 of its largest value."""
    net = open_network(model)
    if pixels is None:
        shape = [side or 9 for side in model.input_shape[1:]]
        pixels = np.random.default_rng(seed).uniform(0, 255, (2, *shape)).astype(np.float32)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    names = [name for name, row in net.layers.items() if row.kind != "InputLayer"]
    assert names == [layer.name for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    probe = keras.Model(model.inputs[0], [model.get_layer(name).output for name in names])
    for name, wanted in zip(names, probe(pixels, training=False), strict=True):
        part = net.part(name, softmax=True)
        with torch.no_grad():
            taps = part(net.input.preprocess(x))
        own = net.layers[name].softmax == net.layers[name].output
        found = taps.softmax if own else taps.output
        if found.ndim == 4:
            found = found.permute(0, 2, 3, 1)
        wanted = keras.ops.convert_to_numpy(wanted)
        assert found.shape == wanted.shape, name
        error = np.abs(found.numpy() - wanted).max() / max(np.abs(wanted).max(), 1e-6)
        assert error < 1e-4, f"{name}: {error}"
        assert net.layers[name].output_shape[0] == wanted.shape[-1]
    return net


def one(layer, *, size=(9, 9), channels=3):
    return keras.Sequential(
        [keras.Input((*size, channels)), layers.Conv2D(4, 3, padding="same", name="first"), layer]
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("strides", [1, 2, (2, 3)])
@pytest.mark.parametrize("kernel", [1, 2, 3, (3, 5), 4])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv2d(keras_with_weights, size, kernel, strides, padding):
    """Kernels odd, even and oblong, any stride, `same` as TensorFlow pads."""
    layer = layers.Conv2D(5, kernel, strides=strides, padding=padding, name="conv")
    assert_equals_keras(keras_with_weights(one(layer, size=size)))


@pytest.mark.parametrize(
    "settings",
    [
        {"dilation_rate": 2, "padding": "same"},
        {"dilation_rate": (1, 2)},
        {"groups": 2},
        {"groups": 4, "padding": "same", "strides": 2},
        {"use_bias": False},
        {"use_bias": False, "padding": "same", "activation": "relu"},
    ],
)
def test_conv2d_settings(keras_with_weights, settings):
    """Dilation, groups, no bias."""
    assert_equals_keras(keras_with_weights(one(layers.Conv2D(8, 3, **settings, name="conv"))))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS) + ["linear", None])
def test_activations(keras_with_weights, activation):
    """Every activation, as part of a convolution and as a layer of its own."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Rescaling(1 / 100, offset=-1, name="scale"),
            layers.Conv2D(4, 3, activation=activation, name="conv"),
            layers.Conv2D(4, 3, name="plain"),
            layers.Activation(activation or "linear", name="own"),
        ]
    )
    assert_equals_keras(keras_with_weights(model))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.MaxPooling2D(),
        lambda: layers.MaxPooling2D(3, 2),
        lambda: layers.MaxPooling2D(3, 2, padding="same"),
        lambda: layers.MaxPooling2D((2, 3), padding="same"),
        lambda: layers.MaxPooling2D(3, 1, padding="same"),
        lambda: layers.AveragePooling2D(2),
        lambda: layers.AveragePooling2D(3, 2),
    ],
)
def test_pooling(keras_with_weights, layer, size):
    """Pools, overlapping and padded; padding never wins a maximum."""
    assert_equals_keras(keras_with_weights(one(layer(), size=size)))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Dropout(0.5),
        lambda: layers.SpatialDropout2D(0.5),
        lambda: layers.ReLU(),
        lambda: layers.ReLU(max_value=6),
        lambda: layers.Softmax(),
        lambda: layers.Flatten(),
        lambda: layers.GlobalAveragePooling2D(),
        lambda: layers.Rescaling(0.5, offset=3),
        lambda: layers.Rescaling([1.0, 2.0, 3.0, 4.0], offset=[0.0, 1.0, 2.0, 3.0]),
    ],
)
def test_plain_layers(keras_with_weights, layer):
    """Layers without weights; dropout does nothing outside training."""
    assert_equals_keras(keras_with_weights(one(layer())))


@pytest.mark.parametrize("layer", [lambda: layers.Flatten(), lambda: layers.GlobalAveragePooling2D()])
@pytest.mark.parametrize("size", SIZES)
def test_dense_behind_a_map(keras_with_weights, layer, size):
    """Flatten keeps Keras' order (rows, columns, channels), so that the dense weights fit."""
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layer(),
            layers.Dense(6, activation="tanh"),
            layers.Flatten(),
            layers.Dense(3, use_bias=False),
            layers.Softmax(),
        ]
    )
    assert_equals_keras(keras_with_weights(model, scale=0.05))


@pytest.mark.parametrize("scale", [1 / 255, 1 / 127.5, 255.0, 3.0, 1e-3])
@pytest.mark.parametrize("offset", [0.0, -1.0, 0.3])
def test_rescaling_behind_the_input(keras_with_weights, scale, offset):
    """A Rescaling right behind the input moves into the input spec and computes the same."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(scale, offset=offset, name="scale"),
            layers.Conv2D(4, 3, name="conv"),
        ]
    )
    net = assert_equals_keras(keras_with_weights(model))
    assert not net.input.keeps_pixel_scale


def test_same_pad_by_hand():
    """The odd one of an uneven padding goes behind."""
    x = torch.ones(1, 1, 1, 4)
    assert SamePad((1, 3), (1, 2), (1, 1), 0.0)(x).flatten().tolist() == [1, 1, 1, 1, 0]
    assert SamePad((1, 2), (1, 1), (1, 1), -5.0)(x).flatten().tolist() == [1, 1, 1, 1, -5]
    assert SamePad((1, 5), (1, 1), (1, 1), 0.0)(x).flatten().tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert SamePad((1, 1), (1, 3), (1, 1), 0.0)(x).shape == x.shape


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: layers.AveragePooling2D(2, padding="same"), "AveragePooling2D.*padding 'same'"),
        (lambda: layers.ReLU(negative_slope=0.1), "ReLU with a slope"),
        (lambda: layers.ReLU(max_value=1.0), "maximum other than 6"),
        (lambda: layers.Softmax(axis=1), "Softmax over axis 1"),
        (lambda: layers.Dense(3), "Dense on a map"),
        (
            lambda: layers.Activation("exponential"),
            "activation 'exponential' has no counterpart.*known are linear, elu",
        ),
        (lambda: layers.Conv2D(3, 3, activation="hard_sigmoid"), "activation 'hard_sigmoid'"),
        (lambda: layers.Permute((2, 1, 3)), "Permute, which has no torch counterpart"),
    ],
)
def test_refused_by_name(layer, message):
    """What has no counterpart is refused with the layer's name and class."""
    made = layer()
    with pytest.raises(
        NetworkError, match=f"layer '{made.name}'.*{type(made).__name__}.*{message}|{message}"
    ) as error:
        open_network(one(made))
    assert repr(made.name) in str(error.value)
    assert type(made).__name__ in str(error.value)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Conv2D(2, 1, data_format="channels_first"),
        lambda: layers.MaxPooling2D(data_format="channels_first"),
        lambda: layers.GlobalAveragePooling2D(data_format="channels_first"),
        lambda: layers.Flatten(data_format="channels_first"),
    ],
)
def test_channels_first_is_refused(layer):
    """A layer that reads channels first would compute something else: it is refused by name."""
    with pytest.raises(NetworkError, match="channels_first"):
        open_network(one(layer()))


def test_global_average_that_keeps_its_places(keras_with_weights):
    """keepdims=True leaves a 1 x 1 map, which a convolution may follow; or it is refused by name."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.GlobalAveragePooling2D(keepdims=True, name="mean"),
            layers.Conv2D(2, 1),
        ]
    )
    assert_equals_keras(keras_with_weights(model))


def test_activation_as_keras_serialises_a_function():
    """An activation may be written as a serialised function."""
    value = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    assert isinstance(activation_of({"activation": value}), torch.nn.ReLU)
    assert activation_of({}) is None


def test_every_type_is_tested():
    """The table holds no type that this file never builds."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in BUILDERS if f"layers.{kind}(" not in source] == []
