"""Windows cover every pixel once, and what they find is what the whole picture finds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.loop import ascend
from filterscope.ascent.tiles import window_shape, windows
from filterscope.objective import WholeLayer
from filterscope.recipe import Optimizer, Pixels, Recipe


@given(
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
    st.none() | st.integers(16, 80),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_every_pixel_once(sides, tile, shift):
    """The kept parts cover the picture without overlap; windows lie within it and have one shape."""
    covered = np.zeros(sides, int)
    shares = 0
    for window in windows(sides, tile, shift):
        covered[slice(*window.kept_rows), slice(*window.kept_columns)] += 1
        assert window.shape == window_shape(sides, tile)
        assert 0 <= window.rows[0] <= window.kept_rows[0] <= window.kept_rows[1] <= window.rows[1] <= sides[0]
        assert window.columns[0] <= window.kept_columns[0] <= window.kept_columns[1] <= window.columns[1]
        shares += window.area
    assert (covered == 1).all()
    assert shares == sides[0] * sides[1]


def test_rims():
    """Inside a picture a window looks a sixteenth of its side beyond what it keeps."""
    inner = [w for w in windows((64, 640), 64) if w.columns[0] > 0 and w.columns[1] < 640]
    assert inner
    assert all(w.kept_columns[0] - w.columns[0] == 4 for w in inner)


def _slope(net, tile, pixels):
    """The change that one step makes to a photograph, with and without tiles."""
    recipe = Recipe(
        name="one", steps=1, start="photograph", image=Pixels(), tile=tile, gradient="rms",
        optimizer=Optimizer(name="SGD", lr=1.0),
    )  # fmt: skip
    goal = WholeLayer("block1_conv2")
    found = ascend(prepare(net, [goal]), [goal], recipe, size=pixels.shape[1:], photographs={"image": pixels})
    return found.pixels[0] - pixels


def test_tiled_is_whole(tiny):
    """Of a layer that sees less than a window's rim the tiled gradient is the whole one, at the borders too."""
    pixels = torch.rand(3, 100, 140, generator=torch.Generator().manual_seed(0)) * 100 + 70
    whole, tiled = _slope(tiny, None, pixels), _slope(tiny, 80, pixels)
    assert (whole - tiled).abs().max() < 1e-3 * whole.abs().max()


def test_no_seams(tiny):
    """Deep in the network, where windows see less than the layer would: the dream's differences between
    neighbours are as large across all places where borders lay as within the windows."""
    from filterscope.photographs.presets import RECIPES

    recipe = RECIPES["dream"].changed({"steps": 6, "tile": 64, "stages": [{"scale": 1}]})
    goal = WholeLayer("block3_conv3")
    image = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(3)) * 60 + 100
    found = ascend(prepare(tiny, [goal]), [goal], recipe, size=(128, 128), photographs={"image": image})
    detail = (found.pixels[0] - image).numpy()
    across = np.abs(np.diff(detail, axis=2)).mean((0, 1))  # one number for each pair of columns
    borders = _borders(recipe.steps, 128, recipe.tile)
    inner = [c for c in range(8, 119) if c + 1 not in borders]
    ratio = across[[b - 1 for b in borders if 8 < b < 119]].mean() / across[inner].mean()
    assert ratio == pytest.approx(1, abs=0.1)


def _borders(steps, length, tile):
    from filterscope.ascent.loop import _shifts

    shifts = _shifts(0, 0, steps)
    return {w.kept_columns[0] for s in shifts for w in windows((length, length), tile, s)} - {0}


def test_tiles_move(tiny):
    """The borders lie elsewhere at each step."""
    assert len(_borders(6, 128, 64)) > 8
