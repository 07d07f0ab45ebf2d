"""Fixtures: the folder of real weights and pictures, the embedded network, a cache of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")

SHARED = Path(os.environ.get("FILTERSCOPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real weights, pictures and data beside the checkout; the test skips where they are absent."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"real weights and pictures are not here ({SHARED}); set FILTERSCOPE_SHARED to their folder")
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


@pytest.fixture(scope="session")
def vgg16(real_weights: Path):
    """Keras' VGG16 with the real weights of its first three blocks."""
    from filterscope.networks import open_network

    return open_network("vgg16", weights=real_weights)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test reads and writes a cache of its own, never the person's."""
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    return place
