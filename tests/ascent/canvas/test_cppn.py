"""A picture as a network of coordinates: by hand, at any size, in a record, chosen by a setting."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import filterscope as fs
from filterscope.ascent.canvas.cppn import CppnCanvas, count_parameters, render
from filterscope.cli import main
from filterscope.errors import ArgumentError, ImageError, RecipeError
from filterscope.pictures.networks import decode_parameters, draw_network, encode_parameters
from filterscope.recipe import Cppn, get_recipe
from filterscope.rerun import draw_again

SMALL = Cppn(layers=2, width=3)
SETTINGS = {"image": "cppn", "image.layers": 2, "image.width": 4}


def weights(seed=0, recipe=SMALL, channels=3) -> torch.Tensor:
    return torch.randn(count_parameters(recipe, channels), generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    """One hidden layer: a pixel's coordinates, the composite activation, the sigmoid."""
    recipe = Cppn(layers=1, width=1)
    hidden, last = [0.3, -0.4, 0.1], [0.5, 0.25, -0.2]
    image = render(recipe, torch.tensor([hidden + last]), 1, (2, 4))[0, 0]
    x, y = (3 + 0.5 - 2) * 2 * 3**0.5 / 4, (1 + 0.5 - 1) * 2 * 3**0.5 / 4
    a = np.arctan(0.3 * x - 0.4 * y + 0.1)
    expected = 255 / (1 + np.exp(-(0.5 * a / 0.67 + 0.25 * a**2 / 0.6 - 0.2)))
    assert float(image[1, 3]) == pytest.approx(expected, rel=1e-5)


def test_the_same_picture_at_another_size():
    """The mean over blocks of a larger one is the smaller one, nearly."""
    small, large = (render(SMALL, weights()[None], 3, size)[0] for size in ((16, 24), (64, 96)))
    means = large.unflatten(2, (24, 4)).unflatten(1, (16, 4)).mean((2, 4))
    assert (means - small).abs().mean() < 1
    assert small.std() > 5


def test_begins_grey_and_alone_as_in_a_batch():
    """All pictures begin mid-grey; none depends on another one; strips change nothing."""
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    canvas = CppnCanvas.start(SMALL, generators, 3, (8, 8))
    assert (canvas.pixels() == 127.5).all()
    both = render(SMALL, torch.stack([weights(1), weights(2)]), 3, (8, 8))
    assert torch.equal(both[1:], render(SMALL, weights(2)[None], 3, (8, 8)))


def test_setting():
    """image=cppn brings an optimiser that suits it, unless one is set too; auto has it as well."""
    recipe = get_recipe("sharp", settings={"image": "cppn"})
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.gradient) == ("Adam", 0.01, "plain")
    assert recipe.optimizer.options == {}
    own = get_recipe("sharp", settings={"optimizer.lr": 0.5, "image": {"kind": "cppn", "width": 8}})
    assert (own.optimizer.lr, own.image.width) == (0.5, 8)
    auto = fs.recipe.ask_recipe("auto", settings={"image": "cppn"})
    assert auto.of("robust", {"optimizer.lr": 0.1, "steps": 256}).optimizer.lr == 0.01
    assert auto.of("robust", {"optimizer.lr": 0.1, "steps": 256}).steps == 256


@pytest.fixture(scope="module")
def drawn(small):
    return fs.visualize_one(small, "conv2:1", settings=SETTINGS, steps=8, size=16, progress=False)


def test_ascent_and_render(small, drawn):
    """The ascent raises the activation; the picture is drawn at any size, with the same scores and record."""
    assert drawn.curve[-1] > drawn.curve[0]
    large = drawn.render((40, 60))
    assert large.image.shape == (40, 60, 3)
    assert large.scores == drawn.scores
    np.testing.assert_array_equal(large.render(16).image, drawn.image)
    assert large.to_pil(alpha=True).mode == "RGBA"
    other = fs.visualize_one(small, "conv2:1", steps=1, size=16, progress=False)
    with pytest.raises(ArgumentError, match="only an image of kind 'cppn' can"):
        other.render(32)


def test_rerun(tmp_path, capsys):
    """The PNG suffices for another size, and the larger file for the ascent again."""
    words = [
        "show",
        "tiny-vgg16",
        "block1_conv1:3",
        "--steps",
        "2",
        "--size",
        "32",
        "--out",
        str(tmp_path),
        "--quiet",
    ]
    assert main([*words, "--set", "image=cppn", "--set", "image.layers=2", "--precision", "float32"]) == 0
    path = tmp_path / "block1_conv1-0003.png"
    assert main(["rerun", str(path), "--size", "48x80", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == [48, 80]
    large = tmp_path / "block1_conv1-0003-48x80.png"
    with Image.open(large) as image:
        assert image.size == (80, 48)
    assert draw_again(large).largest_difference <= 1
    assert main([*words, "--set", "image=fourier"]) == 0
    assert main(["rerun", str(path), "--size", "64"]) == 2
    assert "only a picture whose image is of kind 'cppn' can" in capsys.readouterr().err


def test_damaged_weights():
    """Of another number, no numbers, or none at all."""
    assert np.array_equal(decode_parameters(encode_parameters(weights().numpy()), "x"), weights().numpy())
    for text in ("AAA", "!!", encode_parameters(np.array([np.nan]))):
        with pytest.raises(ImageError, match="damaged"):
            decode_parameters(text, "'x.png'")
    with pytest.raises(ImageError, match="is 16 weights"):
        draw_network(Cppn(layers=1, width=3), weights(channels=1).numpy()[:5], 1, (4, 4))


def test_no_photograph(small):
    """It cannot start from one."""
    with pytest.raises(RecipeError, match="cannot start from a photograph"):
        fs.dream(
            small,
            np.zeros((16, 16, 3), np.uint8),
            layers="conv2",
            settings={"image": "cppn"},
            steps=1,
            progress=False,
        )
