"""shown.py: pictures, sheets, locations, ladders and comparisons are arrays to NumPy."""

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.comparison.compare import compare
from filterscope.drawing.ladder import draw_ladder
from filterscope.pictures import sheet as sheets
from filterscope.pictures.reading import read_photograph
from filterscope.pictures.shown import Shown
from filterscope.recipe import get_recipe

HOW = {"steps": 1, "size": 32, "progress": False}


@pytest.fixture(scope="module")
def shown(tiny, tmp_path_factory) -> dict[str, Shown]:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("images")
    for i, colours in enumerate(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)):
        Image.fromarray(colours).save(folder / f"{i}.png")
    photo = Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3))
    recipe = get_recipe("sharp", steps=1, size=32)
    targets = tiny.targets("block1_conv1:1,2")
    return {
        "Picture": fs.visualize(tiny, "block1_conv1:1", **HOW),
        "Sheet": fs.visualize(tiny, "block1_conv1:1,2", **HOW),
        "Location": fs.locate(tiny, photo, "block1_conv1:1"),
        "Ladder": draw_ladder(tiny, targets, [recipe]),
        "Comparison": compare(tiny, tiny, ["block1_conv1:1"], recipe=recipe),
        "Wires": fs.find_wires(tiny, "block1_conv2:1", count=1, **HOW),
        "Photograph": read_photograph(photo),
        "FoundConcepts": fs.find_concepts(tiny, "block3_conv1", folder, count=2, **HOW),
        "Explanation": fs.explain(
            tiny,
            photo,
            "predictions:goldfish",
            layers=["block5_conv3"],
            count=1,
            pictures=False,
            progress=False,
        ),
    }


def kinds(of: type = Shown) -> set[str]:
    return {name for kind in of.__subclasses__() for name in ({kind.__name__} | kinds(kind))}


def test_every_kind_is_tried(shown):
    """The fixture has one of each class that can be looked at."""
    assert set(shown) == kinds()
    assert all(type(one).__name__ == name for name, one in shown.items())


@pytest.mark.parametrize("name", sorted(kinds()))
def test_array(shown, name):
    """Its pixels as they are shown and saved, in the number type that was asked for."""
    one = shown[name]
    pixels = np.asarray(one)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.asarray(one.to_pil()))
    assert np.asarray(one, dtype=np.float32).dtype == np.float32
    assert np.array(one, copy=True).flags.writeable
    assert Image.fromarray(pixels).size == one.to_pil().size
    before = pixels.copy()
    pixels[:] = 0  # of its own: what it was taken from stays
    assert np.array_equal(np.asarray(one), before)
    if int(np.__version__.partition(".")[0]) >= 2:
        with pytest.raises(ValueError, match="leave out copy=False"):
            np.array(one, copy=False)


def test_grey_is_two_dimensional(tiny):
    """As imshow and Pillow take it."""
    from dataclasses import replace

    picture = fs.visualize(tiny, "block1_conv1:1", **HOW)
    assert np.asarray(replace(picture, image=picture.image[..., :1])).shape == (32, 32)


def test_a_picture_is_a_photograph(tiny):
    """What was drawn can be dreamt on."""
    picture = fs.visualize(tiny, "block1_conv1:1", **HOW)
    assert np.array_equal(np.asarray(read_photograph(picture)), np.asarray(picture))


@pytest.mark.parametrize(
    ("target", "captions"),
    [
        (["block1_conv1:1", "block2_conv1:1"], ["block1_conv1", "block2_conv1"]),
        (["block1_conv1:1,2"], ["", ""]),
        (["block1_conv1:1", "layer(block2_conv1)"], ["block1_conv1", ""]),
    ],
)
def test_sheet_of_several_layers_names_them(tiny, monkeypatch, target, captions):
    """Under each unit, where its number alone does not tell."""
    made = []
    monkeypatch.setattr(sheets, "compose", lambda tiles, **_: made.extend(tiles))
    fs.visualize(tiny, target, **HOW).to_pil()
    assert [tile.caption for tile in made] == captions
