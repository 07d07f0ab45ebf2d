"""picture.py: labels, what a PNG carries, report entries, saving."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import filterscope
from filterscope.errors import ArgumentError, OutputError
from filterscope.formats import PICTURE
from filterscope.pictures.png import encode_png, read_metadata
from filterscope.recipe import Recipe, read_recipe
from filterscope.selection import Selection
from filterscope.target import Target


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "filter: 34"),
        ({"class_name": "goldfish"}, "goldfish"),
        ({"target": Target("a", 3, (1, 2))}, "filter: 3 @1,2"),
        ({"target": Target("a", 3, (0, 0))}, "filter: 3 @0,0"),
        ({"status": "dead"}, "filter: 34 (dead)"),
        ({"status": "no-gain", "class_name": "goldfish"}, "goldfish (no gain)"),
    ],
)
def test_label(picture, changes, label):
    """The post's words, the class's name, the neuron's place; a failed picture says so."""
    assert picture(**changes).label == label


@given(recipe=st.from_type(Recipe))
def test_recipe_survives_png(picture, recipe):
    """Written into a PNG and read back, every recipe is the same."""
    made = picture(recipe=recipe)
    with Image.open(io.BytesIO(encode_png(made.to_pil(), made.metadata()))) as image:
        assert read_recipe(json.loads(image.text["filterscope"])["recipe"]) == recipe


def test_what_a_png_carries(picture, tmp_path):
    """Network, weights, target, seed, recipe, scores, version: enough to draw it again."""
    told = read_metadata(picture(class_name="goldfish").save(tmp_path / "x.png"))
    assert told.pop("recipe")["name"] == "tv"
    assert told == {
        "format": PICTURE.number,
        "version": filterscope.__version__,
        "network": "vgg16",
        "weights_sha256": "ab" * 32,
        "weights_file": "real.safetensors",
        "target": "block3_conv1:34",
        "class_name": "goldfish",
        "seed": 5,
        "attempt": 0,
        "facet": 0,
        "precision": "float32",
        "device": "cpu",
        "batch": 4,
        "status": "ok",
        "scores": {
            "activation": 12.5,
            "excitation": 1.5,
            "probability": None,
            "start": 3.0,
            "top_unit": None,
        },
        "curve": [1.0, 2.0, 3.12346],
    }


def test_no_folder_of_this_machine_is_carried(picture, tmp_path):
    """A PNG is shared with others: it names no folder, no person, no time."""
    place = tmp_path / "private" / "x.png"
    first = picture(seconds=1.0).save(place).read_bytes()
    assert str(tmp_path).encode() not in first
    assert picture(seconds=2.0).save(place).read_bytes() == first


def test_target_of_a_png_is_read_back(picture, tmp_path):
    """The target's text in the PNG means the same target."""
    target = Target("features.0", 7, (1, 2))
    told = read_metadata(picture(target=target).save(tmp_path / "x.png"))
    assert Selection.parse(told["target"]).resolve(10) == [target]


def test_report(picture):
    """An entry of report.json: the fields of the design, seconds rounded."""
    assert picture(class_name="goldfish").report("x.png") == {
        "file": "x.png",
        "target": "block3_conv1:34",
        "class_name": "goldfish",
        "facet": 0,
        "seed": 5,
        "recipe": "tv",
        "steps": 3,
        "size": 8,
        "activation": 12.5,
        "excitation": 1.5,
        "probability": None,
        "top_unit": None,
        "status": "ok",
        "seconds": 1.235,
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_survive(picture, tmp_path, channels):
    """The file's pixels are the picture's, grey ones too."""
    image = np.random.default_rng(0).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    path = picture(image=image).save(tmp_path / "x.png")
    with Image.open(path) as found:
        assert found.mode == {1: "L", 3: "RGB"}[channels]
        assert np.array_equal(np.array(found).reshape(image.shape), image)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("x.png", "x.png"),
        ("new/folder/x.png", "new/folder/x.png"),
        ("new", "new/block3_conv1-0034.png"),
        ("there", "there/block3_conv1-0034.png"),
        ("there.d", "there.d/block3_conv1-0034.png"),
    ],
)
def test_save(picture, tmp_path, path, file):
    """A file's path is taken as it is; a folder, there or not, gets LAYER-UNIT.png."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there.d").mkdir()
    assert picture().save(tmp_path / path) == tmp_path / file
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / file]


def test_save_takes_text(picture, tmp_path):
    """A path may be a string."""
    assert picture().save(str(tmp_path / "x.png")).is_file()


def test_save_where_nothing_can_be_written(picture, tmp_path):
    """A place that cannot be written is an OutputError that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*block3_conv1-0034.png"):
        picture().save(tmp_path / "file" / "deep")


def test_shows_itself(picture):
    """A notebook gets the PNG; a terminal a line that does not spell out the pixels."""
    with Image.open(io.BytesIO(picture()._repr_png_())) as image:
        assert np.array_equal(np.array(image), picture().image)
    assert "array(" not in repr(picture())
    assert "block3_conv1" in repr(picture())


def test_alpha(picture, tmp_path):
    """The alpha channel is the transparency, the colours beneath are the picture's, and only if it is asked for."""
    looked = np.arange(picture().image[..., 0].size, dtype=np.uint8).reshape(picture().image.shape[:2])
    made = picture(transparency=looked)
    assert made.to_pil().mode == "RGB"
    assert made.encoded() == picture().encoded()
    with Image.open(made.save(tmp_path, alpha=True)) as image:
        assert image.filename.endswith("block3_conv1-0034.alpha.png")
        np.testing.assert_array_equal(np.asarray(image)[..., 3], looked)
        np.testing.assert_array_equal(np.asarray(image)[..., :3], made.image)
        assert json.loads(image.text["filterscope"])["target"] == "block3_conv1:34"
    assert picture(image=made.image[..., :1], transparency=looked).to_pil(alpha=True).mode == "LA"
    with pytest.raises(ArgumentError, match="no ascent drew it"):
        picture().to_pil(alpha=True)
