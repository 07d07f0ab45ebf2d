"""No step of an ascent waits for the device that it runs on: nothing is read from it, and nothing sent that it waits for."""

import pytest
import torch
from tests.helpers.other_device import OTHER, OtherDevice
from torch import nn

from filterscope.ascent import loop
from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.gradient import repeated
from filterscope.ascent.loop import ascend
from filterscope.errors import WorkError
from filterscope.networks import open_network
from filterscope.objective import Direction, Likeness, WholeLayer
from filterscope.photographs.presets import photograph_recipe
from filterscope.recipe import get_recipe
from filterscope.target import Target

SIDE, STEPS = 32, 4
UNITS = (Target("conv", 1), Target("conv", 3))


class Net(nn.Module):
    """Two convolutions, one of them behind a shortcut, and a smooth activation."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.SiLU()

    def forward(self, x):
        x = self.first(x).relu()
        return self.act(self.norm(self.conv(x)) + x)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return open_network(Net().eval(), size=SIDE, range=(0, 1))


def waits_of(net, goals, recipe, photographs=None):
    """What waited in the second step and each later one, and the ascent."""
    seen = []
    with OtherDevice() as device:
        prepared = prepare(
            net, repeated(goals, recipe), device=OTHER, softmax=recipe.softmax == "keep",
            backward=recipe.backward,
        )  # fmt: skip

        def note(step, activations, images):
            assert activations.device == OTHER
            seen.append(list(device.waits))
            device.waits.clear()

        ascent = ascend(prepared, goals, recipe, size=SIDE, photographs=photographs, on_step=note)
        return seen[1:], ascent.pixels.cpu()


def here(net, goals, recipe, photographs=None):
    prepared = prepare(
        net, repeated(goals, recipe), softmax=recipe.softmax == "keep", backward=recipe.backward
    )
    return ascend(prepared, goals, recipe, size=SIDE, photographs=photographs).pixels


@pytest.mark.parametrize("name", ["sharp", "robust", "natural", "distill", "blog", "maco"])
def test_no_step_waits(net, name):
    """By any recipe, and the pictures are those that the processor draws (maco's first steps follow rounding)."""
    recipe = get_recipe(name, steps=STEPS, settings={"transforms.crop.count": 4} if name == "maco" else None)
    waits, pixels = waits_of(net, UNITS, recipe)
    assert waits == [[]] * (STEPS - 1)
    assert name == "maco" or torch.allclose(pixels, here(net, UNITS, recipe), atol=0.5)


def test_no_step_of_a_dream_waits(net):
    """Nor within an octave of a dream; each octave begins with its photograph."""
    recipe = photograph_recipe("dream").changed({"steps": 8})
    photograph = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0)) * 255
    goals = (WholeLayer("conv"),)
    waits, pixels = waits_of(net, goals, recipe, {"image": photograph})
    assert waits.count([]) == 8 - len(recipe.stages)
    assert torch.allclose(pixels, here(net, goals, recipe, {"image": photograph}), atol=0.5)


@pytest.mark.parametrize(
    "goal", [Direction("act", ((0, 1.0), (2, -0.5))), Direction("act", ((1, 1.0),), cosine=True, at=(3, 3)),
             UNITS[0] + 0.5 * Target("act", 2), Likeness("match", "conv")], ids=str)  # fmt: skip
def test_no_goal_waits(net, goal):
    """Directions, sums, likeness."""
    photograph = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 255
    recipe = get_recipe("sharp", steps=3)
    waits, _ = waits_of(net, (goal,), recipe, {"image": photograph})
    assert waits == [[]] * 2


def test_what_waits_is_noticed(net, monkeypatch):
    """The check itself: a step that reads a number of the device's."""
    monkeypatch.setattr(loop, "UNREAD", 1)
    waits, _ = waits_of(net, UNITS, get_recipe("sharp", steps=2))
    assert waits[0]


def test_no_number_is_noticed_later():
    """Where activations are not read at each step, the error still names the step that gave the first NaN."""
    ascending = loop._Ascending(UNITS, None, (SIDE, SIDE), [], 0, {}, None)
    ascending.trace = [torch.ones(2), torch.ones(2)]
    ascending._require_finite()
    ascending.trace += [torch.ones(2), torch.tensor([1.0, float("nan")]), torch.full((2,), float("nan"))]
    with pytest.raises(WorkError, match="conv:3 is nan at step 4"):
        ascending._require_finite()
