"""commands/drawing.py: animations from Python."""

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.errors import ArgumentError, TargetError

QUICK = {"steps": 2, "size": 32, "precision": "float32", "progress": False}


def test_an_animation_of_a_photograph(tiny, tmp_path):
    """From the photograph to its dream; a zoom into the dream too. Options that cannot be are refused before."""
    photograph = Image.fromarray(np.full((40, 60, 3), 90, np.uint8))
    steps = []
    quick = {**QUICK, "size": 48, "on_step": steps.append}
    path = fs.animate(
        tiny, "layer(block2_conv1)", tmp_path / "dream.gif", frames=3, image=photograph, **quick
    )
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (3, (48, 32))
    assert [step.step for step in steps] == [1, 2]
    zoomed = fs.animate(
        tiny, "layer(block2_conv1)", tmp_path / "zoom.webp", frames=2, image=photograph, zoom=1.5, **quick
    )
    with Image.open(zoomed) as film:
        assert film.n_frames == 2
    for wrong in ({"frames": 1}, {"zoom": 1.04}, {"zoom": 3, "image": photograph}):
        with pytest.raises(ArgumentError, match=r"2 frames or more|zoom is above 1"):
            fs.animate(tiny, "block1_conv1:3", tmp_path / "no.gif", **wrong, **QUICK)
    with pytest.raises(TargetError, match="an animation is of one picture"):
        fs.animate(tiny, "block1_conv1:3,5", tmp_path / "no.gif", **QUICK)
