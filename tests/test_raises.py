"""Every error that filterscope raises is in the tree of errors.py, or in a short list with the reason; none at import."""

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import filterscope
from filterscope import errors

SOURCE = Path(filterscope.__file__).parent
OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}

# what else is raised -> {where (a folder for all of it): why}
ALLOWED = {
    "AttributeError": {
        "__init__.py": "what Python asks of a module's __getattr__",
        "lightning.py": "likewise",
    },
    "ValueError": {
        "recipe/parts.py": "what pydantic asks of a validator, which makes it one error with all others",
        "recipe/recipe.py": "likewise",
        "records.py": "likewise",
        "pictures/shown.py": "what NumPy asks of __array__",
    },
    "TypeError": {
        "networks/pytorch/trace.py": "what Python asks of __index__",
        "ascent/engine/padded.py": "a signal: what is watched is no padded convolution, and runs as it is",
    },
    "KeyError": {"networks/weights/hdf5": "as h5py's own, with which hdf5_table makes a WeightsError of it"},
    "OSError": {"networks/weights/hdf5": "likewise"},
    "RuntimeError": {
        "networks/keras/layers/reshaping.py": "a module's of a size it does not take, as torch's own are",
        "ascent/engine/padded.py": "likewise",
    },
    "UntraceableError": {"networks/": "never leaves open_module, which runs such a network as it is"},
    "UnfollowedError": {
        "networks/keras/live.py": "never leaves checked_graph, which runs such code as it is"
    },
    "_OtherNumbersError": {"networks/keras/checked.py": "likewise: it reads the model in another way"},
    "RefusedError": {"networks/checkpoints/standins.py": "of which `reading` makes a WeightsError"},
    "UnknownError": {"networks/": "never leaves `state_of`, which says so: then nothing is remembered"},
    "_EnoughError": {"networks/pytorch/positions.py": "a signal: what was asked for is found"},
    "_AllCapturedError": {
        "networks/pytorch/capturing.py": "a signal: all is captured, and the rest need not run"
    },
    "_SeenError": {"networks/pytorch/scaling.py": "a signal of the same kind"},
    "_Stopped": {
        "viewer/jobs.py": "a signal: nobody waits for this drawing any more",
        "notebook/session.py": "likewise",
    },
    "HTTPException": {"viewer/": "Starlette's, which answers a request"},
    "click.UsageError": {"cli/": "click's, printed with how the command is used"},
    "click.BadParameter": {"cli/": "likewise"},
}
# variables and functions that give one of ours: annotated so
GIVE_OURS = {"kind", "self.error", "cause"}


def raised(tree: ast.AST):
    """(what, line) of each raise that raises something new."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield from ((name, node.lineno) for name in named(node.exc))


def named(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return named(node.body) + named(node.orelse)
    return [ast.unparse(node.func if isinstance(node, ast.Call) else node)]


@cache
def trees() -> dict[str, ast.Module]:
    return {str(p.relative_to(SOURCE)): ast.parse(p.read_text()) for p in sorted(SOURCE.rglob("*.py"))}


@cache
def makers() -> set[str]:
    """Functions whose annotation says that they give one of our errors, or None."""
    return {
        node.name
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.returns is not None
        and ast.unparse(node.returns).removesuffix(" | None") in OURS
    }


def locals_of_ours(tree: ast.AST) -> set[str]:
    """Names that are given the result of such a function."""
    known = makers()
    found = set()
    for node in ast.walk(tree):
        targets = [node.target] if isinstance(node, ast.NamedExpr) else getattr(node, "targets", [])
        value = getattr(node, "value", None)
        if isinstance(value, ast.Call) and ast.unparse(value.func) in known:
            found |= {ast.unparse(target) for target in targets}
    return found


def test_every_error_is_ours():
    """Or is allowed where it stands."""
    known, foreign = OURS | makers() | GIVE_OURS, []
    for path, tree in trees().items():
        own = known | locals_of_ours(tree)
        for name, line in raised(tree):
            places = ALLOWED.get(name, {})
            if (
                name.rpartition(".")[2] not in own
                and name not in own
                and not any(map(path.startswith, places))
            ):
                foreign.append(f"{path}:{line}: {name}")
    assert not foreign


def test_what_is_allowed_is_there():
    """No exception stands in the list that nobody raises any more."""
    seen = defaultdict(set)
    for path, tree in trees().items():
        for name, _ in raised(tree):
            seen[name].add(path)
    for name, places in ALLOWED.items():
        for place in places:
            assert any(path.startswith(place) for path in seen[name]), (name, place)


def test_no_error_of_ours_is_defined_elsewhere():
    """The tree is whole: no other module has a class that derives from one of it."""
    elsewhere = [
        f"{path}: {node.name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and path != "errors.py"
        and any(ast.unparse(base).rpartition(".")[2] in OURS for base in node.bases)
    ]
    assert not elsewhere


def test_none_is_raised_at_import():
    """No module raises outside of a function, so that importing one never does."""
    at_import = []

    def visit(node: ast.AST, path: str) -> None:
        if isinstance(node, ast.Raise):
            at_import.append(f"{path}:{node.lineno}")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for child in ast.iter_child_nodes(node):
                visit(child, path)

    for path, tree in trees().items():
        visit(tree, path)
    assert not at_import


EXTRAS = [
    "torchvision",
    "timm",
    "ray",
    "pyarrow",
    "fsspec",
    "starlette",
    "uvicorn",
    "anyio",
    "av",
    "imageio",
    "tensorflow",
    "jax",
    "lightning",
    "pytorch_lightning",
    "anywidget",
    "matplotlib",
    "open_clip",
]
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in {extras}:
    sys.modules[name] = None
import filterscope
for module in pkgutil.walk_packages(filterscope.__path__, "filterscope."):
    if module.name == "filterscope.__main__":
        continue
    try:
        importlib.import_module(module.name)
    except BaseException as error:
        print(module.name, type(error).__name__)
"""


def test_every_module_imports_without_extras():
    """Those of the viewer alone say in Python's own way that their web server is not there."""
    code = IMPORT_ALL.format(extras=EXTRAS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    failed = dict(line.split() for line in done.stdout.splitlines())
    assert set(failed) == {"filterscope.viewer.app", "filterscope.viewer.guard"}
    assert set(failed.values()) == {"ModuleNotFoundError"}


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("starlette", ["view", "atlas"], "filterscope[view]"),
        ("uvicorn", ["view", "atlas"], "filterscope[view]"),
        ("fsspec", ["atlas", "tiny-vgg16"], "filterscope[atlas]"),
        ("pyarrow", ["atlas", "tiny-vgg16"], "filterscope[atlas]"),
        ("torchvision", ["layers", "torchvision:resnet18"], "filterscope[torchvision]"),
        ("timm", ["layers", "timm:resnet18"], "filterscope[timm]"),
    ],
)
def test_command_without_its_extra(tmp_path, missing, words, extra):
    """Says what to install."""
    code = f"import sys; sys.modules[{missing!r}] = None; from filterscope.cli import main; sys.exit(main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert f"pip install '{extra}'" in done.stderr
    assert "Traceback" not in done.stderr
