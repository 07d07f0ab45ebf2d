"""sides.py: sizes as people write them, and pictures that are not square from the command to the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.helpers.atlas import draw_atlas
from torch import nn

from filterscope import notices
from filterscope.api import visualize
from filterscope.atlas.storage.index import read_index
from filterscope.atlas.storage.manifest import LayerEntry
from filterscope.atlas.storage.store import open_store
from filterscope.cli import main
from filterscope.errors import ArgumentError, RecipeError
from filterscope.measure.classify import classify
from filterscope.measure.examples import example_sheet, find_examples
from filterscope.networks import open_network
from filterscope.networks.input_spec import InputOptions
from filterscope.photographs import dream, locate
from filterscope.recipe import get_recipe
from filterscope.rerun import draw_again
from filterscope.sides import as_size, checked_size, sides_of, size_text

WIDE = """
from torch import nn

INPUT = {"size": (16, 32)}


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 8 * 16, 5)

    def forward(self, x):
        return self.head(nn.functional.max_pool2d(self.body(x).relu(), 2).flatten(1))
"""


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """A network for pictures of 16 x 32 px alone, in a person's own file in this folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(WIDE)
    return open_network("net.py:Wide")


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    values = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(values.integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@given(st.integers(1, 8192), st.integers(1, 8192))
def test_sizes_read_back(height, width):
    """What is written of a size is read as that size, also behind a network's name."""
    size = as_size(height, width)
    assert sides_of(size) == (height, width)
    assert checked_size("size", size_text(size)) == size
    assert InputOptions.parse(str(InputOptions(size=size))).size == size


@pytest.mark.parametrize(
    "wrong", [0, "x", "64x", "64x128x3", (64,), (64, 0), (1, 2, 3), 1.5, True, None, "9" * 12, 9000]
)
def test_no_sizes(wrong):
    """Anything else is refused, with what is allowed."""
    with pytest.raises(
        ArgumentError, match=r"size takes a whole number from 1 to 8192 .*height x width as 64x128"
    ):
        checked_size("size", wrong)


@pytest.mark.parametrize("wrong", ["64x", (64, 0), [1, 2, 3]])
def test_no_sizes_of_a_recipe(wrong):
    """A recipe says the same."""
    with pytest.raises(RecipeError, match="'size' must be a whole number from 1 to 8192, or height x width"):
        get_recipe("sharp", size=wrong)


def test_a_recipe_keeps_both_sides():
    """In JSON and back, from a setting's text too; equal sides are one number, as older records have it."""
    recipe = get_recipe("sharp", settings={"size": "64x128"})
    assert recipe.size == (64, 128)
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe
    assert get_recipe("sharp", size=(64, 64)) == get_recipe("sharp", size=64)


@pytest.mark.parametrize("recipe", ["sharp", "maco", "distill", "natural", "blog"])
def test_drawn_by_every_recipe(wide, recipe):
    """Crops, rotations, pads and spectra included, for what takes one size alone and for what takes any."""
    sheet = visualize(wide, ["head:1", "body:2"], recipe=recipe, steps=2, progress=False)
    size = sheet[0].image.shape[:2]
    assert size == (16, 32)
    assert sheet[0].recipe.size == (16, 32)
    assert sheet.to_pil().height < sheet.to_pil().width


def test_sizes_that_do_not_run(wide, caplog):
    """What takes one size is drawn at it, and one line says which, height first."""
    notices.forget()
    for size in (16, (32, 16), (16, 31)):
        picture = visualize(wide, "head:1", size=size, steps=1, progress=False)
        assert picture.image.shape[:2] == picture.recipe.size == (16, 32)
    assert sum("net.py:Wide runs at 16 x 32 px only" in line for line in caplog.messages) == 3
    assert visualize(wide, "body:1", size=(20, 12), steps=1, progress=False).image.shape == (20, 12, 3)


def test_any_network_draws_them(tiny):
    """--size HEIGHTxWIDTH, of a network that takes any."""
    picture = visualize(tiny, "block2_conv1:3", size=(24, 40), steps=2, progress=False)
    assert picture.image.shape == (24, 40, 3)
    assert picture.report(None)["size"] == (24, 40)


def test_in_proportion():
    """A network for any size, made for 128 x 256 px, has pictures of these proportions as large as is usual."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    opened = open_network(net, size=(128, 256))
    assert opened.picture_size("0", 128) == (64, 128)
    assert opened.picture_size("0") == (128, 256)
    assert opened.layers["0"].output_shape == (4, 126, 254)


def test_keras_networks_too(keras_wide):
    """A Keras model of fixed sides draws as these sides."""
    picture = visualize(keras_wide, "out:1", steps=2, progress=False)
    assert picture.image.shape == (16, 32, 3)


@pytest.fixture
def keras_wide():
    import keras
    from keras import layers

    return keras.Sequential(
        [keras.Input((16, 32, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5, name="out")]
    )


def test_command_line(wide, tmp_path, capsys):
    """--input-size and --size take HEIGHTxWIDTH; the record draws the same again."""
    (tmp_path / "plain.py").write_text(WIDE.replace("INPUT", "UNUSED"))
    asked = ["show", "plain.py:Wide", "head:1", "--input-size", "16x32", "--steps", "2", "--json"]
    assert main([*asked, "--precision", "float32"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["size"] == [16, 32]
    again = draw_again(tmp_path / "out" / "head-0001.png", net="plain.py:Wide?size=16x32")
    assert again.largest_difference == 0
    assert main(["show", "net.py:Wide", "body:1", "--size", "20x12", "--steps", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["size"] == [20, 12]
    assert main(["show", "net.py:Wide", "body:1", "--size", "20x"]) == 2
    assert "height x width as 64x128" in capsys.readouterr().err


def test_photographs(wide, photographs, monkeypatch, tmp_path):
    """Cropped to the network's proportions for its measure, its sheet and its classes; looked at through windows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = find_examples(wide, ["head", "body"], photographs, shown=False)
    assert find_examples(wide, ["head"], photographs, shown=False)["head"].images == found["head"].images
    sheet = example_sheet(wide, found["head"], [0], photographs)
    assert sheet.height < 112
    image = photographs / "1.png"
    assert len(classify(wide, [image], top=2)[0]) == 2
    assert dream(wide, image, target="head:1", steps=2, progress=False).image.shape == (60, 90, 3)
    assert locate(wide, image, "head:1").heat.shape == (60, 90)
    with pytest.raises(ArgumentError, match="the photograph's proportions"):
        dream(wide, image, target="head:1", steps=2, size=(60, 90), progress=False)


def test_atlas(wide, photographs, monkeypatch, tmp_path):
    """Every picture at the network's own size; begun again, nothing changes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = open_store(str(tmp_path / "atlas"))
    recipe = get_recipe("sharp", steps=2)
    for _ in range(2):
        summary = draw_atlas(wide, store, recipe=recipe, images=photographs, progress=False)
        assert summary["pictures"] == 9
    (folder,) = (name for name in store.folders() if name.startswith("net"))
    rows = store.read_json(f"{folder}/network.json")["layers"]
    assert {LayerEntry.model_validate(row).plan().size for row in rows} == {(16, 32)}
    first = read_index(store).to_pylist()[0]
    with Image.open(tmp_path / "atlas" / first["file"]) as image:
        assert image.size == (32, 16)
    thumbnail = next((tmp_path / "atlas" / folder / "examples").glob("*.jpg"))
    with Image.open(thumbnail) as image:
        assert image.size == (112, 56)


def test_the_measure_is_of_the_whole_picture(wide):
    """A class's activation is what the module itself gives for the saved pixels."""
    picture = visualize(wide, "head:1", steps=2, progress=False)
    x = wide.input.preprocess(torch.from_numpy(picture.image).float().permute(2, 0, 1)[None])
    with torch.no_grad():
        own = wide.part("head")(x).output[0, 1]
    assert float(own) == pytest.approx(picture.scores.activation, abs=1e-5)
