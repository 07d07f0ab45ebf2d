"""errors.py: the tree drawn at its top is the tree, each error has its exit status, the nearest name is found."""

import inspect
import re

import numpy as np
import pytest
from PIL import Image
from tests.helpers.atlas import draw_atlas

import filterscope as fs
from filterscope import errors
from filterscope.cli import main
from filterscope.comparison.compare import compare
from filterscope.drawing.draw import draw
from filterscope.drawing.ladder import draw_ladder
from filterscope.drawing.run import Run
from filterscope.errors import did_you_mean
from filterscope.recipe import get_recipe

CLASSES = {name: c for name, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)}


def test_docstring_draws_the_tree():
    """Each line of the tree in the module's docstring stands at the depth of its class."""
    drawn = {}
    for line in errors.__doc__.splitlines():
        if found := re.match(r"([│├└─ ]*)(\w+(?:Error))\b", line):
            drawn[found[2]] = len(found[1]) // 4
    assert drawn == {name: len(c.__mro__) - len(Exception.__mro__) - 1 for name, c in CLASSES.items()}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_exit_status(name):
    """Wrong arguments exit with 2, failed work with 1."""
    kind = CLASSES[name]
    assert kind.exit_status == (2 if issubclass(kind, errors.ArgumentError) else 1)


@pytest.mark.parametrize(
    ("name", "options", "phrase"),
    [
        ("block3_conv9", ["block3_conv3", "fc1"], "; did you mean 'block3_conv3'?"),
        ("SEA_SNAKE", ["sea_snake"], "; did you mean 'sea_snake'?"),
        ("sea_snak", ["Sea_Snake", "pug"], "; did you mean 'Sea_Snake'?"),
        ("zebra", ["fc1"], ""),
        ("anything", [], ""),
        ("", ["fc1"], ""),
    ],
)
def test_did_you_mean(name, options, phrase):
    """The nearest option as it is written, or nothing."""
    assert did_you_mean(name, options) == phrase


LARGE = 99_999_999_999_999_999_999


@pytest.mark.parametrize("seed", [-1, 2**62, LARGE, 1.5, "1", None, True, np.array([1, 2]), np.float64(1)])
def test_checked_seed_refuses(seed):
    """Whatever no generator takes is refused in a short line."""
    with pytest.raises(
        errors.ArgumentError, match=r"a seed is a whole number from 0 and below 2\^62 .got .{1,90}$"
    ):
        errors.checked_seed(seed)


@pytest.mark.parametrize("seed", [0, 2**62 - 1, np.int64(3), np.array(4)])
def test_checked_seed(seed):
    """Whole numbers of any kind."""
    assert errors.checked_seed(seed) == int(seed)


@pytest.fixture
def photo(tmp_path) -> str:
    Image.new("RGB", (40, 40), (90, 120, 30)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.mark.parametrize(
    "command",
    [
        "show NET block1_conv1:1", "ladder NET block1_conv1:1", "dream NET PHOTO --layers block1_conv1",
        "invert NET PHOTO block1_conv1", "caricature NET PHOTO block1_conv1", "accentuate NET PHOTO block2_conv1:1",
        "atlas NET", "compare NET NET block1_conv1:1",
    ],
)  # fmt: skip
def test_seed_of_every_command(command, photo, tmp_path, capsys):
    """Every command that draws refuses such a seed at once, and writes nothing."""
    words = ["tiny-vgg16" if w == "NET" else photo if w == "PHOTO" else w for w in command.split()]
    out = tmp_path / "out"
    assert main([*words, "--out", str(out), "--seed", str(LARGE)]) == 2
    assert (
        capsys.readouterr().err
        == f"filterscope: a seed is a whole number from 0 and below 2^62 (got {LARGE})\n"
    )
    assert not out.exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda net, photo, seed: fs.visualize(net, "block1_conv1:1", seed=seed),
        lambda net, photo, seed: fs.visualize_filter(net, "block1_conv1", 1, seed=seed),
        lambda net, photo, seed: fs.dream(net, photo, layers="block1_conv1", seed=seed),
        lambda net, photo, seed: fs.invert(net, photo, "block1_conv1", seed=seed),
        lambda net, photo, seed: fs.caricature(net, photo, "block1_conv1", seed=seed),
        lambda net, photo, seed: fs.accentuate(net, photo, "block2_conv1:1", seed=seed),
        lambda net, photo, seed: list(draw(net, net.targets("block1_conv1:1"), get_recipe(), run=Run(seed=seed))),
        lambda net, photo, seed: draw_ladder(net, net.targets("block1_conv1:1"), [get_recipe()], run=Run(seed=seed)),
        lambda net, photo, seed: compare(net, net, ["block1_conv1:1"], seed=seed),
        lambda net, photo, seed: draw_atlas(net, f"{photo}.atlas", seed=seed),
    ],
)  # fmt: skip
def test_seed_of_every_function(tiny, photo, call):
    """Every Python function likewise."""
    with pytest.raises(errors.ArgumentError, match="a seed is a whole number"):
        call(tiny, photo, LARGE)
