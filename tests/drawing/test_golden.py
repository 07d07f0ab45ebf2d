"""A few small pictures compared with those drawn before; `pytest --update-golden` draws them anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.recipe import get_recipe

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [
    ("block1_conv2:7", "tv", 8),
    ("block2_conv2:12", "sharp", 10),
    ("block3_conv3:40", "linear", 8),
    ("predictions:goldfish", "sharp", 10),
]


@pytest.mark.parametrize(("target", "recipe", "steps"), CASES)
def test_pictures_stay_as_they_were(tiny, target, recipe, steps, request):
    """Within 4 of 255 levels on average of the picture in tests/golden; the difference is kept on failure."""
    (picture,) = draw(
        tiny, tiny.targets(target), get_recipe(recipe, steps=steps, size=48), run=Run(precision="float32")
    )
    path = GOLDEN / f"{picture.target.stem}-{recipe}.png"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        picture.to_pil().save(path)
        pytest.skip("drawn anew, as asked for by --update-golden")
    before = np.asarray(Image.open(path), dtype=np.int16)
    difference = np.abs(before - picture.image)
    if difference.mean() > 4:
        (GOLDEN / "failed").mkdir(exist_ok=True)
        both = np.hstack([before, picture.image, np.minimum(255, 4 * difference)]).astype(np.uint8)
        Image.fromarray(both).save(GOLDEN / "failed" / path.name)
    assert difference.mean() <= 4, (
        f"before, now and 4 x the difference are in {GOLDEN / 'failed' / path.name}"
    )
