"""docs/design.md: the layout is that of the package, in the order in which imports may go; its files exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
PACKAGE = HOME / "src" / "filterscope"
TEXT = (HOME / "docs" / "design.md").read_text(encoding="utf-8")
LAYOUT = re.findall(
    r"^(  (?:  )?)([\w.]+/?)  ", TEXT.partition("src/filterscope/ ")[2].partition("```")[0], re.M
)
TOP = [name.rstrip("/").removesuffix(".py") for indent, name in LAYOUT if len(indent) == 2]


def test_the_layout_is_whole():
    """Every package and module at the top, and what stands under a package is in it."""
    there = {
        path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").is_file() or path.suffix == ".py"
    }
    assert set(TOP) == there - {"__init__", "__main__", "_version"}
    package = PACKAGE
    for indent, name in LAYOUT:
        package = PACKAGE / name if len(indent) == 2 else package
        assert (package if len(indent) == 2 else package / name).exists(), name


def test_the_layout_is_in_the_order_of_imports():
    """The layers that scripts/check holds, the uppermost first."""
    contracts = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(
        one["layers"] for one in contracts["contracts"] if one.get("containers") is None and "layers" in one
    )
    order = [
        set(layer.replace("filterscope.", "").replace(":", "|").replace(" ", "").split("|"))
        for layer in layers
    ]
    places = [next(i for i, layer in enumerate(order) if name in layer) for name in TOP]
    assert places == sorted(places)


def test_the_files_it_names_exist():
    """As a path from the repository, from the package, or as a name anywhere in it."""
    names = re.findall(r"`((?:\w+/)*\w+\.py)\b", TEXT)
    assert len(names) > 10
    for name in set(names) - {"examples/deep_dream.py"}:
        assert (HOME / name).is_file() or (PACKAGE / name).is_file(), name
