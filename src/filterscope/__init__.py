"""filterscope draws what the units of a trained image network respond to.

    import filterscope as fs

    net = fs.open_network("tiny-vgg16")     # a name, a model file, or a Keras or torch model
    fs.visualize(net, "block3_conv1:30")    # a Picture, which shows itself in a notebook
    fs.visualize(net, "block3_conv1")       # a Sheet of 16 units chosen by the seed
    fs.visualize(net, "predictions:goldfish", recipe="blog", steps=200, seed=1)

networks       open_network, list_models, list_layers, classify, find_examples, draw_examples, draw_kernels, find_wires
pictures       visualize, visualize_one, visualize_sheet, visualize_filter, draw, draw_ladder, animate, redraw
photographs    dream, invert, caricature, accentuate, locate, explain
many units     make_atlas, make_map, view_atlas, compare_networks, label_units, find_concepts, run_demo
while training Recorder, keras.VisualizeUnits, lightning.VisualizeUnits
in a notebook  explore; pictures, sheets, tables, networks and comparisons show themselves
targets        Target, WholeLayer, Direction, Concept, Likeness, Sum, Between, or a text as above
recipes        get_recipe, PRESETS, Recipe
errors         FilterscopeError and what is derived from it

help(fs.visualize) explains one of them; the command line has the same: filterscope --help.
"""

from __future__ import annotations

import sys
import warnings
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
    from filterscope.api import draw, visualize, visualize_filter, visualize_one, visualize_sheet
    from filterscope.catalog import list_models
    from filterscope.commands.demo import run_demo
    from filterscope.commands.drawing import animate, draw_ladder, redraw
    from filterscope.commands.examples import draw_examples, find_examples
    from filterscope.commands.looking import classify, draw_kernels, list_layers
    from filterscope.commands.pages import compare_networks, make_atlas, make_map, view_atlas
    from filterscope.concept import Concept
    from filterscope.epochs.recorder import Recorder
    from filterscope.explanation import explain
    from filterscope.factorization.concepts import find_concepts
    from filterscope.measure.dissect import label_units
    from filterscope.networks import Network, open_network
    from filterscope.notebook.explore import explore
    from filterscope.objective import Between, Direction, Likeness, Objective, WholeLayer
    from filterscope.photographs import accentuate, caricature, dream, invert, locate
    from filterscope.pictures import Picture, Sheet
    from filterscope.recipe import PRESETS, Recipe, get_recipe
    from filterscope.table import Table
    from filterscope.target import Sum, Target
    from filterscope.wires.wires import find_wires

# loaded when first asked for, so that `import filterscope` costs no torch
_MODULES = ("keras", "lightning")  # callbacks, each with a library that it needs
_LATER = {
    name: module
    for module, names in {
        "filterscope.api": "draw visualize visualize_filter visualize_one visualize_sheet",
        "filterscope.catalog": "list_models",
        "filterscope.commands.demo": "run_demo",
        "filterscope.commands.drawing": "animate draw_ladder redraw",
        "filterscope.commands.examples": "draw_examples find_examples",
        "filterscope.commands.looking": "classify draw_kernels list_layers",
        "filterscope.commands.pages": "compare_networks make_atlas make_map view_atlas",
        "filterscope.explanation": "explain",
        "filterscope.factorization.concepts": "find_concepts",
        "filterscope.epochs.recorder": "Recorder",
        "filterscope.measure.dissect": "label_units",
        "filterscope.concept": "Concept",
        "filterscope.networks": "Network open_network",
        "filterscope.notebook.explore": "explore",
        "filterscope.objective": "Between Direction Likeness Objective WholeLayer",
        "filterscope.photographs": "accentuate caricature dream invert locate",
        "filterscope.pictures": "Picture Sheet",
        "filterscope.recipe": "PRESETS Recipe get_recipe",
        "filterscope.table": "Table",
        "filterscope.target": "Sum Target",
        "filterscope.wires.wires": "find_wires",
    }.items()
    for name in names.split()
}

__all__ = [
    "PRESETS",
    "ArgumentError",
    "Between",
    "Concept",
    "DamagedError",
    "Direction",
    "DownloadError",
    "FilterscopeError",
    "ImageError",
    "Likeness",
    "Network",
    "NetworkError",
    "Objective",
    "OutOfMemoryError",
    "OutputError",
    "Picture",
    "QueueFullError",
    "Recipe",
    "RecipeError",
    "Recorder",
    "Sheet",
    "Sum",
    "Table",
    "Target",
    "TargetError",
    "WeightsError",
    "WholeLayer",
    "WorkError",
    "__version__",
    "accentuate",
    "animate",
    "caricature",
    "classify",
    "compare_networks",
    "draw",
    "draw_examples",
    "draw_kernels",
    "draw_ladder",
    "dream",
    "explain",
    "explore",
    "find_concepts",
    "find_examples",
    "find_wires",
    "get_recipe",
    "invert",
    "label_units",
    "list_layers",
    "list_models",
    "locate",
    "make_atlas",
    "make_map",
    "open_network",
    "redraw",
    "run_demo",
    "view_atlas",
    "visualize",
    "visualize_filter",
    "visualize_one",
    "visualize_sheet",
]


# names that go: the name to use instead, and the last version that has them. Each works and warns for a release.
_DEPRECATED: dict[str, tuple[str, str]] = {}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name in _MODULES:
        return import_module(f"filterscope.{name}")
    if name in _DEPRECATED:
        instead, last = _DEPRECATED[name]
        message = f"filterscope.{name} goes after {last}; use {instead}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[__name__], instead)
    raise AttributeError(f"module 'filterscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names; none of them to `help`, which would print the whole page of each under the text above."""
    caller = sys._getframe(1)
    while caller.f_globals.get("__name__") == "inspect" and caller.f_back is not None:
        caller = caller.f_back
    return [] if caller.f_globals.get("__name__") == "pydoc" else sorted(__all__)
