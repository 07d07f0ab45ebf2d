"""activity.py: units that are inactive in the flat tail of a smooth activation, and how they become active."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import filterscope as fs
from filterscope.ascent.activity import SHARE, active_from, bound_of, excites
from filterscope.ascent.objectives import objective
from filterscope.networks.layer import Taps
from filterscope.objective import Direction
from filterscope.target import Sum, Target

SMOOTH = {"gelu": nn.GELU, "silu": nn.SiLU, "hardswish": nn.Hardswish, "mish": nn.Mish, "elu": nn.ELU}
PLAIN = {"relu": nn.ReLU, "leaky": nn.LeakyReLU, "relu6": nn.ReLU6}
FAR, NEVER = 1, 2  # units of `network`: far below zero on the noise, and whatever is tried


class Tokens(nn.Module):
    """A class token that gathers the patches, then a product and an activation for each token."""

    def __init__(self, act: nn.Module):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.fc, self.act = nn.Linear(8, 4), act

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token + x.mean(1, keepdim=True), x], 1)
        return self.act(self.fc(x))


def network(act: nn.Module) -> fs.Network:
    """Four units: two active on noise, one 2.5 below zero there and as much above it for black, one far below always."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), act)
    with torch.no_grad():
        net[0].weight[FAR], net[0].bias[FAR] = -10 / 27, 2.5
        net[0].weight[NEVER], net[0].bias[NEVER] = 0.01, -60.0
    return fs.open_network(net, mean=0, std=1, range=(0, 1), size=16)


def drawn(net, target, **settings):
    return fs.visualize(
        net, target, recipe="sharp", size=16, steps=40, precision="float32", progress=False, **settings
    )


def noise(count=1):
    return 118 + 20 * torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMOOTH)
def test_the_bound_is_a_share_of_what_the_layer_gives(name):
    """Each picture's own, whatever is beside it; none for a layer without an activation of its own."""
    net = network(SMOOTH[name]())
    goals = [Target("1", FAR), Target("1", 0)]
    both = active_from(net, goals, noise(2), raw=False)
    with torch.no_grad():
        usual = net.part("1")(net.input.preprocess(noise(2))).output.abs().mean((1, 2, 3))
    assert both["1"].tolist() == pytest.approx((SHARE * usual).tolist())
    assert active_from(net, goals[1:], noise(2)[1:], raw=False)["1"].tolist() == pytest.approx(
        [float(both["1"][1])]
    )
    assert active_from(net, [Target("0", 1)], noise(), raw=False) == {}


@pytest.mark.parametrize("name", PLAIN)
def test_an_exact_end_or_a_straight_slope_has_none(name):
    """Behind a ReLU 0 alone is inactive, and a leaky one's slope leads out of itself."""
    net = network(PLAIN[name]())
    assert active_from(net, [Target("1", FAR)], noise(), raw=False)["1"].tolist() == [0]


@pytest.mark.parametrize("name", SMOOTH)
def test_below_the_bound_the_value_before_is_ascended(name):
    """With a gradient of one a place, where the activation's own is none, or leads down; above it the activation."""
    act = SMOOTH[name]()
    linear = torch.tensor([[[[-14.0, -2.5]]], [[[-14.0, 5.0]]]], requires_grad=True)
    taps = {"1": Taps(linear, act(linear), None)}
    goals = [Target("1", 0), Target("1", 0)]
    own = torch.autograd.grad(objective(taps, goals).sum(), linear, retain_graph=True)[0]
    assert own[0].max() < 0.05
    score = objective(taps, goals, bounds={"1": torch.tensor([0.1, 0.1])})
    assert score.tolist() == pytest.approx([-8.25, act(linear)[1].mean().item()])
    (gradient,) = torch.autograd.grad(score.sum(), linear)
    assert gradient[0].flatten().tolist() == [0.5, 0.5]
    assert torch.equal(gradient[1], own[1])


@pytest.mark.parametrize("cosine", [False, True])
def test_a_direction_below_the_bound(cosine):
    """None of the channels that it is to have more of is active; so do terms of a sum, but those to be less."""
    linear = torch.tensor([[[[-4.0]], [[-3.0]], [[6.0]]]], requires_grad=True)
    taps, bounds = {"1": Taps(linear, F.gelu(linear), None)}, {"1": torch.tensor([0.1])}
    inactive = Direction("1", ((0, 1.0), (1, 2.0)), cosine, None)
    active = Direction("1", ((0, 1.0), (2, 1.0)), cosine, None)
    (gradient,) = torch.autograd.grad(
        objective(taps, [inactive], bounds=bounds).sum(), linear, retain_graph=True
    )
    assert gradient[0, 1] > 0.01
    assert torch.equal(objective(taps, [active], bounds=bounds), objective(taps, [active]))
    more, less = Sum(((1.0, Target("1", 0)), (1.0, Target("1", 2)))), Sum(((-1.0, Target("1", 0)),))
    assert objective(taps, [more], bounds=bounds).item() == pytest.approx(-4 + 6, abs=1e-3)
    assert objective(taps, [less], bounds=bounds).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", SMOOTH)
def test_channels_become_active(name):
    """The recipe's own steps bring a unit out of the flat tail; what nothing excites is dead, never ok."""
    net = network(SMOOTH[name]())
    found = drawn(net, f"1:{FAR},{NEVER}")
    assert found[0].status == "ok"
    assert found[0].scores.activation > 1
    assert found[1].status == "dead"
    assert found[1].scores.activation <= 0


@pytest.mark.parametrize("target", [f"1:{FAR}@3,4", f"direction(1, {FAR}:1)"])
def test_neurons_and_directions_become_active(target):
    """At their own place, along their own channel."""
    picture = drawn(network(nn.GELU()), target)
    assert picture.status == "ok"
    assert picture.scores.activation > 1


@pytest.mark.parametrize("target", ["act:1", "act:1@cls", "act:1@2,2"])
def test_tokens_become_active(target):
    """Over the patches, the class token, one patch."""
    torch.manual_seed(0)
    module = Tokens(nn.GELU())
    with torch.no_grad():
        module.patch.weight[0], module.patch.bias[0] = -5 / 48, 1.25
        module.fc.weight[1], module.fc.bias[1] = torch.eye(8)[0] * 2, 0.0
        net = fs.open_network(module, mean=0, std=1, range=(0, 1), size=16)
    picture = drawn(net, target)
    assert (picture.status, picture.scores.activation > 1) == ("ok", True)


def test_bounds_of_goals():
    """Of what has one value by which its activity is told."""
    bounds = {"1": torch.tensor([0.0, 0.5])}
    assert [bound_of(Target("1", 3), bounds, i) for i in (0, 1)] == [0, 0.5]
    assert bound_of(Direction("1", ((0, 1.0), (1, 2.0)), False, None), bounds, 1) == 1
    assert bound_of(Direction("1", ((0, 1.0), (1, -2.0)), False, None), bounds, 1) == 0
    assert bound_of(Direction("1", ((0, 1.0),), True, None), bounds, 1) == 0
    assert bound_of(Target("2", 3), bounds, 1) == 0
    assert [excites(v, 0.0) for v in (0.0, -1.0)] == [False, True]
    assert [excites(v, 0.5) for v in (0.4, 0.5)] == [False, True]
