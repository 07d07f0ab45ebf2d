"""What is asked of Keras itself: an application's config, its published weights, a live model's tensors."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn

from filterscope.errors import DownloadError, WeightsError
from filterscope.networks.hdf5 import hdf5_table
from filterscope.networks.network import InputSpec
from filterscope.networks.weights import Slots, WeightTable, sha256_arrays, sha256_file

# keras.applications.imagenet_utils, mode "caffe": BGR, the ImageNet mean subtracted, no scaling
CAFFE = InputSpec(mean=(103.939, 116.779, 123.68), bgr=True)


@dataclass(frozen=True)
class Application:
    """A network of keras.applications: the function that makes it and how it wants its pictures."""

    function: str
    input: InputSpec
    top: tuple[str, ...] = ("flatten", "fc1", "fc2", "predictions")


APPLICATIONS = {"vgg16": Application("VGG16", CAFFE), "vgg19": Application("VGG19", CAFFE)}


def import_keras() -> ModuleType:
    """Keras on the backend that the person has; on torch, which is always here, where theirs is not installed."""
    untold = "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ
    if untold and importlib.util.find_spec(_configured_backend()) is None:
        os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras  # type: ignore[no-any-return]


def _configured_backend() -> str:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        backend = json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError):
        return "tensorflow"
    return backend if isinstance(backend, str) else "tensorflow"


def application_config(name: str) -> dict[str, Any]:
    """The serialised graph of a Keras application, made without allocating any weights."""
    keras = import_keras()
    with keras.StatelessScope(initialize_variables=False):
        model = getattr(keras.applications, APPLICATIONS[name].function)(weights=None)
    return {"class_name": "Functional", "config": model.get_config()}


@dataclass
class DownloadedWeights:
    """The weights that Keras publishes, downloaded and cached by Keras: only the file that a layer needs."""

    name: str
    slots: Slots
    label: str = "Keras' published weights"
    path: Path | None = None
    parts: dict[bool, WeightTable] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Over the hidden layers' tensors, so that it is the same whether the classes are loaded or not."""
        part = next(iter(self.parts.values())) if self.parts else self._part(False)
        return part.sha256

    def covers(self, layer: str) -> bool:
        return True

    def load(self, module: nn.Module, layer: str) -> None:
        top = layer in APPLICATIONS[self.name].top
        if layer in self.slots:
            self._part(top).load(module, layer)

    def _part(self, top: bool) -> WeightTable:
        top = top or True in self.parts
        if top not in self.parts:
            model = self._fetch(top)
            self.parts[top] = model_weights(model, self.slots, unhashed=APPLICATIONS[self.name].top)
        return self.parts[top]

    def _fetch(self, top: bool) -> Any:
        keras = import_keras()
        make = getattr(keras.applications, APPLICATIONS[self.name].function)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # standard output is the result's
                return make(weights="imagenet", include_top=top)
        except Exception as error:  # Keras raises a bare Exception for any failed download
            raise DownloadError(
                f"the weights of {self.name} could not be downloaded ({_first_line(error)}); pass a file you have "
                f"with --weights FILE, or use tiny-vgg16, which needs no download"
            ) from error


def downloaded_weights(name: str, slots: Slots) -> DownloadedWeights:
    """Keras' published weights for an application; nothing is downloaded before a layer needs it."""
    return DownloadedWeights(name, slots)


def model_weights(model: Any, slots: Slots, *, unhashed: Sequence[str] = ()) -> WeightTable:
    """The tensors of a live Keras model, on whatever backend it runs; copied, never changed.

    Layers named in `unhashed` are left out of the weights' sha256.
    """
    keras = import_keras()

    def reader(variable: Any) -> Callable[[], np.ndarray]:
        return lambda: np.asarray(keras.ops.convert_to_numpy(variable.value))

    table = {
        layer.name: [(v.name, tuple(v.shape), reader(v)) for v in layer.weights]
        for layer in model.layers
        if layer.weights
    }

    def digest() -> str:
        rows = {n: tensors for n, tensors in table.items() if n not in unhashed}
        return sha256_arrays(
            {f"{n}/{name}": read() for n, tensors in rows.items() for name, _, read in tensors}
        )

    weights = WeightTable(f"the model {model.name!r}", slots, table, digest)
    weights.check()
    return weights


def archived_weights(path: Path, slots: Slots) -> WeightTable:
    """The weights inside a `.keras` file, read from its HDF5 member; no code in the file is ever run."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise WeightsError(f"{path.name} holds no whole model.weights.h5: {error}") from error
    weights = WeightTable(
        path.name, slots, hdf5_table(content, path.name, slots), lambda: sha256_file(path), path
    )
    weights.check()
    return weights


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
