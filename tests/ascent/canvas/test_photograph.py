"""Canvases that start from a photograph, and what a picture is compared with."""

import numpy as np
import pytest
import torch

from filterscope.ascent.canvas.photograph import PhotographCanvas, fourier_start, resized
from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.gradient import normalized
from filterscope.ascent.loop import ascend
from filterscope.ascent.references import ReferenceTaps
from filterscope.ascent.tiles import windows
from filterscope.ascent.transforms import Transforms
from filterscope.errors import RecipeError
from filterscope.objective import Likeness, WholeLayer
from filterscope.recipe import Fourier, Jitter, Optimizer, Pixels, Recipe, Stage
from filterscope.target import Target

CPU = torch.device("cpu")


@pytest.fixture
def photo():
    """A smooth photograph, (3, 24, 40), uint8."""
    rows, columns = np.mgrid[0:24, 0:40]
    waves = [128 + 40 * np.sin(rows / (3 + c)) + 30 * np.cos(columns / (4 + c)) for c in range(3)]
    return torch.from_numpy(np.stack(waves).clip(0, 255).astype(np.uint8))


def test_starts_as_the_photograph(photo):
    """Before the first step the picture is the photograph."""
    canvas = PhotographCanvas.start(photo, 2, (24, 40), CPU)
    assert torch.equal(canvas.pixels()[1], photo.float())


def test_mean_colour_stays(photo):
    """No detail, however lopsided, changes the mean colour."""
    canvas = PhotographCanvas.start(photo, 1, (24, 40), CPU)
    with torch.no_grad():
        canvas.parameters[0, 0] += 30
        canvas.parameters[0, 1, :4] += 5
    shown = canvas.pixels()[0].mean((1, 2))
    assert shown.tolist() == pytest.approx(photo.float().mean((1, 2)).tolist(), abs=1e-3)


def test_gradient(photo):
    """The gradient is that of the formula, photograph + detail - mean detail, where nothing is cut off."""
    canvas = PhotographCanvas.start(photo, 1, (24, 40), CPU)
    weights = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad((canvas.pixels() * weights).sum(), canvas.parameters)
    assert torch.allclose(found, weights - weights.mean((2, 3), keepdim=True), atol=1e-6)


def test_ends_of_the_range():
    """At white the way further up is closed and the way back is open; nothing leaves 0 to 255."""
    white = torch.full((3, 4, 4), 255, dtype=torch.uint8)
    canvas = PhotographCanvas.start(white, 1, (4, 4), CPU)
    up = torch.zeros(1, 3, 4, 4)
    up[..., 0, 0] = -1  # descending this brightens
    (found,) = torch.autograd.grad(canvas.pixels(), canvas.parameters, up)
    assert (found == 0).all()
    (found,) = torch.autograd.grad(canvas.pixels(), canvas.parameters, -up)
    assert found[0, 0, 0, 0] > 0
    with torch.no_grad():
        canvas.parameters[..., :2] += 50
    assert canvas.pixels().max() <= 255


def test_detail_is_carried(photo):
    """At another size the photograph is taken anew from the original and the detail is enlarged."""
    canvas = PhotographCanvas.start(photo, 1, (12, 20), CPU)
    with torch.no_grad():
        canvas.parameters[..., :10] += 20
    larger = canvas.resized((24, 40))
    detail = larger.pixels()[0] - photo.float()
    assert detail[:, :, :16].mean().item() == pytest.approx(10, abs=0.5)
    assert detail[:, :, 24:].mean().item() == pytest.approx(-10, abs=0.5)
    fine = (larger.pixels()[0, :, 1:] - larger.pixels()[0, :, :-1]).abs().mean()
    assert fine.item() == pytest.approx(
        (photo.float()[:, 1:] - photo.float()[:, :-1]).abs().mean().item(), rel=0.05
    )


@pytest.mark.parametrize("decorrelate", [True, False])
@pytest.mark.parametrize("sides", [(24, 40), (23, 37)])
def test_fourier_start(photo, decorrelate, sides):
    """The coefficients of a photograph give the photograph back."""
    canvas = fourier_start(Fourier(decorrelate=decorrelate), photo, 2, sides, CPU)
    assert torch.allclose(canvas.pixels()[1], resized(photo, sides), atol=0.6)


def test_resized_bytes(photo):
    """Much smaller sizes go over bytes, and give what floats give."""
    small = resized(photo, (6, 10))
    floats = torch.nn.functional.interpolate(photo.float()[None], (6, 10), mode="bilinear", antialias=True)
    assert (small - floats[0]).abs().max() < 1.01


def test_recipe_needs_a_photograph(tiny):
    """A recipe that starts from a photograph says so where there is none."""
    recipe = Recipe(name="mine", start="photograph", image=Pixels(), steps=1)
    goal = WholeLayer("block1_conv1")
    with pytest.raises(RecipeError, match="'mine' starts from a photograph"):
        ascend(prepare(tiny, [goal]), [goal], recipe, size=16)


@pytest.mark.parametrize(("image", "rate"), [(Pixels(), 2.0), (Fourier(), 0.05)])
def test_objectives_rise(tiny, photo, image, rate):
    """From a photograph, by pixels or coefficients, the objective rises over octaves."""
    recipe = Recipe(
        name="up", steps=12, start="photograph", image=image, transforms=(Jitter(pixels=1),),
        stages=(Stage(scale=0.7, share=0.5), Stage(share=0.5)), gradient="plain", optimizer=Optimizer(lr=rate),
    )  # fmt: skip
    goal = WholeLayer("block2_conv1")
    found = ascend(prepare(tiny, [goal]), [goal], recipe, size=(24, 40), photographs={"image": photo})
    assert found.pixels.shape == (1, 3, 24, 40)
    assert found.curves[0][-1] > found.curves[0][6]


@pytest.mark.parametrize("how", ["match", "caricature", "guide"])
def test_likenesses_rise(tiny, photo, how):
    """From noise, every likeness rises."""
    recipe = Recipe(name="like", steps=15, optimizer=Optimizer(lr=0.05))
    goal = Likeness(how, "block2_conv1")
    known = {"image": photo, "guide": photo[:, :16, :16]}
    found = ascend(prepare(tiny, [goal]), [goal], recipe, size=(24, 40), photographs=known)
    assert found.curves[0][-1] > found.curves[0][0]
    assert np.isfinite(found.curves[0]).all()


def test_references_go_through_the_same_transforms(tiny, photo):
    """The photograph itself matches itself under every shift and in every window."""
    goal = Likeness("match", "block1_conv2")
    prepared = prepare(tiny, [goal, goal])
    references = ReferenceTaps(
        prepared, [goal, goal], {"image": photo}, (24, 40), Recipe(name="view", tile=16)
    )
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    transforms = Transforms((Jitter(pixels=5),), generators, 3, (16, 16))
    pixels = photo.float().expand(2, -1, -1, -1)
    for step in range(3):
        for window in windows((24, 40), 16, (0.3, 0.6)):
            mine = prepared(transforms(window.of(pixels), step))["block1_conv2"].output
            theirs = references(window, transforms, step)["image"]["block1_conv2"].output
            assert torch.allclose(mine, theirs, atol=1e-4)


def test_pictures_apart(tiny, photo):
    """Two pictures from one photograph do not change each other."""
    goals = [Target("block2_conv1", 3), Target("block2_conv1", 5)]
    recipe = Recipe(
        name="two", steps=3, start="photograph", image=Pixels(), gradient="local",
        optimizer=Optimizer(name="SGD", lr=1.0),
    )  # fmt: skip
    known = {"image": photo}
    both = ascend(prepare(tiny, goals), goals, recipe, size=(24, 40), photographs=known).pixels
    twice = ascend(
        prepare(tiny, goals[:1] * 2), goals[:1] * 2, recipe, size=(24, 40), photographs=known
    ).pixels
    assert torch.allclose(both[0], twice[0], atol=1e-3)
    assert not torch.allclose(both[0], both[1], atol=1)


def test_normalized():
    """plain leaves, rms divides by the whole's root mean square, local lifts quiet places half of the way."""
    gradient = torch.ones(1, 3, 64, 128)
    gradient[..., 64:] = 0.01
    assert torch.equal(normalized(gradient, "plain"), gradient)
    assert normalized(gradient.clone(), "rms").square().mean().item() == pytest.approx(1, rel=1e-4)
    rms, local = normalized(gradient.clone(), "rms"), normalized(gradient.clone(), "local")
    assert (rms[0, 0, 5, 5] / rms[0, 0, 5, 120]).item() == pytest.approx(100, rel=1e-3)
    assert 5 < (local[0, 0, 5, 5] / local[0, 0, 5, 120]).item() < 20
    assert (normalized(torch.zeros(1, 3, 8, 8), "local") == 0).all()
