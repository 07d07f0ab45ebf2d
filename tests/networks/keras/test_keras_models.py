"""Keras models of every build: branches, models within models, shared layers, older Keras' files, other backends."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers
from tests.helpers.keras_comparison import differences, fill, keras_outputs, torch_outputs

import filterscope as fs
from filterscope.errors import NetworkError, TargetError
from filterscope.networks import open_network
from filterscope.networks.keras.build import read_graph
from filterscope.networks.keras.config import Constant, Ref, describe
from filterscope.networks.keras.names import snake_case


def assert_same(model, net, *, layers_too: bool = True) -> None:
    """Every layer of the model computes what Keras computes."""
    size = model.input_shape[1] or 16
    pixels = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
    errors = differences(found, keras_outputs(model, pixels))
    assert max(errors.values()) < 1e-4, errors


def residual():
    """A residual block with squeeze-and-excitation, and branches that are put side by side."""
    entry = keras.Input((16, 16, 3), name="picture")
    x = layers.Rescaling(1 / 255, name="scaled")(entry)
    x = skip = layers.Conv2D(6, 3, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Activation("relu", name="bn_relu")(x)
    x = layers.Conv2D(6, 3, padding="same", name="conv")(x)
    gate = layers.GlobalAveragePooling2D(name="squeeze")(x)
    gate = layers.Dense(6, activation="sigmoid", name="gate")(layers.Reshape((1, 1, 6), name="place")(gate))
    x = layers.Multiply(name="excite")([x, gate])
    x = layers.Add(name="sum")([skip, x])
    a = layers.Conv2D(4, 1, activation="relu", name="narrow")(skip)
    b = layers.Conv2D(4, 5, padding="same", activation="relu", name="wide")(skip)
    side = layers.Concatenate(name="side")([a, b])
    both = layers.Concatenate(name="both")(
        [layers.GlobalMaxPooling2D(name="max")(x), layers.GlobalAveragePooling2D(name="mean")(side)]
    )
    return keras.Model(
        entry, layers.Dense(5, activation="softmax", name="predictions")(both), name="residual"
    )


def test_branches():
    """A graph that splits and joins: outputs, receptive fields, what stands before an activation."""
    model = fill(residual())
    net = open_network(model)
    assert_same(model, net)
    fields = {name: row.receptive_field for name, row in net.layers.items()}
    assert [fields[n] for n in ("stem", "conv", "narrow", "wide", "side")] == [3, 5, 3, 7, 7]
    assert [fields[n] for n in ("squeeze", "gate", "excite", "sum", "both")] == [None] * 5
    rows = net.layers
    assert rows["bn_relu"].linear == rows["bn"].output == rows["bn"].linear
    assert rows["conv"].linear == rows["conv"].output
    assert rows["predictions"].logits == rows["predictions"].linear
    assert not net.input.fixed


def test_the_value_before_joined_activations():
    """Branches put side by side behind their activations are looked at before them, too."""
    net = open_network(fill(residual()))
    taps = net.part("side")(torch.randn(1, 3, 16, 16) * 3)
    assert taps.linear.min() < 0
    assert torch.equal(taps.linear.relu(), taps.output)


def nested():
    """Models in a model in a model; one of them called twice."""
    block = keras.Sequential(
        [
            keras.Input((None, None, 4)),
            layers.Conv2D(4, 3, padding="same", name="conv"),
            layers.BatchNormalization(name="bn"),
        ],
        name="block",
    )
    start = keras.Input((None, None, 3))
    deep = layers.Conv2D(4, 3, activation="relu", name="conv")(start)
    deep = keras.Model(start, block(layers.ReLU(name="relu")(block(deep))), name="deep")
    entry = keras.Input((16, 16, 3), name="picture")
    augment = keras.Sequential(
        [layers.RandomFlip(name="flip"), layers.RandomRotation(0.1, name="turn")], name="augment"
    )
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scaled")(augment(entry))
    x = layers.GlobalAveragePooling2D(name="mean")(deep(x))
    return keras.Model(entry, layers.Dense(3, name="dense")(x), name="nested")


def test_models_within_models():
    """Layers of inner models are `inner/layer`, the inner model is its own output, a second call is `#2`."""
    model = fill(nested())
    net = open_network(model)
    assert_same(model, net)
    assert [n for n in net.layers if n.startswith("deep")] == [
        *("deep/conv", "deep/block/conv", "deep/block/bn", "deep/block", "deep/relu"),
        *("deep/block/conv#2", "deep/block/bn#2", "deep/block#2", "deep"),
    ]
    assert (
        net.layers["deep"].output == net.layers["deep/block#2"].output == net.layers["deep/block/bn#2"].output
    )
    assert net.layers["deep"].parameters == model.get_layer("deep").count_params()
    assert sum(r.parameters for n, r in net.layers.items() if "/" not in n) == model.count_params()
    assert net.input.mean == net.input.std == (127.5,) * 3  # behind the augmentation, which does nothing here
    assert "deep/block/conv" in net.layers["deep/block/conv#2"].depends_on
    assert str(net.targets("deep/block/conv#2:3@1,2")[0]) == "deep/block/conv#2:3@1,2"


def test_an_inner_layer_is_itself():
    """A layer deep inside computes what the inner model's layer computes."""
    model = fill(nested())
    net = open_network(model)
    x = torch.randn(1, 3, 16, 16)
    deep = model.get_layer("deep")
    inner = keras.Model(deep.inputs, deep.get_layer("conv").output)
    wanted = keras.ops.convert_to_numpy(inner([x.permute(0, 2, 3, 1).numpy()]))
    found = net.part("deep/conv")(x).output.permute(0, 2, 3, 1)
    assert np.allclose(found.numpy(), wanted, atol=1e-4)


def test_shared_layers():
    """A layer called three times has three places to look at and one set of weights."""
    entry = keras.Input((16, 16, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    x = conv(entry)
    y = layers.Add(name="sum")([conv(layers.ReLU(name="relu")(x)), conv(entry * 2)])
    model = fill(keras.Model(entry, y))
    net = open_network(model)
    assert {"conv", "conv#2", "conv#3"} < set(net.layers)
    assert [net.layers[n].parameters for n in ("conv", "conv#2", "conv#3")] == [84, 0, 0]
    x = torch.randn(1, 3, 16, 16)
    wanted = keras.ops.convert_to_numpy(model(x.permute(0, 2, 3, 1).numpy()))
    assert np.allclose(net.part("sum")(x).output.permute(0, 2, 3, 1).numpy(), wanted, atol=1e-4)
    twice = net.part("conv")(net.part("relu")(x).output).output
    assert any(torch.allclose(net.part(n)(x).output, twice, atol=1e-5) for n in ("conv#2", "conv#3"))


def test_a_shared_layer_without_weights_is_refused_wherever_it_is_called(tmp_path):
    """A file that lacks the layer's weights leaves none of its calls to draw."""
    entry = keras.Input((8, 8, 3))
    conv, other = layers.Conv2D(3, 1, name="conv"), layers.Conv2D(3, 1, name="other")
    model = keras.Model(entry, [conv(entry), conv(other(entry))])
    from safetensors.numpy import save_file

    save_file(
        {"other/kernel": np.zeros((1, 1, 3, 3), "f4"), "other/bias": np.zeros(3, "f4")},
        tmp_path / "x.safetensors",
    )
    net = open_network(model, weights=tmp_path / "x.safetensors")
    assert net.targets("other:1")
    for name in ("conv", "conv#2"):
        with pytest.raises(TargetError, match="conv"):
            net.targets(f"{name}:1")


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("make", [residual, nested])
def test_whole_model_files(tmp_path, make, ending):
    """`.keras` and `.h5` of models with branches and models within."""
    model = fill(make())
    path = tmp_path / f"saved.{ending}"
    model.save(path)
    net = open_network(path)
    assert net.name == "saved"
    assert_same(model, net)


@pytest.mark.parametrize("make", [residual, nested])
def test_weights_files(tmp_path, make):
    """`.weights.h5` of such models."""
    model = fill(make())
    model.save_weights(tmp_path / "x.weights.h5")
    other = fill(make(), seed=5)
    assert_same(model, open_network(other, weights=tmp_path / "x.weights.h5"))


def test_names_that_keras_counted_in_another_session(tmp_path):
    """Weights of layers without names of their own fit the same model made later."""

    def make():
        x = entry = keras.Input((16, 16, 3))
        for _ in range(3):
            x = layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(x))
        return keras.Model(entry, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))

    model, later = fill(make()), make()
    assert model.layers[1].name != later.layers[1].name
    model.save_weights(tmp_path / "x.weights.h5")
    model.save(tmp_path / "x.h5")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(model(pixels))
    for name in ("x.weights.h5", "x.h5"):
        net = open_network(later, weights=tmp_path / name)
        found = net.part(later.layers[-1].name)(torch.from_numpy(pixels).permute(0, 3, 1, 2)).output
        assert np.allclose(found.detach().numpy(), wanted, atol=1e-4), name


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float16"])
def test_half_precision(tmp_path, policy):
    """A model in mixed or half precision is read as float32."""
    entry = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, dtype=policy, activation="relu", name="conv")(entry)
    x = layers.BatchNormalization(dtype=policy, name="bn")(x)
    model = fill(
        keras.Model(entry, layers.Dense(3, dtype="float32", name="end")(layers.GlobalAveragePooling2D()(x)))
    )
    plain = keras.models.clone_model(model, clone_function=_in_float32)
    plain.set_weights([np.array(keras.ops.convert_to_numpy(w), np.float32) for w in model.weights])
    for opened in _opened_in_all_ways(model, tmp_path):
        assert_same(plain, opened)


def _in_float32(layer):
    config = layer.get_config()
    return type(layer).from_config({**config, "dtype": "float32"})


def _opened_in_all_ways(model, folder):
    yield open_network(model)
    for name in ("x.keras", "x.h5"):
        model.save(folder / name)
        yield open_network(folder / name)
    model.save_weights(folder / "x.weights.h5")
    yield open_network(model, weights=folder / "x.weights.h5")


def test_quantized_models_are_refused():
    """Eight-bit weights are refused by the layer's name."""
    dense = layers.Dense(4, name="small")
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), dense])
    dense.quantize("int8")
    with pytest.raises(NetworkError, match=r"layer 'small' \(Dense\) is quantized"):
        open_network(model)


def test_tokens_of_a_vision_transformer():
    """Patches of a picture as a map; the token in front of them, of the class, by name; one patch by its place."""
    entry = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4, name="patches")(entry))
    front = layers.Reshape((1, 8))(layers.Dense(8, name="class")(layers.GlobalAveragePooling1D()(x)))
    x = layers.Concatenate(axis=1, name="tokens")([front, x])
    x = x + np.random.default_rng(0).normal(size=(1, 17, 8)).astype(np.float32)
    y = layers.LayerNormalization(name="norm")(x)
    x = layers.Add(name="block")([x, layers.MultiHeadAttention(2, 4, name="attention")(y, y)])
    x = layers.Dense(6, activation="gelu", name="mlp")(x)
    model = fill(keras.Model(entry, layers.Dense(3, name="end")(x[:, 0])))
    net = open_network(model)
    assert_same(model, net)
    assert net.layers["block"].output_shape == (8, 4, 4)
    assert net.layer("block@cls").output_shape == (8,)
    pixels = torch.rand(1, 3, 16, 16)
    found = torch.from_numpy(torch_outputs(net, pixels)["block"])  # (1, 17, 8)
    assert torch.allclose(
        net.part("block")(pixels).output, found[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    )
    assert torch.allclose(net.part("block@cls")(pixels).output, found[:, 0])
    assert net.layers["mlp"].linear != net.layers["mlp"].output
    for target in ("block:2", "block:2@1,3", "block@cls:2", "mlp:1", "attention:0", "end:1"):
        picture = fs.visualize(
            net, target, steps=12, size=16, recipe="linear", progress=False, precision="float32"
        )
        assert picture.scores.activation > picture.scores.start, target
    assert not net.layer("end").spatial


# --- older Keras --------------------------------------------------------------------------------------------


def keras2_config() -> dict:
    """A functional model as tf.keras 2 wrote it: lists for calls, batch_input_shape, a model within, an operation."""

    def layer(kind, name, inbound, **config):
        return {
            "class_name": kind,
            "name": name,
            "config": {"name": name, **config},
            "inbound_nodes": inbound,
        }

    conv = {
        "filters": 4,
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "same",
        "dilation_rate": [1, 1],
    }
    conv |= {"use_bias": True, "activation": "relu", "data_format": "channels_last", "groups": 1}
    inner = {
        "name": "inner",
        "layers": [
            {
                "class_name": "InputLayer",
                "config": {"batch_input_shape": [None, None, None, 4], "name": "inner_input"},
            },
            {"class_name": "Conv2D", "config": {"name": "conv", **conv}},
        ],
    }
    return {
        "class_name": "Model",
        "config": {
            "name": "old",
            "layers": [
                layer(
                    "InputLayer",
                    "picture",
                    [],
                    batch_input_shape=[None, 8, 8, 3],
                    dtype="float32",
                    sparse=False,
                ),
                layer("Conv2D", "stem", [[["picture", 0, 0, {}]]], **conv),
                layer(
                    "BatchNormalizationV1",
                    "bn",
                    [[["stem", 0, 0, {}]]],
                    axis=[3],
                    epsilon=0.001,
                    scale=True,
                    center=True,
                ),
                layer(
                    "TFOpLambda",
                    "tf.math.multiply",
                    [["bn", 0, 0, {"y": 0.5, "name": None}]],
                    function="math.multiply",
                ),
                {
                    **layer("Sequential", "inner", [[["tf.math.multiply", 0, 0, {}]], [["stem", 0, 0, {}]]]),
                    "config": inner,
                },
                layer("Add", "sum", [[["inner", 1, 0, {}], ["inner", 2, 0, {}]]]),
                layer("GlobalAveragePooling2D", "pool", [[["sum", 0, 0, {}]]], data_format="channels_last"),
                layer("Dense", "dense", [[["pool", 0, 0, {}]]], units=3, use_bias=True, activation="softmax"),
            ],
            "input_layers": [["picture", 0, 0]],
            "output_layers": [["dense", 0, 0]],
        },
    }


def test_a_whole_model_of_keras_2(tmp_path):
    """An `.h5` of tf.keras 2: its config's spelling, and weights with `:0` in one list for the inner model."""
    rng = np.random.default_rng(0)
    shapes = {
        "stem": {"stem/kernel:0": (3, 3, 3, 4), "stem/bias:0": (4,)},
        "bn": {f"bn/{n}:0": (4,) for n in ("gamma", "beta", "moving_mean", "moving_variance")},
        "inner": {"conv_1/kernel:0": (3, 3, 4, 4), "conv_1/bias:0": (4,)},
        "dense": {"dense/kernel:0": (4, 3), "dense/bias:0": (3,)},
    }
    values = {
        name: rng.uniform(0.1, 1, shape).astype("f4")
        for own in shapes.values()
        for name, shape in own.items()
    }
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(keras2_config()).encode()
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [
            b"picture",
            b"stem",
            b"bn",
            b"tf.math.multiply",
            b"inner",
            b"sum",
            b"pool",
            b"dense",
        ]
        for layer in ("picture", "stem", "bn", "tf.math.multiply", "inner", "sum", "pool", "dense"):
            own = shapes.get(layer, {})
            group = top.create_group(layer)
            group.attrs["weight_names"] = np.array([n.encode() for n in own], "S")
            for name in own:
                group[name] = values[name]
    net = open_network(tmp_path / "old.h5")
    assert list(net.layers) == [
        *("picture", "stem", "bn", "tf.math.multiply", "inner/conv", "inner", "inner/conv#2", "inner#2"),
        *("sum", "pool", "dense"),
    ]
    assert net.layers["bn"].kind == "BatchNormalization"
    x = torch.rand(1, 3, 8, 8)

    def conv(x, name):
        kernel = torch.from_numpy(values[f"{name}/kernel:0"]).permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(
            x, kernel, torch.from_numpy(values[f"{name}/bias:0"]), padding=1
        ).relu()

    gamma, beta, mean, variance = (
        torch.from_numpy(values[f"bn/{n}:0"]).view(1, 4, 1, 1)
        for n in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    stem = conv(x, "stem")
    half = 0.5 * (gamma * (stem - mean) / (variance + 1e-3).sqrt() + beta)
    wanted = conv(half, "conv_1") + conv(stem, "conv_1")
    assert torch.allclose(net.part("sum")(x).output, wanted, atol=1e-4)


def test_a_sequential_model_of_keras_2():
    """Layers in a list, the shape in the first layer, class names of long ago."""
    conv = {"name": "c", "filters": 2, "kernel_size": 3, "padding": "same", "use_bias": False}
    config = {
        "class_name": "Sequential",
        "config": [
            {"class_name": "Convolution2D", "config": {**conv, "batch_input_shape": [None, 8, 8, 3]}},
            {
                "class_name": "MaxPool2D",
                "config": {"name": "p", "pool_size": [2, 2], "strides": None, "padding": "valid"},
            },
        ],
    }
    graph = read_graph(config)
    assert [(n, r.kind, r.output_shape) for n, r in graph.layers.items()] == [
        ("c_input", "InputLayer", (3, 8, 8)),
        ("c", "Conv2D", (2, 8, 8)),
        ("p", "MaxPooling2D", (2, 4, 4)),
    ]


def test_arguments_of_calls():
    """Tensors, arrays, slices and numbers in a call, as Keras 3 writes them."""
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": ["a", 0, 0]}}
    nodes: list[dict[str, Any]] = [
        {"args": [tensor, {"class_name": "__slice__", "config": {"start": 1, "stop": None, "step": 2}}]}
    ]
    array = {"class_name": "__numpy__", "config": {"value": [1.0, 2.0], "dtype": "float32"}}
    nodes[0]["kwargs"] = {"y": array, "rest": {"class_name": "__ellipsis__", "config": {}}}
    config = {
        "layers": [
            {
                "class_name": "InputLayer",
                "name": "a",
                "config": {"batch_shape": [None, 4]},
                "inbound_nodes": [],
            },
            {
                "class_name": "Add",
                "module": "keras.src.ops.numpy",
                "name": "b",
                "config": {},
                "inbound_nodes": nodes,
            },
        ],
        "input_layers": ["a", 0, 0],
        "output_layers": ["b", 0, 0],
    }
    call = describe("Functional", config).calls[1]
    assert call.args == (Ref("a"), slice(1, None, 2))
    assert call.kwargs == {"y": Constant([1.0, 2.0]), "rest": ...}
    assert call.refs == [Ref("a")]
    assert call.is_operation


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Conv2D", "conv2d"),
        ("ReLU", "re_lu"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("Add", "add"),
    ],
)
def test_names_that_keras_makes(kind, name):
    """Of each class."""
    assert snake_case(kind) == name == keras.src.utils.naming.to_snake_case(kind)


# --- other backends -----------------------------------------------------------------------------------------

SCRIPT = """
import keras, numpy as np, torch
torch.set_num_threads(1)
from keras import layers
import filterscope as fs
assert keras.backend.backend() == BACKEND
size = 15 if BACKEND == "torch" else 16  # Keras on torch counts the padding of a mean where it is uneven
entry = keras.Input((size, size, 3))
x = layers.Conv2D(4, 3, padding="same", name="conv")(layers.Rescaling(1 / 255)(entry))
x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(x))
x = layers.AveragePooling2D(3, 2, padding="same", name="pool")(x)
model = keras.Model(entry, layers.Dense(3, name="dense")(layers.Flatten()(x)))
rng = np.random.default_rng(0)
draw = {True: rng.normal, False: rng.uniform}
model.set_weights([draw[len(w.shape) > 1](0.1, 1, w.shape).astype("float32") for w in model.weights])
net = fs.open_network(model)
pixels = rng.uniform(0, 255, (2, size, size, 3)).astype("float32")
given = net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2))
for name in ("relu", "pool", "dense"):
    wanted = np.asarray(keras.ops.convert_to_numpy(keras.Model(entry, model.get_layer(name).output)(pixels)))
    found = net.part(name)(given).output.detach()
    found = (found.permute(0, 2, 3, 1) if found.ndim == 4 else found).numpy()
    assert np.abs(found - wanted).max() / np.abs(wanted).max() < 1e-4, name
picture = fs.visualize(model, "conv:2", steps=16, size=size, recipe="linear", progress=False)
assert picture.scores.activation > picture.scores.start, picture.scores
print("drawn", picture.image.shape)
"""


@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_backends(backend):
    """A live model on each of Keras' backends: the same outputs, and a filter drawn."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    script = SCRIPT.replace("BACKEND", repr(backend))
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "drawn (1" in done.stdout


@pytest.mark.parametrize("shared", [False, True])
def test_causal_attention(shared, tmp_path):
    """use_causal_mask: a place sees none behind it; with the scores given out as well."""
    entry = keras.Input((8, 8, 3))
    x = layers.Reshape((16, 4))(layers.Conv2D(4, 2, strides=2)(entry))
    attention = layers.MultiHeadAttention(2, 3)
    found = attention(x, x, use_causal_mask=True, return_attention_scores=shared)
    end = layers.Dense(3, name="end")(found[0] if shared else found)
    assert_equals_keras_file(fill(keras.Model(entry, end)), tmp_path)


def assert_equals_keras_file(model, folder):
    """The last layer's numbers, live and from a file."""
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(model(pixels))
    model.save(folder / "model.keras")
    for source in (model, folder / "model.keras"):
        net = open_network(source)
        found = torch_outputs(net, net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
        assert np.abs(found["end"] - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


def test_layers_called_as_in_training(tmp_path, caplog):
    """What would act at random is left out, with a line that says so; a norm over the batch is refused, wherever it is,
    unless it is frozen."""
    for name, settings in (("live", {}), ("frozen", {"trainable": False})):
        entry = keras.Input((8, 8, 3))
        inner = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(**settings)], name="inner"
        )
        model = keras.Model(entry, layers.Conv2D(2, 1, name="end")(inner(entry, training=True)))
        model.save(tmp_path / f"{name}.keras")
    with pytest.raises(NetworkError, match=r"inner/batch_normalization.*training=True"):
        open_network(tmp_path / "live.keras")
    assert "end" in open_network(tmp_path / "frozen.keras").layers
    entry = keras.Input((8, 8, 3))
    x = layers.Dropout(0.5, name="dropping")(layers.Conv2D(4, 3)(entry), training=True)
    caplog.clear()
    open_network(keras.Model(entry, layers.Conv2D(2, 1)(x)))
    assert "dropping would act at random (called with training=True)" in caplog.text


def test_an_application_with_its_preprocessing_within(tmp_path):
    """A model that is called as one of keras.applications, and prepares its pictures itself, is fed plain ones."""
    entry = keras.Input((32, 32, 3))
    within = keras.applications.vgg16.preprocess_input(entry)
    model = keras.applications.VGG16(weights=None, include_top=False, input_tensor=within)
    plain = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert model.name == plain.name == "vgg16"
    assert not open_network(model).input.bgr
    assert open_network(plain).input.bgr
