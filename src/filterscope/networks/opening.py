"""open_network: a name, a file or an object in, a Network out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from filterscope.errors import NetworkError, did_you_mean
from filterscope.networks.keras_applications import APPLICATIONS
from filterscope.networks.keras_opening import (
    EMBEDDED,
    is_keras_model,
    open_application,
    open_embedded,
    open_keras_file,
    open_keras_model,
)
from filterscope.networks.network import Network


def network_names() -> list[str]:
    """The networks that open by name."""
    return [EMBEDDED, *APPLICATIONS]


def open_network(source: Any, *, weights: str | os.PathLike[str] | None = None) -> Network:
    """Open a trained network.

    source: a name (`filterscope models` lists them), the path of a `.keras` or `.h5` file, or a Keras model,
        which is read and never changed.
    weights: a `.safetensors`, `.weights.h5` or `.h5` file to use instead of the network's own weights. It may
        cover only some layers; a target in or behind any other is refused.

    Raises NetworkError for an unknown name or a network that cannot be rebuilt, WeightsError for a weights
    file that is missing, damaged or of another architecture.

    >>> open_network("tiny-vgg16").layer("block3_conv1").units
    128
    """
    if isinstance(source, Network):
        if weights is not None:
            raise NetworkError(f"{source!r} is open already; give its weights where it is opened")
        return source
    if not isinstance(source, str | os.PathLike):
        if not is_keras_model(source):
            raise NetworkError(
                f"cannot open a {type(source).__name__}: pass a name, a .keras file or a Keras model"
            )
        return open_keras_model(source, weights)
    name = os.fspath(source)
    if name.endswith((".keras", ".h5", ".hdf5")) or os.sep in name:
        return open_keras_file(Path(name), weights)
    name = name.removeprefix("keras:").lower()
    if name == EMBEDDED:
        return open_embedded(weights)
    if name in APPLICATIONS:
        return open_application(name, weights)
    near = did_you_mean(name, network_names())
    raise NetworkError(f"unknown network {name!r}{near} (known: {', '.join(network_names())}, or FILE.keras)")
