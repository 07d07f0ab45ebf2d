"""cli/wording.py: the library names Python's options, the command line its flags."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import filterscope as fs
from filterscope.cli import cli, main
from filterscope.cli.wording import FLAGS, INPUT_FLAGS, in_flags

HOME = Path(fs.__file__).parent
LIBRARY = [path for path in sorted(HOME.rglob("*.py")) if path.relative_to(HOME).parts[0] != "cli"]


def texts(path: Path) -> list[str]:
    """The strings of a module, its docstrings aside; of f-strings the parts that stand in them as they are."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, own) and node.body]
    documentation = {id(line.value) for line in first if isinstance(line, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(HOME)))
def test_the_library_names_no_flag(path):
    """Below `cli` a message says `size=`; the command line makes `--size` of it."""
    named = [text for text in texts(path) if re.search(r"(?<![\w-])--[a-z]|[ (]--$", text)]
    assert named == []


def test_every_option_that_a_message_names_has_its_flag():
    """An option that a message ends a sentence with, or gives a value: one that the command line translates.

    `seed=` stands in a call that a message gives in full.
    """
    found = {
        name
        for path in LIBRARY
        for text in texts(path)
        for name in re.findall(r" ([a-z]+)=(?=[,;)]| |$)", text)
    }
    assert found - {"seed"} <= {*FLAGS, *INPUT_FLAGS}
    assert "weights" in found


def test_flags_are_those_of_the_commands():
    """And their names are parameters of the public functions."""
    flags = {flag for command in cli.commands.values() for one in command.params for flag in one.opts}
    assert {*FLAGS.values(), *INPUT_FLAGS.values()} <= flags
    functions = [one for name in fs.__all__ if inspect.isfunction(one := getattr(fs, name))]
    names = {name for one in functions for name in inspect.signature(one).parameters}
    assert set(FLAGS) <= names
    assert set(INPUT_FLAGS) <= set(inspect.signature(fs.open_network).parameters)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("leave out weights=", "leave out --weights"),
        ("leave out weights='random'", "leave out --weights random"),
        ("give weights=FILE, or weights='random'.", "give --weights FILE, or --weights random."),
        ("take weights='my file.pt#ema'", "take --weights 'my file.pt#ema'"),
        ("choose another out= or name=, or overwrite=True", "choose another --out or --name, or --overwrite"),
        ("smaller pictures (size=); more", "smaller pictures (--size); more"),
        ("a guess: open_network(range=, mean=, std=)", "a guess: --range LOW,HIGH, --mean and --std"),
        ("at 64 px: open_network(size='64x128'))", "at 64 px: --input-size 64x128)"),
        ("draw it: visualize(model, recipe=..., size=5)", "draw it: visualize(model, recipe=..., size=5)"),
        ("tiny-vgg16?size=32&mean=1 is", "tiny-vgg16?size=32&mean=1 is"),
        ("no setting 'size=3'; dim=1", "no setting 'size=3'; dim=1"),
    ],
)
def test_in_flags(said, told):
    assert in_flags(said) == told


def test_both_ways(tmp_path, capsys):
    """The same error from Python and from the command line."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "index.html").write_text("mine")
    with pytest.raises(fs.ArgumentError) as raised:
        fs.make_atlas("tiny-vgg16", tmp_path / "taken", layers=["block1_conv1"], progress=False)
    assert "choose another out=, or add overwrite=True" in str(raised.value)
    assert main(["atlas", "tiny-vgg16", "--out", str(tmp_path / "taken"), "--layers", "block1_conv1"]) == 2
    assert "choose another --out, or add --overwrite" in capsys.readouterr().err
