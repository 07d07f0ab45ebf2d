"""keras.applications: every network by name, how each wants its pictures, and its config made without weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from filterscope.catalog import APPLICATION_FUNCTIONS
from filterscope.networks.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from filterscope.networks.keras.names import snake_case

Config = dict[str, Any]

# keras.applications.imagenet_utils.preprocess_input's three modes
CAFFE = InputSpec(mean=(103.939, 116.779, 123.68), bgr=True)  # BGR, the ImageNet mean subtracted, no scaling
SIGNED = InputSpec(low=-1.0, high=1.0)  # mode "tf"
TORCH = InputSpec(low=0.0, high=1.0, mean=IMAGENET_MEAN, std=IMAGENET_STD)
# the model has its own Rescaling or Normalization behind the input, which becomes the input spec
BUILT_IN = None

# EfficientNet's published files hold the standard deviation where Normalization keeps its variance; Keras adds a
# Rescaling by 1 / sqrt(that) behind it, to published weights alone (keras.applications.efficientnet, and
# https://github.com/tensorflow/tensorflow/issues/49930)
EFFICIENTNET_MEAN, EFFICIENTNET_STD = IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Application:
    """A network of keras.applications: the function that makes it and how it wants its pictures."""

    function: str
    input: InputSpec | None = BUILT_IN

    @property
    def corrected(self) -> bool:
        """Whether Keras builds it with one Rescaling more for its published weights."""
        return re.fullmatch(r"EfficientNetB\d", self.function) is not None


_SPECS = {"caffe": CAFFE, "tf": SIGNED, "torch": TORCH, "built-in": BUILT_IN}
APPLICATIONS = {
    function.lower(): Application(function, _SPECS[mode])
    for mode, functions in APPLICATION_FUNCTIONS.items()
    for function in functions.split()
}


def application_called(name: str) -> str | None:
    """The application that a model of this name is, as Keras names them (`mobilenet_1.00_224`); None if none.

    >>> application_called("inception_resnet_v2")
    'inceptionresnetv2'
    """
    plain = re.sub(r"[_-]", "", re.sub(r"_\d+\.\d+_\d+$", "", name.lower()))
    return plain if plain in APPLICATIONS else None


def canonical_names(config: Config) -> dict[str, str]:
    """For each name that Keras counted up for itself, the one that it has in a fresh process.

    Keras counts unnamed layers through a whole session: the second InceptionV3 has its first convolution called
    `conv2d_94`. Counted anew for each model they are the same always.
    """
    counted: dict[str, list[tuple[int, str]]] = {}
    for entry in _entries(config):
        stem, name = (
            snake_case(str(entry["class_name"])),
            str(entry["config"].get("name") or entry.get("name")),
        )
        if entry["class_name"] == "InputLayer":
            stem = "input_layer"
        found = re.fullmatch(rf"{stem}(?:_(\d+))?", name)
        if found:
            counted.setdefault(stem, []).append((int(found[1] or 0), name))
    return {
        name: stem + (f"_{position}" if position else "")
        for stem, names in counted.items()
        for position, (_, name) in enumerate(sorted(set(names)))
    }


def _entries(config: Config) -> Iterator[Config]:
    for entry in config["layers"]:
        yield entry
        if "layers" in entry["config"]:
            yield from _entries(entry["config"])


def renamed(config: Config, names: dict[str, str]) -> Config:
    """The config with layers called otherwise, wherever it names them."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            found = {k: walk(v) for k, v in value.items()}
            if isinstance(found.get("name"), str):
                found["name"] = names.get(found["name"], found["name"])
            return found
        if isinstance(value, list | tuple):
            if len(value) == 3 and isinstance(value[0], str) and value[0] in names:
                return [names[value[0]], *value[1:]]
            return [walk(v) for v in value]
        return value

    return walk(config)  # type: ignore[no-any-return]


def corrected(config: Config) -> Config:
    """EfficientNet as Keras builds it for published weights: a Rescaling more behind its Normalization."""
    config = copy.deepcopy(config)
    position = next(i for i, e in enumerate(config["layers"]) if e["class_name"] == "Normalization")
    behind = config["layers"][position + 1]
    own = copy.deepcopy(behind["inbound_nodes"])
    extra = {
        "module": "keras.layers",
        "class_name": "Rescaling",
        "config": {"name": "rescaling_1", "scale": [s**-0.5 for s in EFFICIENTNET_STD], "offset": 0.0},
        "registered_name": None,
        "name": "rescaling_1",
        "inbound_nodes": own,
    }
    behind["inbound_nodes"] = renamed({"nodes": own}, {"normalization": "rescaling_1"})["nodes"]
    config["layers"].insert(position + 1, extra)
    return config
