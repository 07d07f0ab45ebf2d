"""rerun.py: a PNG drawn again from itself, identical; tampering, other weights and missing ones are told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.errors import FilterscopeError, ImageError, RecipeError, WeightsError
from filterscope.pictures.png import encode_png, read_metadata
from filterscope.rerun import draw_again, remember_weights

QUICK = {"steps": 2, "size": 16, "precision": "float32", "progress": False}


@pytest.fixture
def drawn(tiny, tmp_path) -> Path:
    """A picture of the embedded network."""
    return fs.visualize(tiny, "block2_conv1:7", recipe="blog", seed=3, **QUICK).save(tmp_path / "drawn.png")


def tampered(path: Path, *, image=None, **changes) -> Path:
    """A copy of a picture with its metadata or its pixels changed."""
    told = {**(read_metadata(path) or {}), **changes}
    with Image.open(path) as found:
        pixels = found.copy() if image is None else image
    other = path.with_name("tampered.png")
    other.write_bytes(encode_png(pixels, {k: v for k, v in told.items() if v is not ...}))
    return other


@pytest.mark.parametrize("recipe", ["naive", "linear", "lp", "blog", "sharp"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_identical(tiny, tmp_path, recipe, precision):
    """Every preset in either precision comes out identical, recipe, scores and all."""
    settings = {**QUICK, "precision": precision, "steps": 4}
    first = fs.visualize(tiny, "block2_conv1:7", recipe=recipe, seed=3, **settings)
    again = draw_again(first.save(tmp_path / "x.png"))
    assert again.largest_difference == 0
    assert again.mean_difference == 0
    assert again.same_weights
    assert again.describe() == "block2_conv1:7: identical"
    assert again.picture.recipe == first.recipe
    assert again.picture.scores == first.scores
    assert np.array_equal(again.picture.image, first.image)


@pytest.mark.parametrize("text", ["predictions:goldfish", "block2_conv1:7@1,2", "block1_pool:3"])
def test_every_kind_of_target(tiny, tmp_path, text):
    """Classes, neurons and pools too."""
    path = fs.visualize(tiny, text, **{**QUICK, "size": 32}).save(tmp_path)
    assert draw_again(path).largest_difference == 0


def test_one_of_a_batch(tiny, tmp_path):
    """A picture that was drawn among others comes out identical alone."""
    sheet = fs.visualize(tiny, "block2_conv1:0-5", recipe="sharp", **QUICK)
    sheet.save(tmp_path)
    assert draw_again(tmp_path / "block2_conv1-0004.png").largest_difference == 0


def test_settings_of_the_recipe(tiny, tmp_path):
    """Changed settings are in the file: p = inf, other optimisers."""
    settings = {
        "regularizers.lp_norm.p": "inf",
        "optimizer.lr": 0.3,
        "regularizers.total_variation.beta": 1.5,
    }
    path = fs.visualize(tiny, "block2_conv1:7", recipe="blog", settings=settings, **QUICK).save(
        tmp_path / "x.png"
    )
    again = draw_again(path)
    assert again.largest_difference == 0
    assert again.picture.recipe.regularizers[0].p == float("inf")


def test_summary(drawn):
    """For machines: how far the two differ."""
    again = draw_again(drawn)
    assert again.summary() == {
        "target": "block2_conv1:7",
        "identical": True,
        "mean_difference": 0.0,
        "largest_difference": 0,
        "same_weights": True,
        "same_photographs": True,
        "same_concepts": True,
        "activation": again.picture.scores.activation,
    }


def test_a_changed_pixel_is_told(drawn):
    """One pixel changed by 9 levels is found."""
    with Image.open(drawn) as image:
        values = np.array(image)
    values[3, 4, 1] = values[3, 4, 1] - 9 if values[3, 4, 1] >= 9 else values[3, 4, 1] + 9
    again = draw_again(tampered(drawn, image=Image.fromarray(values)))
    assert again.largest_difference == 9
    assert again.mean_difference == pytest.approx(9 / values.size)
    assert again.describe() == "block2_conv1:7: differs by 0.01 of 255 levels on average, 9 at most"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"target": "block2_conv1:8"},
        {"recipe": {**json.loads(fs.PRESETS["lp"].model_dump_json()), "steps": 2, "size": 16}},
    ],
)
def test_a_changed_recipe_is_told(drawn, changes):
    """Another seed, target or recipe in the file does not give the file's picture."""
    if "recipe" in changes:
        changes["recipe"]["optimizer"]["lr"] = 5.0
    again = draw_again(tampered(drawn, **changes))
    assert again.largest_difference > 0
    assert "differs by" in again.describe()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"recipe": {"name": "x", "steps": 0}}, RecipeError, "'steps' must be"),
        ({"recipe": {"name": "x", "stepz": 3}}, RecipeError, "no setting 'stepz'"),
        ({"recipe": "{"}, FilterscopeError, "recipe"),
        ({"recipe": None}, ImageError, "its recipe is incomplete"),
        ({"recipe": [1]}, ImageError, "its recipe is incomplete"),
        ({"recipe": ...}, ImageError, "its recipe is incomplete: 'recipe'"),
        ({"seed": ...}, ImageError, "its recipe is incomplete: 'seed'"),
        ({"seed": "many"}, ImageError, "its recipe is incomplete"),
        ({"batch": {}}, ImageError, "its recipe is incomplete"),
        ({"network": "nowhere", "weights_file": None}, ImageError, "drawn from a model object 'nowhere'"),
        ({"target": "block9_conv1:1"}, FilterscopeError, "has no layer 'block9_conv1'"),
        ({"target": "block2_conv1:999"}, FilterscopeError, "units 0 to 63"),
        ({"precision": "float7"}, FilterscopeError, "precision must be"),
    ],
)
def test_damaged_metadata(drawn, changes, error, message):
    """Metadata that cannot be used is an error of ours, never a traceback."""
    with pytest.raises(error, match=message):
        draw_again(tampered(drawn, **changes))


def test_another_size(drawn):
    """A picture that was resized is refused, not compared."""
    with Image.open(drawn) as image:
        smaller = image.resize((8, 8))
    with pytest.raises(ImageError, match="is 8 x 8 px, its recipe says 16"):
        draw_again(tampered(drawn, image=smaller))


def test_no_recipe_inside(tmp_path):
    """A picture of another program is refused."""
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(ImageError, match=r"x\.png' carries no recipe of filterscope"):
        draw_again(tmp_path / "x.png")
    with pytest.raises(ImageError, match="there is no picture"):
        draw_again(tmp_path / "missing.png")


# --- weights from a file ------------------------------------------------------------------------------------


@pytest.fixture
def with_weights(vgg16_file, tmp_path) -> tuple[Path, Path]:
    """A picture drawn from a weights file, and that file, which may be moved."""
    weights = tmp_path / "own.safetensors"
    shutil.copy(vgg16_file, weights)
    net = fs.open_network("vgg16", weights=weights)
    folder = tmp_path / "pictures"
    return fs.visualize(net, "block1_conv1:7", recipe="blog", **QUICK).save(folder / "x.png"), weights


def test_weights_are_named(with_weights):
    """With the weights nowhere known the error names their file, their hash and --weights."""
    path, weights = with_weights
    sha256 = read_metadata(path)["weights_sha256"]
    with pytest.raises(
        WeightsError, match=f"drawn from 'own.safetensors' .sha256 {sha256}.*pass it with weights=FILE"
    ):
        draw_again(path)
    assert draw_again(path, weights=weights).largest_difference == 0


def test_weights_are_remembered(with_weights):
    """A weights file that was used is found again by its hash, also under another name."""
    path, weights = with_weights
    remember_weights(fs.open_network("vgg16", weights=weights.rename(weights.with_name("other.safetensors"))))
    assert draw_again(path).largest_difference == 0


@pytest.mark.parametrize("place", ["pictures", "."])
def test_weights_nearby(with_weights, tmp_path, monkeypatch, place):
    """Beside the picture, or in the folder one stands in, the file is found."""
    path, weights = with_weights
    monkeypatch.chdir(tmp_path / "pictures")
    weights.rename(tmp_path / "pictures" / "own.safetensors")
    if place == ".":
        path = path.rename(tmp_path / "x.png")
    assert draw_again(path).largest_difference == 0


def test_a_file_of_the_same_name_with_other_numbers(with_weights, vgg16_tensors, tmp_path):
    """A file beside the picture with other numbers is not taken for it; given by hand it is, and told."""
    from safetensors.numpy import save_file

    path, weights = with_weights
    weights.unlink()
    other = path.with_name("own.safetensors")
    save_file({n: -v for n, v in vgg16_tensors.items()}, other)
    with pytest.raises(WeightsError, match="which is not here"):
        draw_again(path)
    again = draw_again(path, weights=other)
    assert not again.same_weights
    assert again.describe().endswith("(drawn from other weights than the file's)")
    assert again.summary()["same_weights"] is False


def test_a_path_in_the_metadata_is_not_followed(with_weights, tmp_path):
    """A file name with folders in it means the name alone: a PNG cannot point at files of this machine."""
    path, weights = with_weights
    changed = tampered(path, weights_file=str(weights))
    with pytest.raises(WeightsError, match=r"drawn from 'own.safetensors'"):
        draw_again(changed)


def test_keras_file(small_keras, tmp_path):
    """A picture of a .keras file is drawn again from that file."""
    small_keras.save(tmp_path / "small.keras")
    picture = fs.visualize(tmp_path / "small.keras", "conv1:1", **QUICK).save(tmp_path / "x.png")
    assert draw_again(picture).largest_difference == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 3}'])
def test_a_damaged_register_is_no_error(with_weights, own_cache, content):
    """What is remembered about weights may be damaged: then it is written anew."""
    path, weights = with_weights
    register = own_cache / "filterscope" / "weights.json"
    register.parent.mkdir(parents=True)
    register.write_text(content)
    with pytest.raises(WeightsError):
        draw_again(path)
    remember_weights(fs.open_network("vgg16", weights=weights))
    assert draw_again(path).largest_difference == 0


def test_a_register_that_cannot_be_written(with_weights, own_cache):
    """A cache that cannot be written costs only the convenience."""
    _, weights = with_weights
    (own_cache / "filterscope").write_text("a file")
    remember_weights(fs.open_network("vgg16", weights=weights))


def test_nothing_to_remember(small, own_cache):
    """A live model has no file."""
    remember_weights(small)
    assert list(own_cache.iterdir()) == []
