"""target.py: file names, seeds."""

import dataclasses

import numpy as np
import pytest

from filterscope.target import Target


@pytest.mark.parametrize(
    ("target", "stem"),
    [
        (Target("block3_conv1", 34), "block3_conv1-0034"),
        (Target("block3_conv1", 12345), "block3_conv1-12345"),
        (Target("features/0", 7), "features.0-0007"),
        (Target("a:b\\c d", 7), "a.b.c.d-0007"),
        (Target("../../etc", 1), "......etc-0001"),
        (Target("conv", 3, at=(0, 2)), "conv-0003@0,2"),
        (Target("head", 1, at=(7,)), "head-0001@7"),
    ],
)
def test_stem(target, stem):
    """The file name: layer, unit in four digits, separators as dots; it never leaves its folder."""
    assert target.stem == stem


def test_units_of_numpy():
    """A unit as argmax gives it is a number; a truth value is none."""
    assert type(Target("conv", np.argmax([0, 1])).unit) is int
    assert Target("conv", True).unit is True  # which a network refuses


def test_seed_belongs_to_the_target():
    """Every seed, layer, unit, place and attempt has random numbers of its own."""
    seeds = {
        Target(layer, unit, at).seed(seed, attempt)
        for layer in ("a", "b")
        for unit in (0, 1, 10)
        for at in (None, (0, 0), (0, 1))
        for seed in (0, 1, 10)
        for attempt in (0, 1, 2)
    }
    assert len(seeds) == 2 * 3 * 3 * 3 * 3
    assert all(0 <= s < 2**63 for s in seeds)


def test_seed_never_changes():
    """Pictures of earlier versions can be drawn again: the seed of a target is fixed for ever."""
    assert Target("block3_conv1", 34).seed(0) == 7981433635598470572


def test_frozen():
    """Targets are keys of tables: they cannot change."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Target("a", 1).unit = 2
