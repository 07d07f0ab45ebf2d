"""The examples in docstrings are true, and every public thing has a docstring."""

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import filterscope

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(filterscope.__path__, "filterscope.")
    if not m.name.endswith("__main__")
)
FILES = sorted(Path(filterscope.__file__).parent.rglob("*.py"))


def with_examples() -> list[str]:
    """The modules whose source holds an example, found without importing them."""
    root = Path(filterscope.__file__).parent.parent
    return [
        name
        for name in MODULES
        for path in [root / Path(*name.split(".")).with_suffix(".py")]
        if path.is_file() and ">>> " in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("name", with_examples())
def test_examples(name):
    """Every example in the module gives what it says."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert result.failed == 0


def test_there_are_examples():
    """The finder above finds some."""
    assert {"filterscope.errors", "filterscope.target", "filterscope.recipe.presets"} <= set(with_examples())


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(p.parts[-2:]))
def test_docstrings(path):
    """Modules, public classes and public functions say what they are for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) else [path.name]
    for node in tree.body:
        overload = any(ast.unparse(one) == "overload" for one in getattr(node, "decorator_list", ()))
        if (
            isinstance(node, ast.ClassDef | ast.FunctionDef)
            and not node.name.startswith("_")
            and not overload
        ):
            missing += [] if ast.get_docstring(node) else [node.name]
    assert missing == []
