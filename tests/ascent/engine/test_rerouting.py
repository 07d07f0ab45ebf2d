"""rerouting.py: what a network computes stays, and its gradient goes where the recipe says."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from filterscope.ascent.engine.passes import expanded, folded, fused
from filterscope.ascent.engine.rerouting import rerouted
from filterscope.recipe import Backward


class Block(nn.Module):
    """x + branch(x), the branch of two convolutions with a ReLU6 between, as in MobileNetV2."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def branch(self, x):
        return self.two(F.relu6(self.one(x)))

    def forward(self, x):
        return x + self.branch(x)


class Clamped(nn.Module):
    """A convolution, a clamp, a convolution."""

    def __init__(self, clamp):
        super().__init__()
        self.one, self.clamp, self.two = nn.Conv2d(3, 4, 3), clamp, nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.two(self.clamp(self.one(x)))


def prepared(net, backward):
    """The network as it is drawn with."""
    return fused(rerouted(folded(expanded(fx.symbolic_trace(net))), backward))


def gradient(run, x):
    """Output, and the gradient of its sum at the input."""
    x = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = run(x)
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]


@pytest.fixture
def quiet():
    torch.manual_seed(0)


def frozen(net):
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net.eval()


def test_branch(quiet):
    """Of the gradient of x + branch(x) the branch gets its share, the shortcut all."""
    net, x = frozen(Block()), torch.rand(2, 4, 6, 6)
    y, g = gradient(prepared(net, Backward(branch=0.25)), x)
    _, of_branch = gradient(net.branch, x)
    assert torch.allclose(y, net(x), atol=1e-5)
    assert torch.allclose(g, 1 + 0.25 * of_branch, atol=1e-5)


@pytest.mark.parametrize("order", ["shortcut last", "branch twice"])
def test_branches_of_other_forms(quiet, order):
    """However the sum is written, and if two ways lead through the branch."""

    class Other(Block):
        def forward(self, x):
            if order == "shortcut last":
                return self.branch(x) + x
            return x + (self.branch(x) * torch.sigmoid(x))

    net, x = frozen(Other()), torch.rand(2, 4, 6, 6)
    _, exact = gradient(net, x)
    y, g = gradient(prepared(net, Backward(branch=0.5)), x)
    assert torch.allclose(y, net(x), atol=1e-5)
    assert torch.allclose(g, 1 + 0.5 * (exact - 1), atol=1e-5)


def test_sum_of_what_is_no_block(quiet):
    """Two branches beside each other have no shortcut, nor has x + x."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            y = self.one(x) + self.two(x)
            return y + y

    net, x = frozen(Sum()), torch.rand(2, 4, 5, 5)
    _, exact = gradient(net, x)
    _, g = gradient(prepared(net, Backward(branch=0.5)), x)
    assert torch.allclose(g, exact, atol=1e-5)


@pytest.mark.parametrize("clamp", [nn.ReLU6(), nn.Hardtanh(-0.2, 0.4)], ids=["relu6", "hardtanh"])
def test_saturated(quiet, clamp):
    """Where a clamp's output is at the upper bound the gradient passes; at the lower it does not."""
    net, x = frozen(Clamped(clamp)), 40 * torch.rand(2, 3, 8, 8) - 20
    y, g = gradient(prepared(net, Backward(saturated=True)), x)
    inner = net.one(x)
    assert (inner > clamp.max_val).any()
    assert (inner < clamp.min_val).any()
    back = net.two.weight.sum(0).flatten().view(1, -1, 1, 1) * (inner > clamp.min_val)
    expected = F.conv_transpose2d(back, net.one.weight)
    assert torch.allclose(y, net(x), atol=1e-4)
    assert torch.allclose(g, expected, atol=1e-4)


def test_relu_stays(quiet):
    """A ReLU has no upper bound."""
    net, x = frozen(Clamped(nn.ReLU())), torch.rand(2, 3, 8, 8)
    _, exact = gradient(net, x)
    _, g = gradient(prepared(net, Backward(saturated=True)), x)
    assert torch.allclose(g, exact, atol=1e-5)
