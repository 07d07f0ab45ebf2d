"""commands/: what the command line does, Python does, by options of the same names and defaults."""

import inspect
import typing

import pytest

import filterscope as fs
from filterscope.api import DrawingOptions
from filterscope.cli import cli
from filterscope.errors import ArgumentError

FUNCTIONS = {
    "models": fs.list_models,
    "layers": fs.list_layers,
    "show": fs.visualize,
    "ladder": fs.draw_ladder,
    "dream": fs.dream,
    "invert": fs.invert,
    "caricature": fs.caricature,
    "accentuate": fs.accentuate,
    "locate": fs.locate,
    "explain": fs.explain,
    "kernels": fs.draw_kernels,
    "wires": fs.find_wires,
    "classify": fs.classify,
    "examples": fs.find_examples,
    "label": fs.label_units,
    "concepts": fs.find_concepts,
    "atlas": fs.make_atlas,
    "view": fs.view_atlas,
    "compare": fs.compare_networks,
    "rerun": fs.redraw,
    "demo": fs.run_demo,
}
OF_THE_COMMAND_LINE = {"as_json", "quiet", "verbose", "threads", "out", "help"}
# options of the command line that another function takes, by its parameter's name
OF_ANOTHER = {
    "weights": (fs.open_network, "weights"),
    "weights_a": (fs.open_network, "weights"),
    "weights_b": (fs.open_network, "weights"),
    "judge_weights": (fs.open_network, "weights"),
    "mean": (fs.open_network, "mean"),
    "std": (fs.open_network, "std"),
    "range": (fs.open_network, "range"),
    "channels": (fs.open_network, "channels"),
    "size_of_input": (fs.open_network, "size"),
    "shown": (fs.open_network, "show_channels"),
    "alpha": (fs.Picture.to_pil, "alpha"),  # of each picture of `show`
    "frames": (fs.animate, "frames"),
    "film": (fs.animate, "path"),
    "fps": (fs.animate, "fps"),
    "zoom": (fs.animate, "zoom"),
    "zoom_factor": (fs.animate, "zoom"),
    "count": (fs.draw_examples, "count"),  # of the sheet of `examples`
    "recipe": (fs.draw_examples, "recipe"),
    "settings": (fs.draw_examples, "settings"),
    "steps": (fs.draw_examples, "steps"),
    "seed": (fs.draw_examples, "seed"),
    "precision": (fs.draw_examples, "precision"),
    "device": (fs.draw_examples, "device"),
    "layer": (fs.make_map, "layer"),
    "grid": (fs.make_map, "grid"),
    "images": (fs.make_map, "images"),  # of a comparison's maps
    "overwrite": (fs.make_atlas, "overwrite"),  # of a comparison: Comparison.save(overwrite=True)
}
OF_PYTHON = {"progress", "on_step", "on_message", "on_ready", "networks", "recipes"}
QUICK = {"steps": 2, "size": 32, "precision": "float32", "progress": False}


def parameters(function) -> dict[str, object]:
    """A function's parameters with their defaults; those of DrawingOptions have none of their own."""
    found = {}
    for name, one in inspect.signature(function).parameters.items():
        if one.kind is one.VAR_KEYWORD:
            (options,) = typing.get_args(typing.get_type_hints(function)[name])
            assert options is DrawingOptions
            found |= dict.fromkeys(typing.get_type_hints(options), inspect.Parameter.empty)
        else:
            found[name] = one.default
    return found


def test_each_command_has_its_function():
    """And that function is public."""
    assert set(FUNCTIONS) == set(cli.commands)
    assert all(function.__name__ in fs.__all__ for function in FUNCTIONS.values())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_agree(name):
    """What the one takes the other takes, or it is named above; where both have a default it is the same."""
    options = {one.name: one for one in cli.commands[name].params if one.param_type_name == "option"}
    own = parameters(FUNCTIONS[name])
    arguments = {"net"} if name == "classify" else set()
    for option in set(options) - OF_THE_COMMAND_LINE - set(own) - arguments:
        function, parameter = OF_ANOTHER[option]
        assert parameter in parameters(function)
    first = {
        n
        for n, one in inspect.signature(FUNCTIONS[name]).parameters.items()
        if one.kind is not one.KEYWORD_ONLY
    }
    assert set(own) - first - {"options"} <= set(options) | OF_PYTHON
    defaults = cli.commands[name].make_context(name, [], resilient_parsing=True).params
    for option in set(options) & set(own):
        if own[option] is not inspect.Parameter.empty:
            given, default = defaults[option] or None, own[option] or None
            assert given == default or str(given) == default, option


@pytest.mark.parametrize("function", [fs.make_atlas, fs.compare_networks])
def test_unknown_option_of_two(tiny, function, tmp_path):
    """Before anything is drawn."""
    with pytest.raises(ArgumentError, match="no option 'prcision'; did you mean 'precision'"):
        function(tiny, tmp_path, prcision="float32")
    assert list(tmp_path.iterdir()) == []
