"""engine/own.py: picture i has unit i of the last layer, with torch's value and gradient."""

import pytest
import torch
from tests.helpers.convolutions import SHAPES, made, pair, picture, same
from torch import nn

from filterscope.ascent.engine.own import OwnConvolution, OwnLinear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[4] == 1], ids=str)
def test_own_convolution(shape, bias):
    """Picture i has unit i's map and nothing else."""
    conv, x, units = made(shape, bias=bias), picture(3), torch.tensor([5, 0, 5])
    layer = OwnConvolution(conv, units, padding=pair(shape[2]))
    same(layer(x), conv(x)[torch.arange(3), units][:, None], [x])


@pytest.mark.parametrize("bias", [True, False])
def test_own_linear(bias):
    """Picture i has unit i's value."""
    torch.manual_seed(0)
    linear, units = nn.Linear(30, 7, bias=bias).requires_grad_(False), torch.tensor([6, 2])
    x = torch.randn(2, 30).requires_grad_()
    same(OwnLinear(linear, units)(x), linear(x)[[0, 1], units][:, None], [x])


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[4] == 1], ids=str)
def test_bfloat16(shape):
    """In bfloat16 the same within its rounding."""
    conv, x = made(shape), picture()
    own = OwnConvolution(made(shape).bfloat16(), torch.tensor([1, 3]), padding=pair(shape[2]))
    same(own(x.bfloat16()), conv(x)[[0, 1], [1, 3]][:, None], [x], 3e-2)
