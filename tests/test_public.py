"""The public names: exactly these, each documented, none of them at the cost of importing torch."""

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import filterscope as fs
from filterscope import errors

NAMES = [
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


def test_all_is_exact():
    """These names and no others."""
    assert sorted(fs.__all__) == sorted(NAMES)
    assert dir(fs) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_name_is_there(name):
    """Each name can be had, is of the kind it says, and is documented with its types."""
    value = getattr(fs, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)
        assert value.__module__.startswith("filterscope.")
    if inspect.isfunction(value):
        hints = typing.get_type_hints(value)
        assert set(hints) == {*inspect.signature(value).parameters, "return"}


def test_star_import():
    """from filterscope import * gives these names."""
    space: dict = {}
    exec("from filterscope import *", space)
    assert set(NAMES) <= set(space)


def test_every_error_is_public():
    """Whatever filterscope raises can be caught by its public name."""
    kinds = {n for n, v in vars(errors).items() if inspect.isclass(v) and issubclass(v, Exception)}
    assert kinds <= set(NAMES)
    assert all(issubclass(getattr(fs, n), fs.FilterscopeError) for n in kinds)


def test_unknown_name():
    """Another name is an AttributeError as of any module."""
    with pytest.raises(AttributeError, match="module 'filterscope' has no attribute 'visualise'"):
        _ = fs.visualise


def test_version():
    """The version is that of the installed package."""
    from importlib.metadata import version

    assert fs.__version__ == version("filterscope")


def test_the_version_is_the_same_everywhere():
    """In CITATION.cff, in the BibTeX entry of the documentation, and in the changelog's first heading."""
    home = Path(__file__).resolve().parents[1]
    assert f"\nversion: {fs.__version__}\n" in (home / "CITATION.cff").read_text(encoding="utf-8")
    paper = (home / "docs" / "how-to" / "paper.md").read_text(encoding="utf-8")
    assert re.findall(r"^  version = \{(.+)\},$", paper, re.M) == [fs.__version__]
    changes = (home / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## ([\d.]+), (?:unreleased|\d{4}-\d\d-\d\d)$", changes, re.M)[0] == fs.__version__


def test_no_work_at_import():
    """import filterscope imports neither torch nor Keras nor numpy; presets neither."""
    code = (
        "import sys, filterscope as fs; fs.PRESETS, fs.Recipe;"
        "print([m for m in ('torch', 'keras', 'numpy', 'PIL', 'h5py', 'click') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_no_name_is_a_module():
    """A public name that a module of the package has too would be replaced by it once that is imported."""
    modules = {
        path.stem for path in Path(fs.__file__).parent.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert modules & set(fs.__all__) == set()


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
