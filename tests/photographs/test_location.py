"""locate: where in a photograph a unit is excited."""

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.errors import ArgumentError, ImageError, TargetError
from filterscope.pictures.png import read_metadata
from filterscope.rerun import draw_again


@pytest.fixture(scope="module")
def goldfish(tiny):
    """The network's own picture of a goldfish, 64 px."""
    return fs.visualize(tiny, "predictions:goldfish", steps=48, size=64, progress=False).image


def placed(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """The picture on a large grey photograph of 128 x 192 px."""
    photo = np.full((128, 192, 3), 120, np.uint8)
    photo[row : row + 64, column : column + 64] = picture
    return photo


@pytest.mark.parametrize(("row", "column"), [(0, 0), (60, 120), (32, 64)])
def test_class(tiny, goldfish, row, column):
    """The peak of a class lies on its object, wherever that is."""
    found = fs.locate(tiny, placed(goldfish, row, column), "predictions:goldfish")
    assert row <= found.peak[0] < row + 64
    assert column <= found.peak[1] < column + 64
    assert found.heat.shape == (128, 192)
    assert found.heat.max() == 1
    assert found.layer == "block5_conv3"
    assert found.class_name == "goldfish"
    assert 0 <= found.probability <= 1


def test_channel(tiny):
    """The map of a channel is the layer's own: the peak lies where the largest activation is."""
    photo = np.full((64, 64, 3), 128, np.uint8)
    photo[40:48, 16:24] = np.random.default_rng(0).integers(0, 255, (8, 8, 3))
    found = fs.locate(tiny, photo, "block1_conv1:3", size=64)
    assert 39 <= found.peak[0] <= 48
    assert 15 <= found.peak[1] <= 24
    assert found.layer == "block1_conv1"
    assert found.probability is None


def test_the_peak_in_the_photograph_and_in_the_overlay(tiny, goldfish):
    """An overlay is larger than a small photograph: the ring's centre is told in its pixels too."""
    found = fs.locate(tiny, placed(goldfish, 60, 120), "predictions:goldfish")
    told, overlay = found.report(), found.to_pil()
    assert told["size"] == {"width": 192, "height": 128}
    assert (told["overlay"]["width"], told["overlay"]["height"]) == overlay.size == (480, 320)
    for side, place in zip(("row", "column"), found.peak, strict=True):
        assert told["peak"][side] == place
        assert told["overlay"][side] == int((place + 0.5) * 2.5)
    row, column = told["overlay"]["row"], told["overlay"]["column"]
    around = np.asarray(overlay)[max(0, row - 20) : row + 21, max(0, column - 20) : column + 21]
    assert (around == 255).all(2).any()  # the ring


def test_nothing(small):
    """A unit that nothing excites glows nowhere, and has no ring."""
    black = np.zeros((16, 16, 3), np.uint8)
    dead = [u for u in range(4) if fs.locate(small, black, f"conv1:{u}").largest == 0]
    assert dead  # biases are random: some are below 0
    found = fs.locate(small, black, f"conv1:{dead[0]}")
    assert (found.heat == 0).all()
    assert not found.report()["excited"]
    assert np.asarray(found.to_pil()).max() < 10


def test_one_size_network(small_keras):
    """A class behind a Flatten looks at the photograph squeezed; the map is the photograph's shape."""
    found = fs.locate(
        small_keras, np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8), "predictions:1"
    )
    assert found.heat.shape == (30, 50)
    assert found.layer == "conv2"
    with pytest.raises(ArgumentError, match="runs at 16 x 16 px only"):
        fs.locate(small_keras, np.zeros((30, 50, 3), np.uint8), "predictions:1", size=20)


def test_saved(tiny, goldfish, tmp_path):
    """The PNG carries what was asked and found; rerun says that it was not drawn by an ascent."""
    Image.fromarray(placed(goldfish, 0, 0)).save(tmp_path / "fish.png")
    found = fs.locate(tiny, tmp_path / "fish.png", "predictions:goldfish")
    path = found.save(tmp_path)
    assert path.name == "fish-locate-predictions-0000.png"
    told = read_metadata(path)
    assert told["target"] == "predictions:0"
    assert told["photographs"]["image"]["file"] == "fish.png"
    assert told["peak"] == {"row": found.peak[0], "column": found.peak[1]}
    with pytest.raises(ImageError, match="was not drawn by an ascent"):
        draw_again(path)
    assert found._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("block1_conv1:0-3", "takes one unit"),
        ("layer(block1_conv1)", "takes one unit"),
        ("block1_conv1:3@2,2", "is one place already"),
        ("predictions:goldfsh", "did you mean 'goldfish'"),
    ],
)
def test_refused(tiny, target, message):
    """Several units, whole layers and single places have no one map."""
    with pytest.raises(TargetError, match=message):
        fs.locate(tiny, np.zeros((32, 32, 3), np.uint8), target)
