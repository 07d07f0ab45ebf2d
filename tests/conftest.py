"""Fixtures: the folder of real weights and pictures, the embedded network, a cache of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from tests.helpers.torchvision_cpu import torchvision_operators

from filterscope.recipe import (
    Fourier,
    Jitter,
    LpNorm,
    Optimizer,
    Pad,
    Pixels,
    Recipe,
    Rotate,
    Scale,
    Stage,
    TotalVariation,
)
from filterscope.target import Target

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # pictures are compared to the byte: on the processor

pytest_plugins = ["tests.both_precisions", "tests.browser"]

torchvision_operators()

settings.register_profile("filterscope", deadline=None, derandomize=True, database=None)
settings.load_profile("filterscope")

_FINITE = st.floats(-1e9, 1e9)
_POSITIVE = st.floats(1e-6, 1e6)


def recipes() -> st.SearchStrategy[Recipe]:
    """Recipes with every kind of part."""
    return st.builds(
        Recipe,
        name=st.text(max_size=8),
        steps=st.integers(1, 1_000_000),
        size=st.none() | st.integers(1, 8192),
        image=st.builds(Pixels, center=_FINITE, spread=st.floats(0, 1e6))
        | st.builds(Fourier, sd=_POSITIVE, decay=st.floats(0, 3), decorrelate=st.booleans()),
        feed=st.sampled_from(["network", "raw"]),
        softmax=st.sampled_from(["linear", "keep"]),
        regularizers=st.lists(
            st.builds(LpNorm, p=st.floats(1, 100) | st.just(float("inf")), weight=_FINITE)
            | st.builds(TotalVariation, beta=_POSITIVE, weight=_FINITE),
            max_size=3,
        ).map(tuple),
        transforms=st.lists(
            st.builds(Pad, pixels=st.integers(0, 99))
            | st.builds(Jitter, pixels=st.floats(0, 99))
            | st.builds(Scale, low=_POSITIVE, high=_POSITIVE)
            | st.builds(Rotate, degrees=st.floats(0, 180)),
            max_size=4,
        ).map(lambda parts: tuple(sorted(parts, key=lambda part: part.kind != "pad"))),
        optimizer=st.builds(
            Optimizer,
            name=st.sampled_from(["Adam", "BlogRMSprop"]),
            lr=_POSITIVE,
            options=st.dictionaries(
                st.text(max_size=5),
                _FINITE | st.booleans() | st.tuples(_FINITE, st.none() | _FINITE),
                max_size=2,
            ),
        ),
        gradient=st.sampled_from(["rms", "plain"]),
        stages=st.lists(st.builds(Stage, scale=st.floats(0.1, 1), share=st.floats(0.1, 1)), max_size=2).map(
            lambda stages: (*stages, Stage(share=0.5))
        ),
        output=st.sampled_from(["standardize", "values"]),
    )


st.register_type_strategy(Recipe, recipes())  # st.from_type(Recipe) in the tests

SHARED = Path(os.environ.get("FILTERSCOPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real weights, pictures and data beside the checkout; the test skips where they are absent."""
    if not (SHARED / "models").is_dir():
        pytest.skip(
            f"real weights and pictures are not here ({SHARED}); set FILTERSCOPE_SHARED to their folder"
        )
    return SHARED


@pytest.fixture(scope="session")
def real_weights(shared: Path) -> Path:
    """The real ImageNet weights of VGG16's first seven convolutions."""
    return shared / "models" / "vgg16-imagenet-blocks1-3.safetensors"


@pytest.fixture(scope="session")
def tiny():
    """The embedded network."""
    from filterscope.networks import open_network

    return open_network("tiny-vgg16")


@pytest.fixture
def trapped(tiny, monkeypatch) -> list[tuple[int, float]]:
    """Every first ascent of block2_conv1:3 ends in grey, so that it is begun anew; of each ascent its attempt and rate."""
    from filterscope.drawing import attempts

    ascend, climbs = attempts.ascend, []

    def trapping(prepared, goals, recipe, **settings):
        climbs.append((settings["seeds"].attempt, recipe.optimizer.lr))
        found = ascend(prepared, goals, recipe, **settings)
        if settings["seeds"].attempt == 0:
            found.pixels[goals.index(tiny.targets("block2_conv1:3")[0])] = 127.0
        return found

    monkeypatch.setattr(attempts, "ascend", trapping)
    return climbs


@pytest.fixture(scope="session")
def vgg16(real_weights: Path):
    """Keras' VGG16 with the real weights of its first three blocks."""
    from filterscope.networks import open_network

    return open_network("vgg16", weights=real_weights)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """These networks and pictures are too small to share out among processors."""

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test reads and writes a cache of its own, never the person's."""
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    return place


@pytest.fixture(scope="session")
def tiny_file() -> Iterator[Path]:
    """The embedded network's weights file."""
    place = resources.files("filterscope.networks") / "data" / "tiny-vgg16.safetensors"
    with resources.as_file(place) as path:
        yield path


@pytest.fixture(scope="session")
def vgg16_tensors() -> dict[str, np.ndarray]:
    """Seeded random tensors for VGG16's first three convolutions, in Keras' layout."""
    rng = np.random.default_rng(16)
    tensors: dict[str, np.ndarray] = {}
    for layer, inputs, filters in [
        ("block1_conv1", 3, 64),
        ("block1_conv2", 64, 64),
        ("block2_conv1", 64, 128),
    ]:
        kernel = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (3, 3, inputs, filters))
        tensors[f"{layer}/kernel"] = kernel.astype(np.float32)
        tensors[f"{layer}/bias"] = rng.normal(0, 1, filters).astype(np.float32)
    return tensors


@pytest.fixture(scope="session")
def vgg16_file(vgg16_tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file that covers three of VGG16's layers, with random numbers."""
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("weights") / "three-layers.safetensors"
    save_file(vgg16_tensors, path)
    return path


@pytest.fixture(scope="session")
def random_vgg16(vgg16_file: Path):
    """Keras' VGG16 with random weights in its first three convolutions: fed raw pixel values, as in the blog."""
    from filterscope.networks import open_network

    return open_network("vgg16", weights=vgg16_file)


@pytest.fixture(scope="session")
def keras_with_weights() -> Callable[..., object]:
    """A function that gives a Keras model seeded random weights, biases too, and hands it back."""

    def fill(model, seed: int = 0, scale: float = 1.0):
        rng = np.random.default_rng(seed)
        for (
            variable
        ) in model.weights:  # (..., out): each output's variance is about scale^2 that of its inputs
            fan_in = max(1, np.prod(variable.shape[:-1]))
            values = rng.standard_normal(variable.shape, dtype=np.float32)
            variable.assign(values * np.float32(scale / fan_in**0.5))
        return model

    return fill


@pytest.fixture(scope="session")
def small_keras(keras_with_weights):
    """A Keras classifier of 16 px pictures, pixel values as they are: convolutions, a pool, softmax."""
    import keras
    from keras import layers

    return keras_with_weights(
        keras.Sequential(
            [
                keras.Input((16, 16, 3), name="picture"),
                layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1"),
                layers.MaxPooling2D(name="pool"),
                layers.Conv2D(6, 3, activation="relu", name="conv2"),
                layers.Flatten(name="flatten"),
                layers.Dense(5, activation="softmax", name="predictions"),
            ],
            name="small",
        ),
        scale=0.5,
    )


@pytest.fixture(scope="session")
def small(small_keras):
    """The small Keras classifier, opened."""
    from filterscope.networks import open_network

    return open_network(small_keras)


@pytest.fixture(scope="session")
def picture():
    """A function that makes an 8 x 8 picture of random colours, as the library does; fields may be changed."""
    from filterscope.pictures import Picture, Scores
    from filterscope.recipe import get_recipe

    def make(**changes) -> Picture:
        values = {
            "image": np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8),
            "target": Target("block3_conv1", 34),
            "network": "vgg16",
            "recipe": get_recipe("blog", steps=3, size=8),
            "seed": 5,
            "scores": Scores(12.5, 1.5, None, 3.0),
            "status": "ok",
            "curve": [1.0, 2.0, 3.123456789],
            "weights_sha256": "ab" * 32,
            "weights_file": "real.safetensors",
            "batch": 4,
            "seconds": 1.23456,
        }
        return Picture(**{**values, **changes})

    return make


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, with their names."""
    parents, names = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            status = (place / "stat").read_text()
            names[int(place.name)] = (place / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:  # it has just ended
            continue
        parents[int(place.name)] = int(status.rpartition(")")[2].split()[1])
    found, todo = {}, [pid]
    while todo:
        parent = todo.pop()
        below = [p for p, own in parents.items() if own == parent and p in names]
        found |= {p: names[p] for p in below}
        todo += below
    return found


@pytest.fixture(scope="session")
def ray_workers() -> Callable[[int], list[int]]:
    """A function that gives the processes of Ray's workers below a driver, those that are drawing."""
    return lambda pid: sorted(
        p for p, name in descendants(pid).items() if name.startswith("ray::Worker.draw")
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """--update-golden draws the pictures in tests/golden anew."""
    parser.addoption("--update-golden", action="store_true", help="draw the pictures in tests/golden anew")
