"""benchmarks/quality/cifar10.py: which group a judge names, and what it refuses."""

from types import SimpleNamespace

import pytest
import torch
from benchmarks.quality.cifar10 import GROUPS, named, photographs
from PIL import Image


@pytest.mark.parametrize(
    ("classes", "expected"), [([404], "airplane"), ([151, 160, 200], "dog"), ([867, 9], "truck")]
)
def test_named(classes, expected):
    """The group of the highest mean probability: a class of few counts for more than one of many."""
    softmax = torch.zeros(1, 1000)
    softmax[0, classes] = 1 / len(classes)
    judge = SimpleNamespace(look=lambda pictures: SimpleNamespace(softmax=softmax))
    assert named(judge, Image.new("RGB", (32, 32))) == expected


def test_groups():
    """Ten groups, in CIFAR-10's order, that share no class."""
    classes = [number for group in GROUPS.values() for number in group]
    assert len(GROUPS) == 10
    assert [*GROUPS] == sorted(GROUPS)
    assert len(set(classes)) == len(classes)


def test_other_photographs_are_refused(tmp_path):
    """A folder that does not hold a photograph of each class."""
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(SystemExit, match="holds 1 pictures, and is to hold one of each"):
        list(photographs(tmp_path))
