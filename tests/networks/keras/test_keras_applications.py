"""applications.py: every application rebuilt computes at every layer what Keras computes, under its names."""

import keras
import numpy as np
import pytest
import torch
from tests.helpers.keras_comparison import application, compared, fill

from filterscope.errors import NetworkError
from filterscope.networks import open_network
from filterscope.networks.keras.applications import (
    APPLICATIONS,
    EFFICIENTNET_STD,
    application_called,
    canonical_names,
    corrected,
    renamed,
)
from filterscope.networks.keras.build import read_graph
from filterscope.networks.keras.source import application_config

# the smallest of each family in CI, all in the slow run
SMALLEST = (
    *(
        "convnexttiny",
        "densenet121",
        "efficientnetb0",
        "efficientnetv2b0",
        "inceptionresnetv2",
        "inceptionv3",
    ),
    *(
        "mobilenet",
        "mobilenetv2",
        "mobilenetv3small",
        "nasnetmobile",
        "resnet50",
        "resnet50v2",
        "vgg16",
        "xception",
    ),
)
ALL = [pytest.param(n, marks=() if n in SMALLEST else pytest.mark.slow) for n in APPLICATIONS]


@pytest.mark.parametrize("name", ALL)
def test_every_layer_equals_keras(name):
    """Random weights and batch-norm statistics: at most 1e-4 from Keras' own output at every layer; the classes are
    known, and the layer of classes is found."""
    model, size = application(name)
    net = open_network(model)
    errors = compared(model, net, size, raw=APPLICATIONS[name].input is None or not net.classes)
    assert {op.name for op in model.operations} == {n for n in net.layers if "/" not in n}
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] < 1e-4, f"{worst}: {errors[worst]}"
    if not net.input.fixed:  # VGG's classes hang on the size, so that a small one is another network
        assert net.class_names(model.layers[-1].name)[65][0] == "sea_snake"
    assert all(not module.training for module in net.part(model.layers[-1].name).graph.children())


def test_every_application_of_keras_is_there():
    """The table holds all of keras.applications."""
    theirs = {name.lower() for name in dir(keras.applications) if name[0].isupper()}
    assert theirs == set(APPLICATIONS)


@pytest.mark.parametrize("name", ["resnet50", "ResNet50", "keras:resnet50", "Keras:ResNet50"])
def test_by_name(name):
    """Names in any spelling; nothing is downloaded to read the layer table."""
    net = open_network(name)
    assert net.name == "resnet50"
    assert net.layer("conv4_block2_1_conv").output_shape == (256, 14, 14)
    assert str(net.input) == "224 x 224 px or other sizes; BGR 0 to 255; minus mean 103.939, 116.779, 123.68"
    assert net.class_name(net.targets("predictions:goldfish")[0]) == "goldfish"


SPECS = {
    "inceptionv3": (299, -1.0, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "densenet121": (224, 0.0, 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mobilenetv3small": (224, 0.0, 255.0, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "efficientnetb1": (240, 0.0, 255.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "efficientnetv2b1": (240, 0.0, 255.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "efficientnetv2s": (384, 0.0, 255.0, (128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    "convnexttiny": (224, 0.0, 255.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "nasnetmobile": (224, -1.0, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@pytest.mark.parametrize("name", SPECS)
def test_input_spec(name):
    """The size, range, mean and standard deviation that each was trained on."""
    size, low, high, mean, std = SPECS[name]
    spec = open_network(name).input
    assert (spec.size, spec.low, spec.high, spec.bgr, spec.fixed) == (size, low, high, False, False)
    assert np.allclose([spec.mean, spec.std], [mean, std], rtol=1e-5)


MODULES = {
    "resnet50": "resnet",
    "resnet50v2": "resnet_v2",
    "densenet121": "densenet",
    "xception": "xception",
    "mobilenetv2": "mobilenet_v2",
    "efficientnetb0": "efficientnet",
    "convnexttiny": "convnext",
}


@pytest.mark.parametrize("name", MODULES)
def test_preprocessing_is_keras_own(name):
    """The input spec does what the application's preprocess_input, and the model's first layers, do."""
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 5, 3)).astype(np.float32)
    wanted = getattr(keras.applications, MODULES[name]).preprocess_input(pixels.copy())
    net = open_network(name)
    found = net.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    if APPLICATIONS[name].input is None:
        assert np.array_equal(wanted, pixels)
        mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
        wanted = (pixels - mean) / std
    assert np.allclose(found, wanted, atol=1e-3)


def test_the_nearest_name():
    """A name that is nearly one."""
    with pytest.raises(NetworkError, match="unknown network 'resnet5'; did you mean 'resnet50'"):
        open_network("resnet5")


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("mobilenet_1.00_224", "mobilenet"),
        ("efficientnetv2-b0", "efficientnetv2b0"),
        ("MobileNetV3Small", "mobilenetv3small"),
        ("inception_resnet_v2", "inceptionresnetv2"),
        ("my_model", None),
    ],
)
def test_what_keras_calls_them(own, name):
    """A model's own name tells which application it is."""
    assert application_called(own) == name


def test_names_are_those_of_a_fresh_process():
    """Keras counts unnamed layers through a session; by name they are always the same."""
    first = [entry["name"] for entry in application_config("inceptionv3")["config"]["layers"]]
    second = [entry["name"] for entry in application_config("inceptionv3")["config"]["layers"]]
    assert first == second
    assert first[:4] == ["input_layer", "conv2d", "batch_normalization", "activation"]
    assert "conv2d_93" in first


def test_canonical_names():
    """Counted names start at 0 again, in the order in which they were counted; given names stay."""
    entries = [("Conv2D", "conv2d_7"), ("Conv2D", "stem"), ("Conv2D", "conv2d_12"), ("ReLU", "re_lu_3")]
    config = {"layers": [{"class_name": k, "config": {"name": n}, "name": n} for k, n in entries]}
    names = canonical_names(config)
    assert names == {"conv2d_7": "conv2d", "conv2d_12": "conv2d_1", "re_lu_3": "re_lu"}
    assert [e["config"]["name"] for e in renamed(config, names)["layers"]] == [
        "conv2d",
        "stem",
        "conv2d_1",
        "re_lu",
    ]


def test_efficientnet_as_published_is_what_keras_builds(monkeypatch):
    """The config with the Rescaling for published weights is Keras' own but for the names of what it counts."""
    monkeypatch.setattr(keras.Model, "load_weights", lambda *a, **kw: None)
    monkeypatch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *a, **kw: "x")
    with keras.StatelessScope(initialize_variables=False):
        theirs = keras.applications.EfficientNetB0(weights="imagenet").get_config()
    theirs = renamed(theirs, canonical_names(theirs))
    plain = application_config("efficientnetb0", published=False)["config"]
    assert len(plain["layers"]) == len(theirs["layers"]) - 1
    ours, wanted = (read_graph({"class_name": "Functional", "config": c}) for c in (corrected(plain), theirs))
    assert ours.layers == wanted.layers
    scale = wanted.graph.layer_rescaling_1.get_buffer("scale").numpy()
    assert np.allclose(ours.graph.layer_rescaling_1.get_buffer("scale").numpy(), scale, rtol=1e-6)
    assert np.allclose(scale, np.array(EFFICIENTNET_STD) ** -0.5, rtol=1e-6)


@pytest.mark.parametrize("published", [True, False])
def test_efficientnet_weights_of_both_kinds(tmp_path, published):
    """A weights file with the published Normalization gets the Rescaling that Keras adds for it, any other none."""
    model = fill(keras.applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3)))
    if published:
        normalization = next(layer for layer in model.layers if layer.name.startswith("normalization"))
        normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array(EFFICIENTNET_STD), np.array(0)])
    model.save_weights(tmp_path / "x.weights.h5")
    net = open_network("efficientnetb0", weights=tmp_path / "x.weights.h5")
    assert ("rescaling_1" in net.layers) == published
    if published:
        assert np.allclose(net.input.std, np.array([0.229, 0.224, 0.225]) * 255, rtol=1e-5)
