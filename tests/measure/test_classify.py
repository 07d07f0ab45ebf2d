"""What a network says of pictures, and how they are read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from filterscope.cli import main
from filterscope.drawing.draw import draw
from filterscope.errors import ArgumentError, ImageError
from filterscope.measure.classify import classify
from filterscope.pictures.reading import load_pixels, pixels_of
from filterscope.recipe import get_recipe


@pytest.fixture(scope="module")
def goldfish(tmp_path_factory, tiny):
    """A class picture of the embedded network, saved."""
    (picture,) = draw(tiny, tiny.targets("predictions:goldfish"), get_recipe("sharp", size=96, steps=60))
    return picture.save(tmp_path_factory.mktemp("fish")), picture


def test_a_picture_of_a_class_is_named_so(tiny, goldfish):
    """The file's answer is the probability that the picture's own scores give."""
    path, picture = goldfish
    best = classify(tiny, [path])[0][0]
    assert best.name == "goldfish"
    assert best.probability == pytest.approx(picture.scores.probability, rel=1e-4)


def test_most_real_pictures_are_named_rightly(tiny, shared):
    """On 400 validation pictures about half are right, as the model card says (a wrong preprocessing gives far less)."""
    from training.data import open_data

    pictures = open_data(shared / "data" / "tiny-imagenet").pictures("val", 400)
    part = tiny.part("predictions")
    x = pictures.images.permute(0, 3, 1, 2).float()
    right = part(tiny.input.preprocess(x)).linear.argmax(1) == pictures.labels
    assert right.float().mean() > 0.4


def test_top_and_json(goldfish, capsys):
    """`--top 3 --json` gives three classes with probabilities in order."""
    path, _ = goldfish
    assert main(["classify", str(path), "--net", "tiny-vgg16", "--top", "3", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    values = [c["probability"] for c in row["classes"]]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)
    assert row["classes"][0]["name"] == "goldfish"


def test_a_network_without_classes_is_refused(vgg16, tmp_path):
    """VGG16's classes have no weights in the file of seven layers: refused, naming what is covered."""
    Image.new("RGB", (224, 224)).save(tmp_path / "a.png")
    with pytest.raises(ArgumentError, match="block3_conv3"):
        classify(vgg16, [tmp_path / "a.png"])


def test_photographs_are_fitted_and_our_pictures_kept(tiny, tmp_path, goldfish):
    """A photograph comes at the network's size, a picture of ours at its own."""
    Image.new("L", (300, 200), 77).save(tmp_path / "grey.jpg")
    assert tuple(load_pixels(tmp_path / "grey.jpg", tiny.input).shape) == (3, 64, 64)
    assert tuple(load_pixels(goldfish[0], tiny.input).shape) == (3, 96, 96)
    assert tuple(load_pixels(goldfish[0], tiny.input, size=32).shape) == (3, 32, 32)


def test_a_picture_of_the_right_size_is_fed_as_it_is(tiny):
    """No resampling where the size fits."""
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    pixels = pixels_of(Image.fromarray(values), tiny.input)
    assert (pixels.permute(1, 2, 0).numpy() == values).all()


def test_a_turned_photograph_is_set_upright(tiny, tmp_path):
    """The EXIF orientation is obeyed."""
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (0, 0, 64, 32))  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half a circle
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = load_pixels(tmp_path / "turned.png", tiny.input)
    assert pixels[0, :20].mean() < 10 < 245 < pixels[0, -20:].mean()


def test_what_is_no_picture_is_refused(tiny, tmp_path, capsys):
    """A text file named .png is an error with exit status 2 and no traceback."""
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ImageError, match="cannot be read"):
        classify(tiny, [tmp_path / "a.png"])
    assert main(["classify", str(tmp_path / "a.png"), "--net", "tiny-vgg16"]) == 2
    assert "cannot be read" in capsys.readouterr().err
