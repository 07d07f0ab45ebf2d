"""errors.py: the tree drawn at its top is the tree, each error has its exit status, the nearest name is found."""

import inspect
import re

import pytest

from filterscope import errors
from filterscope.errors import did_you_mean

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
