"""engine/winograd.py: 3 x 3 convolutions of many channels give what torch's give, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from tests.helpers.convolutions import made, pair, picture, same

from filterscope.ascent.engine import winograd
from filterscope.ascent.engine.layers import Convolution
from filterscope.ascent.engine.onednn import RELU, Bounds, Kernel
from filterscope.ascent.engine.winograd import Winograd

CLOSE = 1e-4  # of the largest value
SHAPES = [(3, 1, 1, 1, 1), (3, 1, 0, 1, 1), (3, 1, 2, 1, 1)]


@pytest.fixture
def always(monkeypatch):
    """Few channels are enough, and a few rows of tiles go at a time."""
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 8)
    monkeypatch.setattr(winograd, "TOGETHER", 20)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolution(shape, bias, always):
    """Also where the sides are no multiple of the tiles', with a shortcut and a clamp."""
    conv, x = made(shape, bias=bias), picture(height=30, width=37)
    layer = Convolution(conv, padding=pair(shape[2]))
    expected = conv(x)
    same(layer(x), expected, [x], CLOSE)
    assert type(layer._with(layer._around(None))) is Winograd
    other = picture(channels=16, height=expected.shape[2], width=expected.shape[3], seed=1)
    for bounds, function in ((RELU, F.relu), (Bounds(0.0, 0.5), lambda y: F.hardtanh(y, 0.0, 0.5))):
        layer = Convolution(conv, padding=pair(shape[2]), bounds=bounds)
        same(layer(x), function(conv(x)), [x], CLOSE)
        same(layer(x, other), function(conv(x) + other), [x, other], CLOSE)


def test_small_maps_as_ever(always):
    """Where there are few tiles the numbers are those of the plain kernel, to the bit."""
    conv, x = made(SHAPES[0]), picture(height=24, width=24)
    kernel = Kernel(conv.weight, conv.bias, (1, 1, 1, 1), (1, 1), (1, 1), 1)
    y = Convolution(conv, padding=(1, 1))(x)
    assert torch.equal(y, kernel.run(x.detach().contiguous(memory_format=torch.channels_last), None, None))


def test_a_batch_is_its_members(always):
    """A picture's values and gradient are the same in any batch, to the bit."""
    conv, x = made(SHAPES[0]), picture(batch=3, height=28, width=28)
    layer = Convolution(conv, padding=(1, 1), bounds=RELU)
    (whole,) = torch.autograd.grad(layer(x).square().sum(), x)
    for i in range(3):
        one = x[i : i + 1].detach().requires_grad_()
        y = layer(one)
        assert torch.equal(y, layer(x)[i : i + 1])
        assert torch.equal(torch.autograd.grad(y.square().sum(), one)[0], whole[i : i + 1])


@pytest.mark.parametrize(
    ("shape", "channels", "dtype"), [((3, 1, 1, 1, 1), 64, torch.float32), ((3, 2, 1, 1, 1), 128, torch.float32),
                                     ((3, 1, 1, 1, 2), 128, torch.float32), ((3, 1, 2, 2, 1), 128, torch.float32),
                                     ((3, 1, 1, 1, 1), 128, torch.bfloat16)])  # fmt: skip
def test_others_as_ever(shape, channels, dtype):
    """Few channels, strides, groups, other kernels and bfloat16 take the plain way."""
    conv = made(shape, channels, 128).to(dtype)
    layer = Convolution(conv, padding=pair(shape[2]))
    assert type(layer._with(layer._around(None))) is Kernel
