"""commands.py: what the command line does, Python does, by options of the same names and defaults."""

import builtins
import inspect
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.api import DrawingOptions
from filterscope.cli import cli
from filterscope.errors import ArgumentError, TargetError

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


def test_no_name_is_a_module():
    """A public name that a module of the package has too would be replaced by it once that is imported."""
    modules = {
        path.stem for path in Path(fs.__file__).parent.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert modules & set(fs.__all__) == set()


@pytest.mark.parametrize("function", [fs.draw, fs.visualize_one, fs.draw_ladder, fs.visualize_sheet])
def test_unknown_option(tiny, function):
    """The nearest name is told."""
    with pytest.raises(ArgumentError, match="no option 'stepz'; did you mean 'steps'"):
        function(tiny, "block1_conv1:3", stepz=3)


@pytest.mark.parametrize("function", [fs.make_atlas, fs.compare_networks])
def test_unknown_option_of_two(tiny, function, tmp_path):
    """Before anything is drawn."""
    with pytest.raises(ArgumentError, match="no option 'prcision'; did you mean 'precision'"):
        function(tiny, tmp_path, prcision="float32")
    assert list(tmp_path.iterdir()) == []


def test_one_or_a_sheet(tiny):
    """What type checkers are told is what comes: a Picture of one, a Sheet of any number."""
    assert isinstance(fs.visualize_one(tiny, fs.Target("block1_conv1", 3), **QUICK), fs.Picture)
    assert isinstance(fs.visualize_sheet(tiny, "block1_conv1:3", **QUICK), fs.Sheet)
    with pytest.raises(
        TargetError, match=r"one picture .got block1_conv1:3,5, which is 2.; visualize draws several"
    ):
        fs.visualize_one(tiny, "block1_conv1:3,5", **QUICK)
    assert typing.get_type_hints(fs.visualize_one)["return"] is fs.Picture
    assert typing.get_type_hints(fs.visualize_sheet)["return"] is fs.Sheet


def test_errors_come_at_once(tiny):
    """`draw` gives pictures one by one, but refuses before the first is asked for."""
    with pytest.raises(TargetError, match="block1_conv1 has units 0 to 31"):
        fs.draw(tiny, "block1_conv1:32", **QUICK)
    assert [str(p.target) for p in fs.draw(tiny, ["block1_conv1:3", "block1_conv1:5"], **QUICK)] == [
        "block1_conv1:3",
        "block1_conv1:5",
    ]


def test_a_table(tiny, monkeypatch):
    """Layers as a table: in a notebook escaped, in pandas by columns, without pandas an error with the extra."""
    table = fs.list_layers(tiny)
    assert len(table) == len(tiny.layers)
    assert list(table.to_pandas().columns) == table.columns
    assert table._repr_html_().startswith("<table><tr><th>name</th>")
    assert "<td>a&lt;b</td>" in fs.Table([{"name": "a<b"}])._repr_html_()
    real = builtins.__import__

    def without_pandas(name, *args, **kw):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[pandas\]'"):
        table.to_pandas()


def test_an_animation_of_a_photograph(tiny, tmp_path):
    """From the photograph to its dream; a zoom into the dream too. Options that cannot be are refused before."""
    photograph = Image.fromarray(np.full((40, 60, 3), 90, np.uint8))
    steps = []
    quick = {**QUICK, "size": 48, "on_step": steps.append}
    path = fs.animate(
        tiny, "layer(block2_conv1)", tmp_path / "dream.gif", frames=3, image=photograph, **quick
    )
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (3, (48, 32))
    assert [step.step for step in steps] == [1, 2]
    zoomed = fs.animate(
        tiny, "layer(block2_conv1)", tmp_path / "zoom.webp", frames=2, image=photograph, zoom=1.5, **quick
    )
    with Image.open(zoomed) as film:
        assert film.n_frames == 2
    for wrong in ({"frames": 1}, {"zoom": 1.04}, {"zoom": 3, "image": photograph}):
        with pytest.raises(ArgumentError, match=r"2 frames or more|zoom is above 1"):
            fs.animate(tiny, "block1_conv1:3", tmp_path / "no.gif", **wrong, **QUICK)
    with pytest.raises(TargetError, match="an animation is of one picture"):
        fs.animate(tiny, "block1_conv1:3,5", tmp_path / "no.gif", **QUICK)


def test_help_fits_a_screen(capsys):
    """help(filterscope) is the text that names every function, not the page of each."""
    help(fs)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 74
    functions = [name for name in fs.__all__ if inspect.isfunction(getattr(fs, name))]
    assert [name for name in functions if name not in shown] == []


def test_examples_of_public_functions():
    """Each has an example, which test_docstrings.py runs."""
    objectives = [fs.Target, fs.WholeLayer, fs.Direction, fs.Concept, fs.Likeness, fs.Sum, fs.Table]
    functions = [getattr(fs, name) for name in fs.__all__]
    for one in [*objectives, *filter(inspect.isfunction, functions)]:
        assert ">>> " in inspect.getdoc(one), one
