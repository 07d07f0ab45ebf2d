"""Behind: a network cut at a layer computes what it computed, shortcuts and tokens included; attribution at the cut."""

import numpy as np
import pytest
import torch
from torch import nn

from filterscope.errors import TargetError
from filterscope.explanation.attribution import attribute
from filterscope.explanation.behind import Behind
from filterscope.explanation.goals import value_of
from filterscope.explanation.layers import choose_layers, named_layers
from filterscope.networks import open_network
from filterscope.target import Target

GOAL = Target("head", 2)
VALUE = value_of(GOAL)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "down"])
def test_same_values(shortcut, pixels, layer):
    """What is behind a layer gives the network's own logits, for one choice of channels and for several at once."""
    behind = Behind(shortcut, layer, ["head"], pixels)
    whole = shortcut.probe(["head"])(shortcut.input.preprocess(pixels))[0]
    assert torch.allclose(behind.outputs(behind.source)["head"], whole, atol=1e-6)
    several = behind.outputs(behind.scaled(torch.ones(3, behind.activations.shape[1])))["head"]
    assert torch.allclose(several, whole.expand(3, -1), atol=1e-6)


def test_a_shortcut_leads_around(shortcut, pixels):
    """conv2 alone is passed by; the others carry all."""
    assert [Behind(shortcut, n, ["head"], pixels).alone for n in ("conv1", "conv2", "down")] == [
        True,
        False,
        True,
    ]


def test_removed_by_hand(shortcut, pixels):
    """A channel that is set to 0 is one whose convolution is."""
    behind = Behind(shortcut, "down", ["head"], pixels)
    keep = torch.ones(1, 8)
    keep[0, 5] = 0
    found = behind.outputs(behind.scaled(keep))["head"]
    maps = behind.activations.clone()
    maps[:, 5] = 0
    head = shortcut.kernel_module("head")
    assert torch.allclose(found, head(maps.mean((2, 3))), atol=1e-6)


def test_contributions_by_hand(shortcut, pixels):
    """Behind the last layer all is linear: a channel's contribution is its weight times its mean, and is what its removal
    takes away; the path changes nothing."""
    behind = Behind(shortcut, "down", ["head"], pixels)
    found = attribute(behind, VALUE)
    weights = shortcut.kernel_module("head").weight[2].detach().numpy()
    wanted = weights * behind.activations.mean((2, 3))[0].detach().numpy()
    assert found.contributions == pytest.approx(wanted, abs=1e-5)
    assert np.abs(found.shares).sum() == pytest.approx(1)
    assert attribute(behind, VALUE, steps=5).contributions == pytest.approx(wanted, abs=1e-5)
    keep = torch.ones(8, 8) - torch.eye(8)
    without = VALUE(behind.outputs(behind.scaled(keep))).detach().numpy()
    assert found.value - without == pytest.approx(wanted, abs=1e-5)


def test_the_path_is_complete(shortcut, pixels):
    """Integrated over many steps the contributions sum to what the value loses without the layer."""
    behind = Behind(shortcut, "conv1", ["head"], pixels)
    without = float(VALUE(behind.outputs(behind.scaled(torch.zeros(1, 6))))[0])
    found = attribute(behind, VALUE, steps=200)
    assert found.contributions.sum() == pytest.approx(found.value - without, abs=2e-3)


def test_tokens(tokens, pixels):
    """Of a transformer the gradient is taken at the tokens and shown at the patches; removing goes the way back."""
    behind = Behind(tokens, "last", ["head"], pixels)
    assert behind.activations.shape == (1, 6, 4, 4)
    found = attribute(behind, VALUE)
    weights = tokens.kernel_module("head").weight[2].detach().numpy()
    patches = (
        behind.activations.sum((2, 3))[0].detach().numpy() / 17
    )  # with the class token, which is no place
    assert found.contributions == pytest.approx(weights * patches, abs=1e-5)
    keep = torch.ones(2, 6)
    keep[1, 3] = 0
    both = VALUE(behind.outputs(behind.scaled(keep)))
    assert float(both[0] - both[1]) == pytest.approx(weights[3] * patches[3], abs=1e-5)


@pytest.mark.parametrize(
    ("layer", "words"), [("head", "the target's own layer"), ("down", "no gradient leads from conv1")]
)
def test_layers_that_are_not_before(shortcut, pixels, layer, words):
    """The target's own layer, and one behind it."""
    ends = ["head"] if layer == "head" else ["conv1"]
    with pytest.raises(TargetError, match=words):
        Behind(shortcut, layer, ends, pixels)


def test_no_gradient(pixels):
    """A network that detaches between the layer and its classes is refused; so is a target that is inactive."""

    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)).detach())

    net = open_network(Detached().eval(), size=16, range=(0, 1))
    with pytest.raises(TargetError, match=r"no gradient comes from head of Detached.* to conv"):
        attribute(Behind(net, "conv", ["head"], pixels), value_of(Target("head", 0)))


def test_inactive(shortcut, pixels):
    """A unit that is 0 everywhere has no gradient to explain."""
    behind = Behind(shortcut, "conv1", ["conv2"], pixels)
    dead = [u for u in range(6) if not bool(behind.outputs(behind.source)["conv2"][0, u].any())]
    with pytest.raises(TargetError, match="its gradient is 0 at every place"):
        attribute(behind, lambda out: out["conv2"][:, dead[0] if dead else 0].mean((1, 2)) * 0)


def test_untraced(pixels):
    """A network that no graph holds says so."""

    class Untraced(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            x = self.conv(x)
            return self.head(x.mean((2, 3)) if x.sum() > -1e9 else x[:, :, 0, 0])

    net = open_network(Untraced().eval(), size=16, range=(0, 1))
    for refused in (
        lambda: Behind(net, "conv", ["head"], pixels),
        lambda: choose_layers(net, Target("head", 0)),
    ):
        with pytest.raises(Exception, match="cannot be traced"):
            refused()


def test_usual_layers(tiny, shortcut, tokens):
    """The last of each of the three smallest maps that all passes through; by depth where there are fewer sizes."""
    assert choose_layers(tiny, Target("predictions", 0)) == ["block3_conv3", "block4_conv3", "block5_conv3"]
    assert choose_layers(tiny, Target("block4_conv1", 0))[-1] == "block3_conv3"
    assert choose_layers(tiny, Target("predictions", 0), ["block2_conv1"]) == ["block2_conv1"]
    assert "down" in choose_layers(shortcut, GOAL)
    assert choose_layers(tokens, GOAL)[-1] == "last"


def test_named_layers(tiny):
    """By commas or in a list; what is none is refused with the nearest name."""
    goal = Target("predictions", 0)
    assert named_layers(tiny, "block1_conv1, block2_conv1", goal) == ["block1_conv1", "block2_conv1"]
    assert named_layers(tiny, ["block1_conv1", "block1_conv1"], goal) == ["block1_conv1"]
    for wrong, words in (
        ("blok1_conv1", "did you mean 'block1_conv1'"),
        ("predictions", "of predictions:0 itself"),
        ("", "no layer"),
    ):
        with pytest.raises(Exception, match=words):
            named_layers(tiny, wrong, goal)
