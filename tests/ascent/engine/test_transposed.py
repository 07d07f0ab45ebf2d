"""engine/transposed.py, and what the passes make of transposed convolutions: torch's values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from tests.helpers.convolutions import picture, same
from torch import nn

from filterscope.ascent.engine import transposed
from filterscope.ascent.engine.onednn import RELU, Bounds
from filterscope.ascent.engine.own import OwnTransposed
from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.engine.transposed import TransposedConvolution
from filterscope.networks import open_network
from filterscope.target import Target

# kernel, stride, padding, output padding, groups, dilation
SHAPES = [
    (3, 1, 1, 0, 1, 1), (4, 2, 1, 0, 1, 1), (3, 2, 1, 1, 1, 1), ((2, 3), (2, 1), 0, 0, 2, 1), (3, 2, 0, 1, 8, 1),
    (3, 1, 2, 1, 1, 2),
]  # fmt: skip
BOUNDS = [None, RELU, Bounds(-0.2, 0.3)]


def made(shape, out=8, bias=True) -> nn.ConvTranspose2d:
    kernel, stride, padding, more, groups, dilation = shape
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(8, out, kernel, stride, padding, more, groups, bias, dilation)
    return conv.requires_grad_(False)


def clamped(y, bounds):
    return y if bounds is None else F.relu(y) if bounds == RELU else F.hardtanh(y, *bounds[:2])


@pytest.mark.parametrize("by_onednn", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_transposed(shape, by_onednn, monkeypatch):
    """With and without oneDNN, clamped or not."""
    if not by_onednn:
        monkeypatch.setattr(transposed, "has_onednn", lambda x: False)
    conv, x = made(shape), picture(height=5, width=4)
    for bounds in BOUNDS:
        same(TransposedConvolution(conv, bounds=bounds)(x), clamped(conv(x), bounds), [x])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[4] == 1], ids=str)
def test_own_channel(shape, bias):
    """Each picture's own channel alone."""
    conv, x, units = made(shape, bias=bias), picture(height=5, width=4), torch.tensor([6, 1])
    same(OwnTransposed(conv, units)(x), conv(x)[torch.arange(2), units][:, None], [x])


class Decoder(nn.Module):
    """Down and up again: batch norms as modules and functions, groups, weights of a function."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 4, 4)
        self.up = nn.ConvTranspose2d(8, 6, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.wide = nn.ConvTranspose2d(6, 8, 2, 2, groups=2)
        self.wide_norm = nn.BatchNorm2d(8)
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3) / 9)
        self.last = nn.ConvTranspose2d(8, 5, 3, padding=1)
        for norm in (self.norm, self.wide_norm):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)

    def forward(self, x):
        x = self.norm(self.up(self.down(x).relu())).relu()
        n = self.wide_norm
        x = F.batch_norm(self.wide(x), n.running_mean, n.running_var, n.weight, n.bias)
        return self.last(F.conv_transpose2d(F.relu6(x), self.weight, padding=1).relu())


def test_folded_fused_and_narrowed(caplog):
    """Nothing is left as it is, the last layer computes the targets' channels alone, and all numbers stay."""
    torch.manual_seed(0)
    net = open_network(Decoder().eval(), size=16, range=(0, 1))
    caplog.set_level("INFO", logger="filterscope")
    goals = [Target("last", 3), Target("last", 0)]
    prepared = prepare(net, goals)
    kinds = [type(m).__name__ for m in prepared.parts.graph.children()]
    assert kinds.count("TransposedConvolution") == 3
    assert "OwnTransposed" in kinds
    assert "left as they are" not in caplog.text
    x = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 255).requires_grad_()
    expected = net.parts(["last"])(net.input.preprocess(x))["last"].output
    expected = torch.stack([expected[i, goal.unit] for i, goal in enumerate(goals)])[:, None]
    same(prepared(x)["last"].output, expected, [x], tolerance=1e-4)
