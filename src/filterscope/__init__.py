"""filterscope shows what a trained convolutional network has learned.

import filterscope as fs

net = fs.open_network("tiny-vgg16")                 # a name, a .keras file, or a Keras model object
fs.visualize(net, "block3_conv1:30")                # -> Picture, shows itself in a notebook
fs.visualize(net, "block3_conv1")                   # -> Sheet of 16 units chosen by the seed
fs.visualize(net, "predictions:goldfish", recipe="blog", steps=200, seed=1)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from filterscope._version import __version__
from filterscope.errors import (
    ArgumentError,
    DamagedError,
    DownloadError,
    FilterscopeError,
    ImageError,
    NetworkError,
    OutOfMemoryError,
    OutputError,
    QueueFullError,
    RecipeError,
    TargetError,
    WeightsError,
    WorkError,
)

if TYPE_CHECKING:
    from filterscope.api import visualize, visualize_filter
    from filterscope.networks import Network, open_network
    from filterscope.photographs import accentuate, caricature, dream, invert, locate
    from filterscope.pictures import Picture, Sheet
    from filterscope.recipe import PRESETS, Recipe

# loaded when first asked for, so that `import filterscope` costs no torch
_LATER = {
    "Network": "filterscope.networks",
    "PRESETS": "filterscope.recipe",
    "Picture": "filterscope.pictures",
    "Recipe": "filterscope.recipe",
    "Sheet": "filterscope.pictures",
    "accentuate": "filterscope.photographs.accentuation",
    "caricature": "filterscope.photographs.likeness",
    "dream": "filterscope.photographs.dreaming",
    "invert": "filterscope.photographs.likeness",
    "locate": "filterscope.photographs.location",
    "open_network": "filterscope.networks",
    "visualize": "filterscope.api",
    "visualize_filter": "filterscope.api",
}

__all__ = [
    "PRESETS",
    "ArgumentError",
    "DamagedError",
    "DownloadError",
    "FilterscopeError",
    "ImageError",
    "Network",
    "NetworkError",
    "OutOfMemoryError",
    "OutputError",
    "Picture",
    "QueueFullError",
    "Recipe",
    "RecipeError",
    "Sheet",
    "TargetError",
    "WeightsError",
    "WorkError",
    "__version__",
    "accentuate",
    "caricature",
    "dream",
    "invert",
    "locate",
    "open_network",
    "visualize",
    "visualize_filter",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'filterscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
