"""layers/: every layer type computes what Keras computes, and refuses what it cannot."""

from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from keras import layers
from tests.helpers.keras_comparison import differences, fill, keras_outputs, torch_outputs

from filterscope.errors import NetworkError
from filterscope.networks import open_network
from filterscope.networks.keras.layers.products import ACTIVATIONS, BUILDERS, JOINERS, SamePad, activation_of

SIZES = [(9, 9), (8, 8), (7, 10)]


def assert_equals_keras(model, *, seed: int = 0, pixels=None):
    """Every layer's output equals Keras' own within 1e-4 of its largest value."""
    net = open_network(model)
    if pixels is None:
        sides = [side or 9 for side in model.input_shape[1:]]
        pixels = np.random.default_rng(seed).uniform(0, 255, (2, *sides)).astype(np.float32)
    wanted = keras_outputs(model, pixels)
    assert [n for n, row in net.layers.items() if row.kind != "InputLayer"] == list(wanted)
    found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
    for name, error in differences(found, wanted).items():
        assert error < 1e-4, f"{name}: {error}"
        row, shape = net.layers[name], wanted[name].shape
        assert row.units == shape[-1]
        assert len(row.output_shape) in (1, 2, 3)  # a vector, steps, a map
        assert (len(row.output_shape) > 1) == (len(shape) > 2)
        if len(shape) == 4:
            assert row.output_shape == (shape[3], *shape[1:3])
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
        (lambda: layers.Softmax(axis=(1, 2)), r"Softmax over axes"),
        (lambda: layers.BatchNormalization(axis=1), "axis 1 is not supported"),
        (lambda: layers.GroupNormalization(3, axis=1), "axis 1 is not supported"),
        (lambda: layers.TimeDistributed(layers.Dense(2)), "TimeDistributed, which has no torch counterpart"),
        (lambda: layers.SpectralNormalization(layers.Conv2D(2, 3)), "SpectralNormalization, which has no"),
        (lambda: layers.Resizing(4, 4, crop_to_aspect_ratio=True), "crop_to_aspect_ratio is not supported"),
        (
            lambda: layers.Resizing(4, 4, interpolation="lanczos3"),
            "interpolation 'lanczos3' is not supported",
        ),
        (lambda: layers.RandomCrop(4, 4), "RandomCrop, which has no torch counterpart"),
    ],
)
def test_refused_by_name(layer, message, tmp_path):
    """What has no counterpart is refused with the layer's name and class, in a file, where the layer itself is not to be
    had."""
    made = layer()
    one(made).save(tmp_path / "model.keras")
    with pytest.raises(
        NetworkError, match=f"layer '{made.name}'.*{type(made).__name__}.*{message}|{message}"
    ) as error:
        open_network(tmp_path / "model.keras")
    assert repr(made.name) in str(error.value)
    assert type(made).__name__ in str(error.value)


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


LAYERS = [
    # products
    lambda: layers.Conv2DTranspose(5, 3),
    lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
    lambda: layers.Conv2DTranspose(5, 4, strides=2, padding="same", activation="relu"),
    lambda: layers.Conv2DTranspose(5, 2, strides=2, use_bias=False),
    lambda: layers.Conv2DTranspose(5, (3, 5), strides=(1, 2), padding="same"),
    lambda: layers.Dense(6, activation="gelu"),
    lambda: layers.Dense(6, use_bias=False),
    lambda: layers.DepthwiseConv2D(3),
    lambda: layers.DepthwiseConv2D(3, depth_multiplier=3, padding="same", activation="relu6"),
    lambda: layers.DepthwiseConv2D(5, strides=2, padding="same", use_bias=False),
    lambda: layers.SeparableConv2D(6, 3),
    lambda: layers.SeparableConv2D(6, 3, strides=2, padding="same", depth_multiplier=2, activation="relu"),
    lambda: layers.SeparableConv2D(6, 3, dilation_rate=2, padding="same", use_bias=False),
    lambda: layers.EinsumDense("...c,cd->...d", 5, bias_axes="d"),
    lambda: layers.EinsumDense("...c,cd->...d", 5, activation="relu"),
    # norms
    lambda: layers.BatchNormalization(),
    lambda: layers.BatchNormalization(center=False, epsilon=0.1),
    lambda: layers.BatchNormalization(scale=False),
    lambda: layers.BatchNormalization(scale=False, center=False),
    lambda: layers.LayerNormalization(),
    lambda: layers.LayerNormalization(axis=(1, 2, 3)),
    lambda: layers.LayerNormalization(axis=(2, 3), center=False),
    lambda: layers.LayerNormalization(scale=False),
    lambda: layers.GroupNormalization(2),
    lambda: layers.GroupNormalization(-1, scale=False),
    lambda: layers.GroupNormalization(1, center=False),
    lambda: layers.UnitNormalization(),
    lambda: layers.UnitNormalization(axis=(1, 2)),
    lambda: layers.RMSNormalization(),
    lambda: layers.Normalization(),
    lambda: layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 0.25, 2.0]),
    lambda: layers.Normalization(mean=1.0, variance=4.0, invert=True),
    # activations
    lambda: layers.ELU(0.5),
    lambda: layers.LeakyReLU(0.1),
    lambda: layers.PReLU(),
    lambda: layers.PReLU(shared_axes=[1, 2]),
    lambda: layers.ReLU(negative_slope=0.1),
    lambda: layers.ReLU(max_value=1.0, negative_slope=0.2, threshold=0.3),
    lambda: layers.Softmax(axis=1),
    # shapes
    lambda: layers.AveragePooling2D(3, 1, padding="same"),
    lambda: layers.AdaptiveAveragePooling2D(3),
    lambda: layers.AdaptiveMaxPooling2D((2, 3)),
    lambda: layers.GlobalMaxPooling2D(),
    lambda: layers.GlobalMaxPooling2D(keepdims=True),
    lambda: layers.ZeroPadding2D(2),
    lambda: layers.ZeroPadding2D(((0, 1), (2, 3))),
    lambda: layers.Cropping2D(1),
    lambda: layers.Cropping2D(((0, 1), (2, 3))),
    lambda: layers.Reshape((-1, 4)),
    lambda: layers.Reshape((2, -1)),
    lambda: layers.Permute((2, 1, 3)),
    lambda: layers.Permute((3, 1, 2)),
    lambda: layers.UpSampling2D(),
    lambda: layers.UpSampling2D((2, 3), interpolation="bilinear"),
    lambda: layers.Resizing(5, 12),
    lambda: layers.Resizing(20, 4, interpolation="nearest"),
    lambda: layers.CenterCrop(4, 5),
    # what works in training alone
    lambda: layers.ActivityRegularization(0.1),
    lambda: layers.AlphaDropout(0.5),
    lambda: layers.GaussianDropout(0.5),
    lambda: layers.GaussianNoise(0.5),
    lambda: layers.Identity(),
    lambda: layers.RandomFlip(),
    lambda: layers.RandomRotation(0.1),
    lambda: layers.RandomZoom(0.1),
    lambda: layers.RandomTranslation(0.1, 0.1),
    lambda: layers.RandomContrast(0.1),
    lambda: layers.RandomBrightness(0.1),
]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("size", [(9, 9), (8, 10)])
def test_every_layer(layer, size):
    """Each type, in the ways it is used, computes what Keras computes."""
    made = layer()
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            layers.Rescaling(1 / 100, offset=-1, name="scale"),
            layers.Conv2D(4, 3, padding="same", name="first"),
            made,
        ]
    )
    assert_equals_keras(fill(model))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Conv1D(5, 3),
        lambda: layers.Conv1D(5, 3, strides=2, padding="same", activation="relu"),
        lambda: layers.Conv1D(5, 3, padding="causal", dilation_rate=2),
        lambda: layers.MaxPooling1D(2),
        lambda: layers.MaxPooling1D(3, 2, padding="same"),
        lambda: layers.AveragePooling1D(3, 1, padding="same"),
        lambda: layers.AveragePooling1D(2),
        lambda: layers.GlobalAveragePooling1D(),
        lambda: layers.GlobalMaxPooling1D(),
        lambda: layers.ZeroPadding1D((1, 2)),
        lambda: layers.Cropping1D((1, 2)),
        lambda: layers.UpSampling1D(3),
        lambda: layers.SpatialDropout1D(0.5),
        lambda: layers.Dense(6, activation="softmax"),
        lambda: layers.BatchNormalization(),
        lambda: layers.LayerNormalization(),
        lambda: layers.EinsumDense("bth,hnd->btnd", (None, 2, 3), bias_axes="nd"),
        lambda: layers.Flatten(),
    ],
)
def test_tokens(layer):
    """Layers on (batch, tokens, channels)."""
    entry = keras.Input((6, 6, 3))
    x = layers.Reshape((-1, 3), name="tokens")(layers.Rescaling(1 / 100, offset=-1)(entry))
    assert_equals_keras(fill(keras.Model(entry, layer()(x))))


@pytest.mark.parametrize("shape", [(36, 4), (6, 6, 4)])
@pytest.mark.parametrize(
    "settings", [{}, {"value_dim": 5}, {"use_bias": False}, {"output_shape": 7}, {"dropout": 0.5}]
)
def test_attention(shape, settings):
    """layers.MultiHeadAttention( of tokens or of maps, to itself or to others."""
    entry = keras.Input((6, 6, 3))
    x = layers.Reshape(shape)(layers.Conv2D(4, 1)(layers.Rescaling(1 / 100, offset=-1)(entry)))
    x = layers.LayerNormalization()(x)
    y = layers.MultiHeadAttention(2, 3, name="self", **settings)(x, x)
    z = layers.MultiHeadAttention(3, 2, name="cross")(key=y, value=layers.Dense(5)(x), query=x)
    assert_equals_keras(fill(keras.Model(entry, z)))


def test_attention_scores():
    """What each head looks at, where the model asks for it."""
    entry = keras.Input((4, 4, 3))
    x = layers.Reshape((16, 3))(layers.Rescaling(1 / 100, offset=-1)(entry))
    y, scores = layers.MultiHeadAttention(2, 3, name="mha")(x, x, return_attention_scores=True)
    out = layers.Add()([layers.Flatten()(y), layers.Dense(48)(layers.Flatten()(scores))])
    model = fill(keras.Model(entry, out))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    net = open_network(model)
    with torch.no_grad():
        found = net.part(model.layers[-1].name)(
            net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        )
    assert np.allclose(found.output.numpy(), keras.ops.convert_to_numpy(model(pixels)), atol=1e-4)


JOINS = [
    layers.Add,
    layers.Average,
    layers.Concatenate,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
]


@pytest.mark.parametrize("kind", JOINS)
@pytest.mark.parametrize("other", ["map", "channels", "place"])
def test_joins(kind, other):
    """Two maps, a map and a vector of its channels, a map and one of one channel."""
    entry = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(layers.Rescaling(1 / 100, offset=-1)(entry))
    y = layers.Conv2D(1 if other == "place" else 4, 3, name="b")(entry)
    if other == "channels":
        y = layers.GlobalAveragePooling2D(keepdims=True)(y)
        if kind is layers.Multiply:
            y = layers.Flatten()(y)
    if kind is layers.Concatenate and other == "channels":
        y = layers.UpSampling2D(6)(y)
    assert_equals_keras(fill(keras.Model(entry, kind(name="join")([x, y]))))


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_concatenate_along(axis):
    """layers.Concatenate along rows, columns and channels."""
    entry = keras.Input((8, 8, 3))
    x, y = layers.Conv2D(4, 3)(entry), layers.Conv2D(4, 3)(entry)
    assert_equals_keras(fill(keras.Model(entry, layers.Concatenate(axis=axis)([x, y, x]))))


OPERATIONS = [
    lambda x: x + 3.0,
    lambda x: 2.0 - x,
    lambda x: x * (1 / 6),
    lambda x: x / 2 - 1,
    lambda x: -x,
    lambda x: x**2,
    lambda x: x + np.array([-103.9, -116.8, -123.7, 1.0], np.float32),
    lambda x: x[:, 1:-1, ::2],
    lambda x: x[:, 0],
    lambda x: keras.ops.relu(x),
    lambda x: keras.ops.relu6(x + 3) / 6,
    lambda x: keras.ops.silu(x),
    lambda x: keras.ops.gelu(x),
    lambda x: keras.ops.gelu(x, approximate=False),
    lambda x: keras.ops.sigmoid(x) * x,
    lambda x: keras.ops.leaky_relu(x, 0.3),
    lambda x: keras.ops.softmax(x),
    lambda x: keras.ops.softmax(x, axis=1),
    lambda x: keras.ops.mean(x, axis=(1, 2)),
    lambda x: keras.ops.mean(x, axis=-1, keepdims=True),
    lambda x: keras.ops.max(x, axis=[1, 2], keepdims=True) * x,
    lambda x: keras.ops.var(x, axis=-1),
    lambda x: keras.ops.concatenate([x, x * 2], axis=-1),
    lambda x: keras.ops.concatenate([x, x], axis=1),
    lambda x: keras.ops.transpose(x, (0, 3, 1, 2)),
    lambda x: keras.ops.reshape(x, (-1, 49, 4)),
    lambda x: keras.ops.expand_dims(keras.ops.mean(x, axis=1), 1) + x,
    lambda x: keras.ops.squeeze(keras.ops.max(x, axis=1, keepdims=True), 1),
    lambda x: keras.ops.maximum(x, 0.1),
    lambda x: keras.ops.minimum(x, -x),
    lambda x: keras.ops.clip(x, -0.5, 0.7),
    lambda x: keras.ops.sqrt(keras.ops.abs(x)),
    lambda x: keras.ops.exp(x),
    lambda x: keras.ops.cast(x, "float32") + 1,
    lambda x: keras.ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
    lambda x: keras.ops.einsum("bhwc,bhwd->bcd", x, x),
    lambda x: keras.ops.matmul(x, keras.ops.transpose(x, (0, 1, 3, 2))),
    lambda x: keras.ops.split(x, 2, axis=-1)[1],
    lambda x: keras.ops.add(*keras.ops.split(x, 2, axis=-1)),
    lambda x: keras.ops.celu(x, alpha=2.0),
    lambda x: keras.ops.elu(x, 0.3),
    lambda x: keras.ops.hard_shrink(x, 0.2),
    lambda x: keras.ops.soft_shrink(x, 0.2),
    lambda x: keras.ops.threshold(x, 0.2, -1.0),
    lambda x: keras.ops.where(x > 0.2, x, 0.1),
    lambda x: keras.ops.where(keras.ops.logical_and(x > -0.2, x <= 0.7), 2.0 * x, x / 3),
    lambda x: (x > 0.1) * 0.5 + (x < 0) * x,
    lambda x: keras.ops.cast(x > 0, "float32") * x,
    lambda x: keras.ops.stack([x[..., 2], x[..., 0]], axis=-1),
    lambda x: keras.ops.stack([x, -x], axis=1)[:, 1],
    lambda x: keras.ops.std(x, axis=(1, 2), keepdims=True) + x,
    lambda x: keras.ops.prod(x, axis=-1, keepdims=True),
    lambda x: keras.ops.sum(x, axis=(1, 2)),
    lambda x: keras.ops.logsumexp(x, axis=-1),
    lambda x: keras.ops.log_softmax(x),
    lambda x: keras.ops.normalize(x, axis=-1),
    lambda x: keras.ops.repeat(x, 2, axis=1),
    lambda x: keras.ops.tile(x, (1, 2, 1, 1)),
    lambda x: keras.ops.roll(x, 2, axis=2),
    lambda x: keras.ops.flip(x, axis=1),
    lambda x: keras.ops.swapaxes(x, 1, 2) + 1,
    lambda x: keras.ops.moveaxis(x, 1, 3),
    lambda x: keras.ops.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], "reflect"),
    lambda x: keras.ops.broadcast_to(keras.ops.mean(x, axis=1, keepdims=True), (2, 7, 7, 4)),
    lambda x: keras.ops.unstack(x, axis=-1)[1],
    lambda x: keras.ops.max_pool(x, 2, 2),
    lambda x: keras.ops.average_pool(x, 3, 1, padding="same"),
    lambda x: keras.ops.image.resize(x, (11, 5)),
    lambda x: keras.ops.image.resize(x, (11, 5), interpolation="nearest"),
    lambda x: keras.ops.log1p(keras.ops.abs(x)) + keras.ops.sin(x) - keras.ops.reciprocal(x + 9),
    lambda x: keras.ops.mod(x, 0.3) + keras.ops.sign(x) + keras.ops.expm1(x),
    lambda x: 2.0**x,
    lambda x: keras.ops.hypot(x, -x),
    lambda x: keras.ops.squeeze(keras.ops.expand_dims(x, (1, 3)), (1, 3)),
]


@pytest.mark.parametrize("kind", ["live", "keras", "h5"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations(operation, kind, tmp_path):
    """Bare operations, as functional models record them; in a `.h5` file nothing but their config says what they are."""
    entry = keras.Input((9, 9, 3))
    x = layers.Conv2D(4, 3, name="conv")(layers.Rescaling(1 / 100, offset=-1)(entry))
    model = fill(keras.Model(entry, layers.Activation("tanh", name="end")(operation(x))))
    if kind != "live":
        model.save(tmp_path / f"model.{kind}")
    net = open_network(model if kind == "live" else tmp_path / f"model.{kind}")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 9, 9, 3)).astype(np.float32)
    found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2)))["end"]
    wanted = keras.ops.convert_to_numpy(model(pixels))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-4
    assert {op.name for op in model.operations} == set(net.layers)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: keras.ops.mean(x, axis=0, keepdims=True), "Mean.*mixes the pictures of a batch"),
        (lambda x: keras.ops.cumsum(x, axis=1), "layer 'cumsum.*Cumsum.*has no torch counterpart"),
        (lambda x: x[:1, :], "GetItem.*takes pictures out of the batch"),
        (lambda x: keras.ops.flip(x), "Flip.*mixes the pictures of a batch"),
        (lambda x: keras.ops.roll(x, 1), "Roll.*mixes the pictures of a batch"),
        (lambda x: keras.ops.cast(x, "int32"), "Cast.*a cast to int32 is not supported"),
        (lambda x: keras.ops.max(x, axis=1, initial=3.0), "Max.*initial is not supported"),
        (lambda x: keras.ops.image.resize(x, (4, 4), antialias=True), "Resize.*antialias is not supported"),
    ],
)
def test_operations_refused(operation, message, tmp_path):
    """An operation that is not known, or that mixes pictures, is refused by name."""
    entry = keras.Input((9, 9, 3))
    model = keras.Model(entry, operation(layers.Conv2D(4, 3)(entry)))
    model.save(tmp_path / "model.keras")
    with pytest.raises(NetworkError, match=message):
        open_network(tmp_path / "model.keras")
    if any(word in message for word in ("mixes", "takes pictures", "a cast")):  # whoever runs it
        with pytest.raises(NetworkError, match=message):
            open_network(model)


# LayerScale and StochasticDepth (ConvNeXt) and CustomScaleLayer (InceptionResNetV2) are built by their applications;
# these do nothing at inference and are built alike
ELSEWHERE = {
    "LayerScale",
    "StochasticDepth",
    "CustomScaleLayer",
    "ThresholdedReLU",
    "AugMix",
    "CutMix",
    "MixUp",
}


def built_outputs(kind: str, config: dict, x: torch.Tensor) -> list:
    """A layer of Keras' table applied to one picture of one channel, (H, W), as nested lists."""
    return BUILDERS[kind](config, (1, *x.shape)).module(x[None, None])[0, 0].tolist()


def test_average_with_same_padding_by_hand():
    """The mean of the values in the picture alone, as TensorFlow and JAX have it (Keras on torch counts the padding
    where it is uneven): windows of 3 every 2 over 4 x 4."""
    x = torch.arange(16.0).view(4, 4)
    config = {"pool_size": 3, "strides": 2, "padding": "same"}
    found = built_outputs("AveragePooling2D", config, x)
    wanted = [[x[:3, :3].mean(), x[:3, 2:].mean()], [x[2:, :3].mean(), x[2:, 2:].mean()]]
    assert np.allclose(found, wanted)


def test_turned_round(keras_with_weights):
    """layers that turn an axis round, as preprocess_input does to colours (Keras on torch cannot run them)."""
    entry = keras.Input((5, 5, 3))
    x = layers.Activation("tanh", name="end")(entry[..., ::-1] + np.array([-1.0, -2.0, -3.0], np.float32))
    y = layers.Activation("tanh", name="rows")(entry[:, ::-1, :, :])
    net = open_network(keras.Model(entry, [x, y]))
    pixels = torch.rand(2, 3, 5, 5)
    shifted = pixels.flip(1) - torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    assert torch.allclose(net.part("end")(pixels).output, shifted.tanh())
    assert torch.allclose(net.part("rows")(pixels).output, pixels.flip(2).tanh())


def test_every_type_is_tested():
    """The tables hold no type that this file never builds."""
    source = Path(__file__).read_text(encoding="utf-8")
    types = [kind for kind in {**BUILDERS, **JOINERS} if not kind.startswith(("Rand", *ELSEWHERE))]
    assert [kind for kind in types if f"layers.{kind}" not in source] == []


def test_repeat():
    """layers.RepeatVector makes tokens of a vector."""
    entry = keras.Input((6, 6, 3))
    x = layers.RepeatVector(4)(layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(entry)))
    assert_equals_keras(fill(keras.Model(entry, x)))


def test_thresholded_by_hand():
    """Keras 2's ThresholdedReLU: the value above theta, 0 elsewhere."""
    built = BUILDERS["ThresholdedReLU"]({"theta": 1.0}, (1, 1, 1))
    assert built.module(torch.tensor([[-1.0, 0.5, 1.0, 2.0]])).tolist() == [[0.0, 0.0, 0.0, 2.0]]
