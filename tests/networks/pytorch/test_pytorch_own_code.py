"""Live modules whose numbers a reader of types would miss: batches that mix, layers whose `forward` a person replaced."""

from __future__ import annotations

import functools
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import filterscope as fs


class Body(nn.Module):
    """A convolution, something between, a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)

    def between(self, x):
        return self.norm(x)

    def forward(self, x):
        return self.head(self.between(self.body(x)))


class Functional(Body):
    def between(self, x):
        return F.batch_norm(x, None, None, training=True)


class OverAll(Body):
    def between(self, x):
        return x / x.std()


class Centred(Body):
    def between(self, x):
        return x - x.mean(0, keepdim=True) * 0.5


class Counting(Body):
    def between(self, x):
        return x * x.shape[0]


class OverTheLargest(Body):
    def between(self, x):
        return x / x.abs().max().item()


def check(net: nn.Module, layer: str) -> None:
    """Each picture of two has the activation that the network itself gives for it alone."""
    for picture in fs.visualize(net.eval(), f"{layer}:1,2", steps=2, size=32, progress=False):
        pixels = torch.from_numpy(picture.image).float().permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            own = float(net(pixels)[0, picture.target.unit].mean())
        assert picture.scores.activation == pytest.approx(own, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("kind", [Body, Functional, OverAll, Centred, Counting, OverTheLargest])
def test_batches_that_mix(kind):
    """What a picture gets does not depend on what else is drawn."""
    torch.manual_seed(0)
    check(kind(), "head")


def test_mixing_is_said(caplog):
    """One line says that the pictures go through one by one."""
    with caplog.at_level("INFO", logger="filterscope"):
        fs.open_network(OverAll().eval())
    assert any("OverAll mixes the pictures of a batch" in line for line in caplog.messages)


def by_closure(part: nn.Module) -> None:
    own = part.forward
    part.forward = lambda x: own(x) * 5


def by_partial(part: nn.Module) -> None:
    own = part.forward
    part.forward = functools.partial(lambda module, x: own(x) * 5, part)


def by_method(part: nn.Module) -> None:
    part.forward = types.MethodType(lambda self, x: type(self).forward(self, x) * 5, part)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("patch", [by_closure, by_partial, by_method])
def test_a_layer_whose_forward_was_replaced(patch, place):
    """The layer computes what its own `forward` says, not what its type says."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    patch(net[place])
    check(net, "2")


@pytest.mark.parametrize("patch", [by_closure, by_partial, by_method])
def test_a_network_whose_forward_was_replaced(patch):
    """Its layers are found, and its output is what the replaced `forward` gives."""
    torch.manual_seed(0)
    net, x = Body().eval(), torch.rand(1, 3, 16, 16)
    patch(net)
    found = fs.open_network(net, size=16, range=(0, 1))
    assert {"body", "head", "output"} <= set(found.layers)
    assert torch.allclose(found.part("output")(x).output, net(x).detach(), atol=1e-4)


class Holding(Body):
    """A function among its attributes that holds the module."""

    def __init__(self):
        super().__init__()
        self.again = lambda x: self.head(x) * 2

    def forward(self, x):
        return self.again(self.body(x))


def test_a_function_that_holds_the_module():
    """It calls the layers of the copy: they are found, with the numbers that they give."""
    torch.manual_seed(0)
    assert "head" in fs.open_network(Holding().eval(), size=16, range=(0, 1)).layers
