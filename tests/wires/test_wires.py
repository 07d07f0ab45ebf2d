"""wires: expanded weights by hand, what has no linear path, what is written."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from filterscope.cli import main
from filterscope.errors import ArgumentError, TargetError
from filterscope.networks import open_network
from filterscope.target import Target
from filterscope.wires.expanded import Expanded, expand_weights
from filterscope.wires.wires import choose_wires, find_wires


class Net(nn.Module):
    """A convolution, a pool, a separable convolution with a batch norm, a shortcut, a layer norm."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.pointwise = nn.Conv2d(4, 6, 1)
        self.norm = nn.BatchNorm2d(6)
        self.mixed = nn.Conv2d(6, 4, 1)
        self.joined = nn.ReLU()
        self.last = nn.Conv2d(4, 5, 1)
        self.scaled = nn.LayerNorm(5)

    def forward(self, x):
        pooled = self.pool(self.act(self.first(x)))
        y = torch.relu(self.norm(self.pointwise(self.depthwise(pooled))))
        y = self.joined(pooled + self.mixed(y))
        return self.scaled(self.last(y).mean((2, 3)))


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        net.norm.running_var.uniform_(0.5, 2)
        net.norm.weight.uniform_(-1, 1)
    return net


@pytest.fixture(scope="module")
def net(module):
    return open_network(module, size=16)


def test_separable_convolution_behind_a_pool(module, net):
    """The product of both kernels and the norm's scale, each weight spread over the pool's window."""
    (found,) = expand_weights(net, Target("norm", 2))
    assert found.layer == "act"
    scale = (module.norm.weight / (module.norm.running_var + module.norm.eps).sqrt())[2]
    small = module.depthwise.weight[:, 0] * module.pointwise.weight[2].view(4, 1, 1) * scale
    expected = small.repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
    np.testing.assert_allclose(found.kernels, expected.detach().numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.sums, small.sum((1, 2)).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_activation_without_a_name(net, module):
    """Of an activation that is no layer, the units are the layer's before it; a shortcut leads further back."""
    found = {one.layer: one.kernels for one in expand_weights(net, Target("joined", 1))}
    assert list(found) == ["act", "norm"]
    np.testing.assert_allclose(
        found["norm"][:, 0, 0], module.mixed.weight[1, :, 0, 0].detach().numpy(), rtol=1e-5
    )
    np.testing.assert_allclose(found["act"].sum((1, 2)), [0, 1, 0, 0], atol=1e-6)


def test_no_linear_path(net):
    """What mixes its input nonlinearly, and the first layer, are refused in words."""
    with pytest.raises(TargetError, match="scaled has no linear path before it: LayerNorm is not linear"):
        expand_weights(net, Target("scaled", 0))
    with pytest.raises(
        TargetError, match="first has no layer before it: its linear path begins at the picture"
    ):
        expand_weights(net, Target("first", 0))


def test_keras(small, small_keras):
    """A Keras network: its pool, its flatten and its order of axes."""
    (found,) = expand_weights(small, Target("conv2", 3))
    weights = np.asarray(small_keras.get_layer("conv2").kernel)[..., 3].transpose(2, 0, 1)
    assert found.layer == "conv1"
    np.testing.assert_allclose(found.kernels[:, ::2, ::2] * 4, weights, rtol=1e-4, atol=1e-6)
    (found,) = expand_weights(small, Target("predictions", 1))
    weights = np.asarray(small_keras.get_layer("predictions").kernel)[:, 1]
    assert found.layer == "conv2"
    np.testing.assert_allclose(found.kernels.transpose(1, 2, 0).ravel(), weights, rtol=1e-4, atol=1e-6)


def test_choice():
    """Strongest first by the kernel's length, the sign by its sum; what does not reach the unit is left out."""
    kernels = np.array([[[3.0, 4]], [[-1, 0]], [[0, 0]], [[6, -8]], [[0.5, 0]]], np.float32)
    rows = choose_wires([Expanded("conv", kernels)], 2)
    assert [(row.unit, row.sign, row.strength) for row in rows] == [
        (0, "+", 5), (4, "+", 0.5), (3, "-", 10), (1, "-", 1),
    ]  # fmt: skip
    assert sum(row.share for row in choose_wires([Expanded("conv", kernels)], 9)) == pytest.approx(1)


@pytest.mark.parametrize("target", ["block1_conv2:3,4", "layer(block1_conv2)"])
def test_one_unit(tiny, target):
    """Of several units, or none, is refused."""
    with pytest.raises(TargetError, match="wires takes one unit"):
        find_wires(tiny, target)
    with pytest.raises(ArgumentError, match="count is a whole number from 1 to 64"):
        find_wires(tiny, "block1_conv2:3", count=0)


def test_command(tmp_path, capsys):
    """Pictures, a sheet, a report whose rows say what feeds what, and a page without scripts of its own."""
    words = ["wires", "tiny-vgg16", "block1_conv2:3", "--count", "2", "--steps", "1", "--size", "32"]
    assert main([*words, "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["target"].partition(":")[0] for row in rows] == ["block1_conv2"] + ["block1_conv1"] * 4
    assert [row["sign"] for row in rows[1:]] == ["+", "+", "-", "-"]
    assert {row["feeds"] for row in rows[1:]} == {"block1_conv2:3"}
    assert json.loads((tmp_path / "report.json").read_text()) == rows
    assert all((tmp_path / row["file"]).is_file() for row in rows)
    assert (tmp_path / "wires.png").is_file()
    page = (tmp_path / "block1_conv2-0003.wires.html").read_text()
    assert all(row["file"] in page for row in rows)
    assert "Inhibited by" in page
    assert main([*words[:2], "block1_conv1:3", "--out", str(tmp_path / "none"), "--steps", "1"]) == 2
