"""choice.py: which recipe suits a target, and that what was asked for is drawn with it."""

import pytest
import torch
from torch import nn

from filterscope import open_network, visualize, visualize_sheet
from filterscope.drawing.choice import choose_recipe, count_pictures, recipe_for
from filterscope.errors import RecipeError
from filterscope.recipe import ask_recipe, get_recipe


def chosen(net, text):
    """The preset that suits each target of a text."""
    return {choose_recipe(net, goal).preset for goal in net.objectives(text)}


def test_rules(tiny):
    """Small receptive fields get `sharp`, classes and large ones `robust`, a neuron at one place `sharp`."""
    assert chosen(tiny, "block1_conv1:3") == {"sharp"}
    assert chosen(tiny, "block5_conv3:3") == {"robust"}
    assert chosen(tiny, "predictions:goldfish") == {"robust"}
    assert chosen(tiny, "block5_conv3:3@1,1") == {"sharp"}
    assert chosen(tiny, "block1_conv1:3 + block5_conv3:3") == {"robust"}


@pytest.mark.parametrize(("channels", "views", "low", "noise"), [(1, 8, 0.8, 60), (3, 4, 0.5, 6)])
def test_classes_of_small_pictures(channels, views, low, noise):
    """Digits fill their picture: more and larger crops, under more noise; in small pictures in colour noise is less."""
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    net = open_network(module, size=8, channels=channels, classes=["nought", "one", "two"])
    layer = next(name for name, row in net.layers.items() if net.class_names(name))
    (goal,) = net.objectives(f"{layer}:one")
    recipe = recipe_for(net, goal, ask_recipe())
    crop = next(part for part in recipe.transforms if part.kind == "random_resized_crop")
    (noise_sd,) = (part.sd for part in recipe.transforms if part.kind == "noise")
    assert (recipe.name, recipe.views, crop.low, noise_sd) == ("robust", views, low, noise)


def test_noise_of_larger_pictures(tiny):
    """At 64 px a class is drawn under the preset's own noise."""
    (goal,) = tiny.objectives("predictions:goldfish")
    (own,) = (part for part in recipe_for(tiny, goal, ask_recipe()).transforms if part.kind == "noise")
    assert own in get_recipe("robust").transforms


def test_each_target_its_own(tiny):
    """One call draws each target with the recipe that suits it; the PNG's record names it."""
    sheet = visualize_sheet(
        tiny, ["block1_conv1:3", "predictions:goldfish"], steps=2, size=32, progress=False
    )
    assert [p.recipe.name for p in sheet] == ["sharp", "robust"]
    assert [p.recipe.steps for p in sheet] == [2, 2]
    assert sheet[1].recipe.views > 1


def test_steps_are_counted(tiny):
    """The bar's total is what all of them take together."""
    seen = []
    visualize_sheet(
        tiny, ["block1_conv1:3", "predictions:goldfish"], size=32, progress=False, settings={"steps": 3},
        on_step=seen.append,
    )  # fmt: skip
    regular = [step for step in seen if not step.attempt]
    assert [step.done for step in regular] == [1, 2, 3, 4, 5, 6]
    assert {step.total for step in seen} == {6}
    assert [step.first for step in regular] == [0, 0, 0, 1, 1, 1]


def test_changes(tiny):
    """Settings are those of the recipe that is chosen; one that neither has is refused at once."""
    (goal,) = tiny.objectives("predictions:goldfish")
    own = recipe_for(tiny, goal, ask_recipe(settings={"transforms.random_resized_crop.count": 2}))
    assert own.views == 2
    with pytest.raises(RecipeError, match=r"optimizer\.rate"):
        ask_recipe(settings={"optimizer.rate": 2})
    assert recipe_for(tiny, goal, get_recipe("lp")) == get_recipe("lp")
    with pytest.raises(RecipeError, match="'auto' chooses a recipe for each target"):
        get_recipe("auto")
    assert count_pictures(tiny, [goal], ask_recipe(settings={"facets.count": 3})) == 3


def test_a_network_of_one_size(tiny):
    """A network that takes one size alone gets all views at that size."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 63 * 63, 5))
    network = open_network(net.eval(), size=128)
    picture = visualize(network, "3:1", recipe="robust", steps=4, progress=False)
    assert picture.image.shape == (128, 128, 3)


def test_drawn_again(tiny, tmp_path):
    """A picture of several views a step is drawn again from its file, to the bit."""
    from filterscope.rerun import draw_again

    picture = visualize(tiny, "predictions:goldfish", steps=4, progress=False, precision="float32")
    assert picture.recipe.views > 1
    assert draw_again(picture.save(tmp_path)).largest_difference == 0


def test_alone_and_among_others(tiny):
    """In float32 a picture of several views a step is the same, drawn alone or with others."""
    how = {"steps": 3, "progress": False, "precision": "float32"}
    alone = visualize(tiny, "predictions:3", **how)
    among = visualize_sheet(tiny, "predictions:1,3,5", **how)
    assert (alone.image == among[1].image).all()
