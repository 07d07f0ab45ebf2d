"""open.py: names, files and objects in, a Network out; errors with the nearest name."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from keras import layers

from filterscope.errors import ArgumentError, NetworkError, WeightsError
from filterscope.networks import Network, network_names, open_network


@pytest.fixture
def keras_file(small_keras, tmp_path) -> Path:
    """The small classifier as a .keras file."""
    small_keras.save(tmp_path / "small.keras")
    return tmp_path / "small.keras"


def rewritten(path: Path, **members: bytes | None) -> Path:
    """A copy of a .keras file with members replaced, or left out where None."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content.update({name.replace("__", "."): value for name, value in members.items()})
    with zipfile.ZipFile(path.with_name("other.keras"), "w") as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)
    return path.with_name("other.keras")


def answer(net: Network, layer: str = "predictions") -> np.ndarray:
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        return net.part(layer)(net.input.preprocess(pixels)).output.numpy()


@pytest.mark.parametrize("name", ["tiny-vgg16", "TINY-VGG16", "keras:tiny-vgg16"])
def test_embedded(name):
    """The embedded network opens by name, with its classes."""
    net = open_network(name)
    assert net.name == "tiny-vgg16"
    assert len(net.classes) == 200
    assert net.class_names("predictions")[0][0] == "goldfish"
    assert all(row.trained for row in net.layers.values())


@pytest.mark.parametrize("name", ["vgg16", "VGG16", "keras:vgg16"])
def test_application(name, vgg16_file):
    """Keras' VGG16 opens by name with a weights file in any spelling of its path."""
    for weights in (vgg16_file, str(vgg16_file)):
        net = open_network(name, weights=weights)
        assert net.name == "vgg16"
        assert len(net.classes) == 1000
        assert net.class_name(net_target(net, "predictions", 65)) == "sea_snake"


def net_target(net, layer, unit):
    from filterscope.target import Target

    return Target(layer, unit)


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        ("tiny-vgg16", "block5_conv3", 64),
        ("mobilenet", "conv_dw_6", 64),
        ("efficientnetb0", "block3b_expand_conv", 64),
    ],
)
def test_random_weights(name, layer, size, caplog):
    """The bare architecture: said loudly, the same every time, fed as published, and its signals neither die nor burst."""
    net = open_network(name, weights="random")
    assert "RANDOM weights" in caplog.text
    assert net.random
    assert net.weights_file == "random"
    other = open_network(name, weights="random")
    assert other.weights.sha256 == net.weights.sha256
    assert net.input == open_network(name).input
    x = net.input.preprocess(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255)
    with torch.no_grad():
        output = net.part(layer)(x).output
        assert torch.equal(output, other.part(layer)(x).output)
    assert 1e-3 < float(output.std() / max(1, x.std())) < 1e3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("weights", "weights is a file's name, or 'random' .got 5."),
        ("classes", "classes takes the classes' names in order .got 5."),
        ("show_channels", "shown takes three channels' numbers, as 3,2,1 .got 5."),
        ("range", "range takes the values of black and white"),
    ],
)
def test_odd_options(option, message):
    """Of the wrong type: what is allowed."""
    with pytest.raises(ArgumentError, match=message):
        open_network("tiny-vgg16", **{option: 5})
    with pytest.raises(ArgumentError, match=r"size takes a whole number from 1 to 8192 .got 'a'."):
        open_network("tiny-vgg16", size="a")


def test_random_weights_of_what_has_its_own(small, keras_file, small_keras):
    """A model file and a model object carry theirs."""
    for source in (keras_file, small_keras):
        with pytest.raises(NetworkError, match="has weights of its own: leave out weights='random'"):
            open_network(source, weights="random")


def test_names():
    """The list of names holds the networks that open by name, the embedded one first."""
    assert network_names()[:5] == ["tiny-vgg16", *(f"efficientnet-lite{n}" for n in range(3)), "vgg16"]
    assert {"resnet50", "convnextxlarge", "nasnetmobile"} < set(network_names())


@pytest.mark.parametrize("make", [str, Path])
def test_keras_file(keras_file, small, make):
    """A .keras file opens by its path and computes what the live model does."""
    net = open_network(make(keras_file))
    assert net.name == "small"
    assert np.allclose(answer(net), answer(small), atol=1e-4)


def test_keras_file_in_this_folder(keras_file, monkeypatch):
    """A bare file name is a path, not a network's name."""
    monkeypatch.chdir(keras_file.parent)
    assert open_network("small.keras").name == "small"


def test_no_code_of_a_file_is_run(keras_file):
    """A model file that names a class of its own is refused, and nothing of it is imported."""
    config = {"module": "os", "class_name": "system", "registered_name": "x>y", "config": {"layers": []}}
    with pytest.raises(NetworkError, match="class 'system' has no graph"):
        open_network(rewritten(keras_file, config__json=json.dumps(config).encode()))


def test_opened_network_is_returned(tiny):
    """A Network goes through untouched."""
    assert open_network(tiny) is tiny


def test_model_that_opens_by_name_is_recognized():
    """A Keras VGG16 passed as an object gets VGG16's own preprocessing and classes; another of that name does not."""
    vgg16 = keras.applications.VGG16
    hidden = open_network(vgg16(weights=None, include_top=False, input_shape=(32, 32, 3)))
    assert hidden.input.bgr
    assert (hidden.input.size, hidden.input.fixed) == (32, False)
    ten = open_network(vgg16(weights=None, input_shape=(32, 32, 3), classes=10))
    assert not ten.input.bgr
    assert ten.class_names("predictions") == ()
    other = open_network(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3)], name="vgg16"))
    assert not other.input.bgr


def test_model_object_is_not_changed(small_keras):
    """Opening and using a model leaves its config and weights as they were, and later changes do not leak in."""
    config, weights = small_keras.get_config(), [w.copy() for w in small_keras.get_weights()]
    net = open_network(small_keras)
    before = answer(net)
    assert small_keras.get_config() == config
    assert all(np.array_equal(a, b) for a, b in zip(small_keras.get_weights(), weights, strict=True))
    small_keras.set_weights([w * 0 for w in weights])
    try:
        assert np.array_equal(answer(net), before)
    finally:
        small_keras.set_weights(weights)


def test_weights_with_a_model_object(small_keras, tmp_path):
    """`weights` is used instead of the model's own."""
    small_keras.save_weights(tmp_path / "x.weights.h5")
    assert open_network(small_keras, weights=tmp_path / "x.weights.h5").weights_file == "x.weights.h5"
    with pytest.raises(WeightsError, match="there is no weights file"):
        open_network(small_keras, weights=tmp_path / "missing.h5")


def test_weights_with_an_opened_network(tiny, tiny_file):
    """An opened network has its weights: others are refused, never ignored."""
    with pytest.raises(ArgumentError, match="weights"):
        open_network(tiny, weights=tiny_file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vvg16",
            r"unknown network 'vvg16'; did you mean 'vgg16', .*known: tiny-vgg16, efficientnet-lite0, .*FACTORY\)",
        ),
        ("tiny_vgg16", "did you mean 'tiny-vgg16'"),
        ("", "unknown network ''"),
        ("KERAS:resnet", "unknown network 'resnet'; did you mean 'resnet50"),
        ("missing.keras", "there is no model file 'missing.keras'"),
        ("no/such/file", "there is no model file 'no/such/file'"),
    ],
)
def test_unknown(name, message):
    """An unknown name gets the nearest and the list; a missing file its path."""
    with pytest.raises(NetworkError, match=message):
        open_network(name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "cannot open a NoneType"),
        (3, "cannot open a int"),
        ({}, "several networks are a dictionary with a name for each"),
        ({"weight": torch.ones(3)}, "a state dict holds weights and no architecture"),
        (torch.nn.ReLU, r"a class is none yet: make one, ReLU\(...\)"),
        ([torch.nn.ReLU()], "several networks are a dictionary with a name for each"),
        (torch.nn.ReLU(), "cannot open a ReLU: it has no weights"),
    ],
)
def test_not_a_network(source, message):
    """Other objects are refused by their type."""
    with pytest.raises(NetworkError, match=message):
        open_network(source)


def test_a_subclassed_model_without_shapes_is_refused():
    """A Keras model that was never called."""

    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(NetworkError, match="Own was never called on pictures"):
        open_network(Own())


def test_model_that_was_never_built():
    """A Sequential without an input has no shapes yet: refused, with its layer named."""
    with pytest.raises(NetworkError, match="conv"):
        open_network(keras.Sequential([layers.Conv2D(2, 3, name="conv")]))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_keras_file_cut_short(keras_file, share):
    """A .keras file cut short is refused."""
    keras_file.write_bytes(keras_file.read_bytes()[: int(keras_file.stat().st_size * share)])
    with pytest.raises(NetworkError, match=r"small.keras is no whole .keras file"):
        open_network(keras_file)


def test_keras_file_of_another_ending(keras_file):
    """A path that is no .keras file is refused."""
    other = keras_file.rename(keras_file.with_suffix(".pb"))
    with pytest.raises(NetworkError, match=r"small.pb' is a whole Keras model: name it FILE.keras"):
        open_network(str(other))


def test_keras_file_without_weights(keras_file):
    """A .keras file that lacks its weights is refused."""
    with pytest.raises(WeightsError, match=r"other.keras holds no whole model.weights.h5"):
        open_network(rewritten(keras_file, model__weights__h5=None))


def test_keras_file_with_damaged_weights(keras_file):
    """A .keras file whose weights are damaged is refused."""
    with pytest.raises(WeightsError, match=r"other.keras is no whole HDF5"):
        open_network(rewritten(keras_file, model__weights__h5=b"\0" * 100))


PICTURE = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 4, 4, 3]}}
CONV = {
    "filters": 2,
    "kernel_size": [9, 9],
    "strides": [1, 1],
    "dilation_rate": [1, 1],
    "padding": "valid",
    "use_bias": True,
}


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"class_name": "Functional"}',
        b'{"class_name": "Functional", "config": {}}',
        b'{"class_name": "Functional", "config": {"layers": []}}',
        b'{"class_name": "Functional", "config": {"layers": [3]}}',
        json.dumps(
            {
                "class_name": "Sequential",
                "config": {"layers": [PICTURE, {"class_name": "Conv2D", "config": {"name": "c"}}]},
            }
        ).encode(),
        json.dumps(
            {
                "class_name": "Sequential",
                "config": {"layers": [PICTURE, {"class_name": "Conv2D", "config": {"name": "c", **CONV}}]},
            }
        ).encode(),
    ],
)
def test_keras_file_with_a_damaged_config(keras_file, config):
    """A config that is no model's is refused as such, never a traceback."""
    with pytest.raises(NetworkError):
        open_network(rewritten(keras_file, config__json=config))


def test_shapes_at_another_size():
    """A network's layers are listed at the size that it is fed at; one that does not fit every layer is refused."""
    net = open_network("tiny-vgg16?size=96")
    assert net.layer("block3_conv3").output_shape == (128, 24, 24)
    assert net.layer("predictions").output_shape == (200,)
    assert net.layers["block1_conv1"].output_shape == net.output_shape("block1_conv1", 96)
    with pytest.raises(ArgumentError, match="does not run at 8 px; the smallest size that works is 16 px"):
        open_network("tiny-vgg16?size=8")
