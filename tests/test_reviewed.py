"""What a reviewer found: modules with weights called twice, directions in dead units, settings by key, odd numbers."""

import pytest
import torch
from torch import nn

import filterscope as fs
from filterscope.cli import main
from filterscope.errors import RecipeError, TargetError
from filterscope.objective import Direction
from filterscope.recipe import get_recipe
from filterscope.target import Target

QUICK = {"steps": 2, "size": 32, "progress": False}


class Twice(nn.Module):
    """A convolution and its batch norm called twice in one pass."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.first(x)
        for _ in range(2):
            x = self.norm(self.again(x)).relu()
        return self.last(x.mean((2, 3)))


def test_a_module_called_twice():
    """Every target behind the second call is drawn, and says what the model itself says."""
    torch.manual_seed(0)
    model = Twice().eval()
    net = fs.open_network(model)
    picture = fs.visualize(net, "last:1", **QUICK)
    pixels = torch.from_numpy(picture.image.copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        assert model(net.input.preprocess(pixels))[0, 1].item() == pytest.approx(
            picture.scores.activation, rel=1e-3
        )


def test_a_direction_wakes_a_dead_unit(tiny):
    """A direction along one channel finds its way out of a dead ReLU as that channel's own picture does."""
    one = fs.visualize(tiny, "direction(block3_conv1, 3:1)", steps=40, size=64, progress=False)
    assert one.status == "ok"
    assert one.scores.activation > 0


def test_settings_by_key():
    """Facets begin at their defaults; another optimiser leaves the former one's options behind."""
    assert get_recipe("sharp", settings={"facets.count": 3}).facets.count == 3
    assert get_recipe("sharp", settings={"optimizer.name": "SGD"}).optimizer.options == {}
    assert get_recipe("sharp", settings={"image": "pixels", "image.bounded": True}).image.bounded


@pytest.mark.parametrize("option", ["capturable", "maximize"])
def test_options_that_are_not_for_pictures(tiny, option):
    """Refused by name."""
    with pytest.raises(RecipeError, match=option):
        fs.visualize(
            tiny, "block1_conv1:1", recipe="distill", settings={f"optimizer.options.{option}": True}, **QUICK
        )


@pytest.mark.parametrize(
    "goal",
    [
        Target("block1_conv1", -1),
        Target("block1_conv1", 1.5),
        Target("block1_conv1", 1, at=(-1, 0)),
        Direction("block1_conv1", ()),
        Direction("block1_conv1", ((3, 0.0),)),
    ],
)
def test_objectives_that_cannot_be(tiny, goal):
    """Refused before any work."""
    with pytest.raises(TargetError):
        fs.visualize(tiny, goal, **QUICK)


def test_a_picture_too_small_for_its_judge(tiny):
    """It is resized to the judge's own size."""
    assert fs.visualize(tiny, "block1_conv1:1", steps=2, size=8, judge=tiny, progress=False).judge.named


def test_odd_numbers_and_photographs(tmp_path, capsys):
    """nan frames a second, a thin photograph, a file for a folder: wrong arguments, told in a line."""
    from PIL import Image

    Image.new("RGB", (2000, 3)).save(tmp_path / "thin.png")
    thin = str(tmp_path / "thin.png")
    assert main(["dream", "tiny-vgg16", thin, "--fps", "nan", "--frames", "2", "--out", str(tmp_path)]) == 2
    assert main(["locate", "tiny-vgg16", thin, "predictions:0", "--out", str(tmp_path)]) == 2
    assert "too large to go through the network whole" in capsys.readouterr().err
    assert main(["view", thin]) == 2
