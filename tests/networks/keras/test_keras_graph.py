"""build.py: whole Keras models rebuilt in torch: names, shapes, receptive fields, which node is captured where."""

import json

import keras
import numpy as np
import pytest
import torch
from keras import layers

from filterscope.errors import NetworkError
from filterscope.networks import open_network
from filterscope.networks.keras.build import read_graph


def config_of(model) -> dict:
    kind = "Sequential" if isinstance(model, keras.Sequential) else "Functional"
    return {"class_name": kind, "config": model.get_config()}


def own_outputs(model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's output by Keras itself."""
    own = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    probe = keras.Model(model.inputs[0], [layer.output for layer in own])
    values = probe(pixels, training=False)
    return {layer.name: keras.ops.convert_to_numpy(v) for layer, v in zip(own, values, strict=True)}


def our_outputs(net, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's output by the torch graph, in Keras' layout; of a layer with a softmax inside, after it."""
    x = net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    names = [name for name, row in net.layers.items() if row.kind != "InputLayer"]
    found = {}
    with torch.no_grad():
        for name, value in zip(names, net.probe(names)(x), strict=True):
            if net.layers[name].softmax == net.layers[name].output:
                value = net.part(name, softmax=True)(x).softmax
            found[name] = (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy()
    return found


def assert_same(model, net=None, size: int = 16):
    pixels = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    net = net or open_network(model)
    # a model that opens by name has Keras' own preprocessing for it, which stands before the model
    fed = keras.applications.vgg16.preprocess_input(pixels.copy()) if net.input.bgr else pixels
    wanted, found = own_outputs(model, fed), our_outputs(net, pixels)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        error = np.abs(found[name] - value).max() / np.abs(value).max()
        assert error < 1e-4, f"{name}: {error}"


def functional():
    x = entry = keras.Input((16, 16, 3), name="picture")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scaled")(x)
    x = layers.Conv2D(6, 3, padding="same", name="conv1")(x)
    x = layers.Activation("relu", name="conv1_activation")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    side = layers.GlobalAveragePooling2D(name="side")(x)  # a branch that leads nowhere else
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv2")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(7, name="dense", activation="relu")(x)
    x = layers.Dense(5, name="logits")(x)
    x = layers.Softmax(name="probabilities")(x)
    return keras.Model(entry, [x, side], name="functional")


def test_functional_model_equals_keras(keras_with_weights):
    """Every layer of a functional model with a branch computes what Keras computes."""
    assert_same(keras_with_weights(functional()))


def test_sequential_model_equals_keras(small_keras, small):
    """Every layer of a sequential model computes what Keras computes."""
    assert_same(small_keras, small)


def test_vgg16_with_top_equals_keras(keras_with_weights):
    """keras.applications.VGG16 with its classes: flatten, fc1, fc2, predictions."""
    model = keras.applications.VGG16(weights=None, include_top=True, input_shape=(32, 32, 3), classes=10)
    assert_same(keras_with_weights(model), size=32)


def test_vgg16_of_any_size_equals_keras(keras_with_weights):
    """keras.applications.VGG16 without its classes leaves its sides open and runs at any size."""
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(None, None, 3))
    net = open_network(keras_with_weights(model))
    assert not net.input.fixed
    assert_same(model, net, size=32)
    assert net.output_shape("block5_conv3", 48) == (512, 3, 3)


def test_vgg16_layer_table(random_vgg16):
    """Names, kinds, shapes, parameters and receptive fields of VGG16, as published."""
    rows = random_vgg16.layers
    assert [n for n, r in rows.items() if r.kind == "Conv2D"] == [
        f"block{b}_conv{c}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, count + 1)
    ]
    assert list(rows)[-4:] == ["flatten", "fc1", "fc2", "predictions"]
    assert sum(row.parameters for row in rows.values()) == 138_357_544
    table = {n: (r.output_shape, r.receptive_field) for n, r in rows.items()}
    assert table["block1_conv1"] == ((64, 224, 224), 3)
    assert table["block1_pool"] == ((64, 112, 112), 6)
    assert table["block3_conv1"] == ((256, 56, 56), 24)
    assert table["block5_conv3"] == ((512, 14, 14), 196)
    assert table["block5_pool"] == ((512, 7, 7), 212)
    assert table["fc1"] == ((4096,), None)
    assert table["predictions"] == ((1000,), None)
    assert random_vgg16.input.fixed


def test_receptive_fields_by_hand():
    """Kernel, stride and dilation: 3, then 3 + 1, then 4 + (5 - 1) * 2 and all of it behind an average."""
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(2, 3, name="a"),
            layers.MaxPooling2D(2, name="b"),
            layers.Conv2D(2, 3, dilation_rate=2, name="c"),
            layers.Conv2D(2, 1, strides=3, name="d"),
            layers.Conv2D(2, 2, name="e"),
            layers.GlobalAveragePooling2D(name="f"),
        ]
    )
    fields = {n: r.receptive_field for n, r in read_graph(config_of(model)).layers.items()}
    assert [fields[n] for n in "abcdef"] == [3, 4, 12, 12, 18, None]


def test_where_to_listen(keras_with_weights):
    """`linear` before the layer's own activation, `output` after it, `softmax` where one belongs to the layer."""
    net = open_network(keras_with_weights(functional()))
    rows = net.layers
    assert rows["conv2"].linear != rows["conv2"].output
    assert rows["conv1"].linear == rows["conv1"].output
    assert rows["conv1"].output != rows["conv1_activation"].output
    assert rows["logits"].softmax == rows["probabilities"].output
    assert rows["probabilities"].linear == rows["logits"].output
    assert rows["dense"].softmax is None
    assert rows["conv2"].depends_on == ("picture", "scaled", "conv1", "conv1_activation", "pool")


def test_softmax_as_a_dense_layers_own_activation(small):
    """A class layer with softmax inside is listened to before it, too."""
    row = small.layers["predictions"]
    assert row.softmax == row.output != row.linear


def test_names_that_differ_in_signs_alone(keras_with_weights):
    """Layers named `a b`, `a-b` and `a_b`, or `a` with an activation beside `a_activation`, are not mixed up."""
    names = ["a b", "a-b", "a_b", "a", "a_activation"]
    stack = [layers.Conv2D(2 + i, 1, activation="relu", name=n) for i, n in enumerate(names)]
    assert_same(keras_with_weights(keras.Sequential([keras.Input((16, 16, 3)), *stack])))


def test_weights_are_on_the_meta_device():
    """Reading a graph allocates no weights."""
    graph = read_graph(config_of(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)])))
    assert all(p.is_meta for p in graph.graph.parameters())


def test_lifted_rescaling():
    """A Rescaling right behind the input becomes mean and std of the input spec, in round numbers."""
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Rescaling(1 / 127.5, offset=-1), layers.Conv2D(4, 3)]
    )
    spec = open_network(model).input
    assert spec.mean == spec.std == (127.5, 127.5, 127.5)
    assert (spec.size, spec.channels, spec.fixed) == (8, 3, False)


def test_rescaling_elsewhere_is_a_layer(keras_with_weights):
    """A Rescaling deeper in the network keeps its own numbers."""
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.Rescaling(0.1, offset=2), layers.Conv2D(4, 3)]
    )
    net = open_network(keras_with_weights(model))
    assert net.input.keeps_pixel_scale
    assert_same(model, net)


def branching(kind: str):
    entry = keras.Input((8, 8, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="twice")
    if kind == "shared":
        return keras.Model(entry, conv(conv(entry)))
    if kind == "two inputs":
        other = keras.Input((8, 8, 3))
        return keras.Model([entry, other], [conv(entry), layers.Flatten()(other)])
    if kind == "merge":
        return keras.Model(entry, layers.Add(name="sum")([conv(entry), entry]))
    if kind == "nested":
        return keras.Sequential([entry, keras.Sequential([conv], name="inner"), layers.Flatten()])
    if kind == "vector":
        return keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    return keras.Sequential([keras.Input((8, 8, 8, 3)), layers.Conv3D(3, 1)])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("two inputs", "several inputs"),
        ("vector", "is no picture: its shape is"),
        ("volume", "is no picture: its shape is"),
    ],
)
def test_refused(kind, message):
    """A graph that cannot be rebuilt is refused with the layer that stands in the way."""
    with pytest.raises(NetworkError, match=message):
        read_graph(config_of(branching(kind)))


@pytest.mark.parametrize("kind", [None, "MyModel", "Dense"])
def test_no_graph(kind):
    """A class without a graph is refused."""
    with pytest.raises(NetworkError, match="has no graph to read; Functional and Sequential have"):
        read_graph({"class_name": kind, "config": {}})


def test_config_is_plain_data(small_keras):
    """The graph is read from JSON alone."""
    data = json.loads(small_keras.to_json())
    graph = read_graph({"class_name": data["class_name"], "config": data["config"]})
    assert list(graph.layers) == ["picture", "conv1", "pool", "conv2", "flatten", "predictions"]
