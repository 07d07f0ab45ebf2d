"""The check by removal, groups of channels, masks: by hand."""

import sys

import numpy as np
import pytest
from PIL import Image

from filterscope.errors import ArgumentError
from filterscope.explanation.attribution import Attribution, attribute
from filterscope.explanation.behind import Behind
from filterscope.explanation.goals import value_of
from filterscope.explanation.groups import find_groups
from filterscope.explanation.masks import light
from filterscope.explanation.removal import area_between, check_removal, counts_of, remove
from filterscope.target import Target

GOAL = Target("head", 2)


def test_removal(shortcut, pixels):
    """From all channels to none; in the order of the contributions the value first falls, and by more than by chance."""
    behind, value = Behind(shortcut, "down", ["head"], pixels), value_of(GOAL)
    found = attribute(behind, value)
    check = check_removal(behind, value, found.contributions, seed=4)
    assert check.counts == (0, 1, 2, 3, 4, 5, 6, 8)
    bias = float(shortcut.kernel_module("head").bias[2])
    for line in (check.top, check.random):
        assert line[0] == pytest.approx(found.value, abs=1e-5)
        assert line[-1] == pytest.approx(bias, abs=1e-5)
    wanted = found.value - np.cumsum(-np.sort(-found.contributions))
    assert check.top[1:4] == pytest.approx(wanted[:3], abs=1e-5)
    assert check.area > 0
    assert check_removal(behind, value, found.contributions, seed=4) == check
    worst = remove(behind, value, [np.argsort(found.contributions)], check.counts)[0]
    assert area_between(np.array(check.random), worst, check.counts) < 0


def test_counts():
    """All of few channels, and of many the ends and what lies between, closer at first."""
    assert counts_of(3) == [0, 1, 2, 3]
    assert counts_of(1280)[:3] == [0, 13, 51]
    assert counts_of(1280)[-1] == 1280


def made_up() -> Attribution:
    """Channels 0 and 1 at the left of the map, 2 and 3 at the right; the left raises the target."""
    activations = np.zeros((5, 2, 2), np.float32)
    activations[:2, :, 0], activations[2:4, :, 1] = [[3.0], [1.5]], [[2.0], [4.0]]
    gradient = np.ones((5, 2, 2), np.float32)
    gradient[2:] = -0.5
    return Attribution("conv", activations, gradient, 1.0)


def test_groups():
    """Two groups: what is active together, its place, its contribution; the sum is that of all channels."""
    found = made_up()
    left, right = find_groups(found, 2)
    assert left.channels == [0, 1]
    assert right.channels == [3, 2]
    assert left.weights[1] == pytest.approx(0.5, abs=1e-2)
    assert (left.strength[:, 0] > 1).all()
    assert left.strength[:, 1] == pytest.approx(0, abs=1e-2)
    assert left.contribution == pytest.approx(9, abs=0.05)
    assert right.contribution == pytest.approx(-6, abs=0.05)
    assert left.share == pytest.approx(9 / 15, abs=0.01)
    assert str(left.direction).startswith("direction(conv, 0:1 1:0.")
    assert (left.number, right.number) == (1, 2)


def test_groups_that_cannot_be(monkeypatch):
    """More groups than places, and no scikit-learn."""
    with pytest.raises(ArgumentError, match=r"4 places and 5 channels: at most 4 groups \(got 5\)"):
        find_groups(made_up(), 5)
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[concepts\]'"):
        find_groups(made_up(), 2)


def test_masks():
    """Lit where the relevance is, dark elsewhere; of what lowers the target the other side."""
    white = Image.new("RGB", (16, 16), "white")
    relevance = np.zeros((4, 4), np.float32)
    relevance[:, 0], relevance[:, 3] = 1, -1
    for against, lit, dark in ((False, 5, 200), (True, 220, 30)):
        mask = np.asarray(light(white, relevance, against=against))
        assert mask.shape == (224, 224, 3)
        assert mask[100, lit].min() == 255
        assert mask[100, dark].max() < 80
    assert np.asarray(light(white, 0 * relevance)).max() < 80


def test_masks_of_coarse_maps():
    """Where nearly every place is somewhat relevant, at most two fifths are lit, the most relevant place among them; a map
    of one value is lit everywhere."""
    white, rows = Image.new("RGB", (16, 16), "white"), np.arange(4.0)[:, None]
    relevance = 0.4 + 0.1 * rows + 0.1 * np.arange(4.0)
    mask = np.asarray(light(white, relevance)).min(2)
    assert 0.3 < (mask > 80).mean() < 0.45
    assert mask[200, 200] == 255
    assert mask[20, 20] < 80
    assert (np.asarray(light(white, np.ones((4, 4)))) == 255).all()
