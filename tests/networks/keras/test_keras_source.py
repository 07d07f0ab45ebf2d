"""source.py: published weights, fetched by Keras when a layer needs them, and what to do when they cannot be."""

import keras
import numpy as np
import pytest
from tests.helpers.keras_comparison import fill

from filterscope.errors import DownloadError
from filterscope.networks import open_network
from filterscope.networks.keras.applications import APPLICATIONS
from filterscope.networks.keras.importing import _configured_backend
from filterscope.networks.keras.source import _make, application_config


class Published:
    """Stands in for keras.applications.VGG16: counts what is fetched, makes random weights."""

    def __init__(self, fill, error: Exception | None = None):
        self.fetched: list[bool] = []
        self.fill, self.error, self.make = fill, error, keras.applications.VGG16

    def __call__(self, *, weights=None, include_top=True):
        if weights is None:
            return self.make(weights=None, include_top=include_top)
        self.fetched.append(include_top)
        if self.error:
            raise self.error
        assert weights == "imagenet"
        return self.fill(self.make(weights=None, include_top=False, input_shape=(32, 32, 3)))


@pytest.fixture
def publish(keras_with_weights, monkeypatch):
    """A function that puts the stand-in in Keras' place."""

    def put(error: Exception | None = None) -> Published:
        stand_in = Published(keras_with_weights, error)
        monkeypatch.setattr(keras.applications, "VGG16", stand_in)
        return stand_in

    return put


def test_nothing_is_fetched_to_list_layers(publish):
    """Opening a network and reading its table downloads nothing."""
    published = publish()
    net = open_network("vgg16")
    assert net.layer("predictions").units == 1000
    assert all(row.trained for row in net.layers.values())
    assert net.weights_file is None
    assert published.fetched == []


def test_hidden_layers_need_the_small_file(publish):
    """A hidden layer fetches the file without the classes, once."""
    published = publish()
    net = open_network("vgg16")
    net.part("block1_conv2")
    net.part("block3_conv1")
    assert published.fetched == [False]
    assert all(np.isfinite(p.numpy()).all() for p in net.part("block1_conv2").parameters())
    assert len(net.weights.sha256) == 64


DOWNLOADED = ["convnexttiny", "mobilenet", "mobilenetv3small", "xception"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in DOWNLOADED else pytest.mark.slow) for n in APPLICATIONS]
)
def test_every_applications_files(name, monkeypatch):
    """Of each application the file without the classes serves its hidden layers, the whole file the others, whatever
    Keras has counted its layers' names up to; the hash does not hang on which was fetched."""
    fetched = []
    made = {top: fill(_make(APPLICATIONS[name], weights=None, include_top=top)) for top in (True, False)}
    weighty = {top: [layer for layer in model.layers if layer.weights] for top, model in made.items()}
    for one, other in zip(weighty[False], weighty[True], strict=False):
        if [w.shape for w in one.weights] == [w.shape for w in other.weights]:
            one.set_weights(other.get_weights())

    def fetch(self, top):
        fetched.append(top)
        return made[top]

    monkeypatch.setattr("filterscope.networks.keras.source.DownloadedWeights._fetch", fetch)
    net = open_network(name)
    wanting = [n for n, (_, tensors) in net.weights.slots.items() if tensors]
    net.part(wanting[len(wanting) // 2])
    assert fetched == [False]
    before = net.weights.sha256
    net.part(list(net.layers)[-1])
    assert fetched == [False, True]
    assert net.loaded == set(net.layers)
    whole = open_network(name)
    whole.part(list(net.layers)[-1])
    assert whole.weights.sha256 == before


FAILURES = [
    Exception(
        "URL fetch failure on https://storage.example/vgg16.h5: None -- [Errno -2] Name or service not known"
    ),
    ValueError("Incomplete or corrupted file detected.\nThe sha256 file hash does not match."),
    OSError(28, "No space left on device"),
    Exception(""),
]


@pytest.mark.parametrize("error", FAILURES)
def test_download_failure(publish, error):
    """A download that fails says why, and what to do instead; the layers stay untouched and it may be tried again."""
    published = publish(error)
    net = open_network("vgg16")
    with pytest.raises(DownloadError) as caught:
        net.part("block1_conv1")
    text = str(caught.value)
    assert text.startswith("the weights of vgg16 could not be downloaded (")
    assert text.endswith("pass a file you have as weights=FILE, or use tiny-vgg16, which needs no download")
    assert (str(error).splitlines() or ["Exception"])[0].rstrip(".") in text
    assert "\n" not in text
    published.error = None
    net.part("block1_conv1")


def test_config_allocates_no_weights(monkeypatch):
    """An application's graph is read without making its 138 million numbers."""
    assert application_config("vgg16")["config"]["name"] == "vgg16"
    monkeypatch.setattr(
        keras.initializers.GlorotUniform, "__call__", lambda *a, **kw: pytest.fail("weights made")
    )
    assert application_config("vgg19")["class_name"] == "Functional"


def test_preprocessing_is_keras_own(random_vgg16):
    """VGG16's input spec does what keras.applications.vgg16.preprocess_input does."""
    import torch

    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 5, 3)).astype(np.float32)
    wanted = keras.applications.vgg16.preprocess_input(pixels.copy())
    found = random_vgg16.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert np.allclose(found.numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "backend"),
    [
        ('{"backend": "jax"}', "jax"),
        ('{"backend": "torch"}', "torch"),
        ('{"floatx": "float32"}', "tensorflow"),
        ('{"backend": 3}', "tensorflow"),
        ("{", "tensorflow"),
        (None, "tensorflow"),
    ],
)
def test_configured_backend(tmp_path, monkeypatch, content, backend):
    """The backend that Keras would take: of keras.json, else TensorFlow."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert _configured_backend() == backend


def test_no_weights_of_an_application_are_made_later():
    """The next model that is built in Keras fills its own variables and no others."""
    from keras.src.backend.common import variables

    application_config("vgg16")
    filled = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variables.Variable, "_deferred_initialize", lambda self: filled.append(self.path))
        with keras.StatelessScope():
            pass
    assert filled == []
