"""engine/layers.py and onednn.py: each layer gives what torch gives, forward and backward, in every shape."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from tests.helpers.convolutions import SHAPES, made, pair, picture, same
from torch import nn

from filterscope.ascent.engine import layers
from filterscope.ascent.engine.layers import Convolution, MaxPool
from filterscope.ascent.engine.onednn import RELU, Bounds, has_onednn


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolution(shape, relu):
    """Forward and gradient are torch's, with and without the ReLU."""
    conv, x = made(shape), picture()
    layer = Convolution(conv, padding=pair(shape[2]), bounds=RELU if relu else None)
    expected = conv(x)
    same(layer(x), F.relu(expected) if relu else expected, [x])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[4] == 1], ids=str)
def test_first_convolution(shape, channels):
    """The gradient of a picture's few channels too, which takes another way where the kernel is small."""
    conv, x = made(shape, channels), picture(channels=channels)
    same(Convolution(conv, padding=pair(shape[2]), bounds=RELU)(x), F.relu(conv(x)), [x])


@pytest.mark.parametrize("relu", [False, True])
def test_shortcut(relu):
    """A shortcut is added before the ReLU and has its gradient; one that must be broadcast is added as well."""
    conv, x, other = made(SHAPES[0]), picture(), picture(channels=16, seed=1)
    layer = Convolution(conv, padding=(1, 1), bounds=RELU if relu else None)
    expected = conv(x) + other
    same(layer(x, other), F.relu(expected) if relu else expected, [x, other])
    narrow = picture(channels=16, height=1, width=1, seed=2)
    expected = conv(x) + narrow
    same(layer(x, narrow), F.relu(expected) if relu else expected, [x, narrow])


def test_shortcut_shared():
    """A shortcut used again elsewhere keeps its own values and gradient: nothing is changed in place."""
    conv, x = made(SHAPES[0], out=8), picture()
    layer = Convolution(conv, padding=(1, 1), bounds=RELU)
    base, plain = x * 2, x * 2
    same(layer(base, base) + base, F.relu(conv(plain) + plain) + plain, [x])


def test_pool_takes_the_mask():
    """A pool behind a convolution's ReLU hands back the same gradient, also where all it saw was 0."""
    conv, x = made(SHAPES[0]), picture()
    pool = nn.MaxPool2d(3, 2, 1)
    ours = MaxPool(pool, RELU)(Convolution(conv, padding=(1, 1), bounds=RELU, masked=True)(x - 1))
    expected = pool(F.relu(conv(x - 1)))
    assert (expected == 0).any()
    same(ours, expected, [x])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_onednn(monkeypatch, shape):
    """Where oneDNN is not to be had, torch's own operations give the same."""
    monkeypatch.setattr(layers, "has_onednn", lambda x: False)
    conv, x, other = made(shape), picture(), picture(channels=16, seed=1)
    layer = Convolution(conv, padding=pair(shape[2]), bounds=RELU)
    same(layer(x), F.relu(conv(x)), [x])
    if shape == SHAPES[0]:
        same(layer(x, other), F.relu(conv(x) + other), [x, other])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bfloat16(shape):
    """In bfloat16 the same within its rounding."""
    conv, x = made(shape), picture()
    half = made(shape).bfloat16()
    if has_onednn(x.bfloat16()):
        same(Convolution(half, padding=pair(shape[2]))(x.bfloat16()), conv(x), [x], 3e-2)


def test_several_sizes():
    """One layer serves pictures of several sizes and batches, also when it comes back to the first."""
    conv = made(SHAPES[0])
    layer = Convolution(conv, padding=(1, 1), bounds=RELU)
    for batch, side in itertools.chain(itertools.product((1, 2, 3), (8, 16, 24)), [(1, 8)]):
        x = picture(batch, height=side, width=side)
        same(layer(x), F.relu(conv(x)), [x])
    (kernel,) = layer.kernels.values()
    assert len(kernel.packed) <= 4


def test_no_gradient_wanted():
    """Without a gradient the layers run all the same, as they do when a picture is measured."""
    conv, x = made(SHAPES[0]), picture()
    with torch.no_grad():
        found = MaxPool(nn.MaxPool2d(2), RELU)(Convolution(conv, padding=(1, 1), bounds=RELU, masked=True)(x))
    assert torch.allclose(found, F.max_pool2d(F.relu(conv(x)), 2), atol=1e-5)


def test_batch_is_its_members():
    """A picture of a batch says and is told the same as one in another batch, to the byte in float32."""
    conv = made((3, 1, 1, 1, 1), 64, 64)
    layer = Convolution(conv, padding=(1, 1), bounds=RELU)
    whole = picture(4, 64, 32, 32)
    (gradient,) = torch.autograd.grad(layer(whole).square().sum(), whole)
    for i in (0, 2):
        part = whole.detach()[i : i + 2].requires_grad_()
        y = layer(part)
        (own,) = torch.autograd.grad(y.square().sum(), part)
        assert torch.equal(own, gradient[i : i + 2])


BOUNDS = [RELU, Bounds(0.0, 6.0), Bounds(-1.0, 1.0), Bounds(0.0, 0.5)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[9], SHAPES[10]], ids=str)
def test_clamps(shape, bounds):
    """ReLU6 and other clamps are part of the convolution, behind a shortcut too."""
    conv, x = made(shape), picture()
    layer = Convolution(conv, padding=pair(shape[2]), bounds=bounds)
    expected = conv(x)
    assert (expected > bounds[0]).any()
    assert (expected <= bounds[0]).any()
    same(layer(x), F.hardtanh(expected, *bounds), [x])
    other = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3)).requires_grad_()
    same(layer(x, other), F.hardtanh(conv(x) + other, *bounds), [x, other])


@pytest.mark.parametrize("by_onednn", [True, False])
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_mask_is_taken_by_the_next(shape, bounds, by_onednn):
    """Of two convolutions in a row the second takes the mask of the first's clamp, also where it runs by torch."""
    first, second, x = made(SHAPES[0], out=8), made(shape), picture()
    one = Convolution(first, padding=(1, 1), bounds=bounds, masked=True)
    two = Convolution(second, padding=pair(shape[2]), behind=bounds)
    two.by_onednn = by_onednn
    same(two(one(x)), second(F.hardtanh(first(x), *bounds)), [x])


PADS = [(0, 1, 0, 1), (1, 2, 1, 2), (2, 0, 0, 1), (1, 1, 2, 2), (0, 0, 0, 0), (3, 1, 1, 0), (-1, 0, 1, -2)]


@pytest.mark.parametrize("pads", PADS, ids=str)
@pytest.mark.parametrize(
    "shape",
    [
        (3, 2, 0, 1, 8),
        (5, 2, 0, 1, 8),
        (3, 1, 1, 1, 8),
        (3, 2, 0, 2, 8),
        (3, 2, 0, 1, 1),
        (3, 2, 1, 1, 2),
        (1, 2, 0, 1, 1),
    ],
    ids=str,
)
def test_zeros_around_the_input(shape, pads, monkeypatch):
    """Zeros around the input are the layer's own, as many on each side or not, also behind a clamp and by torch."""
    conv, x = made(shape, out=8), picture()
    layer = Convolution(conv, padding=pair(shape[2]), bounds=RELU)
    same(layer(x, pads=pads), F.relu(conv(F.pad(x, pads))), [x])
    behind = Convolution(conv, padding=pair(shape[2]), behind=Bounds(0.0, 6.0))
    clamped = Convolution(made(SHAPES[0], out=8), padding=(1, 1), bounds=Bounds(0.0, 6.0), masked=True)
    expected = conv(F.pad(F.relu6(made(SHAPES[0], out=8)(x)), pads))
    same(behind(clamped(x), pads=pads), expected, [x])
    monkeypatch.setattr(layers, "has_onednn", lambda x: False)
    same(layer(x, pads=pads), F.relu(conv(F.pad(x, pads))), [x])


def test_no_pass_for_zeros(monkeypatch):
    """A kernel for each channel takes uneven zeros in without a pass over the maps."""
    layer = Convolution(made((3, 2, 0, 1, 8), out=8), padding=(0, 0))
    layer(picture(), pads=(0, 1, 0, 1))
    monkeypatch.setattr(F, "pad", lambda *_: pytest.fail("a pass over the maps"))
    layer(picture(), pads=(0, 1, 0, 1))


def test_pool_takes_another_mask():
    """A pool behind a ReLU6 as well, where values are at its upper bound."""
    conv, x = made(SHAPES[0]), picture()
    pool = nn.MaxPool2d(2)
    ours = MaxPool(pool, Bounds(0.0, 0.5))(
        Convolution(conv, padding=(1, 1), bounds=Bounds(0.0, 0.5), masked=True)(x)
    )
    expected = pool(F.hardtanh(conv(x), 0, 0.5))
    assert (expected == 0.5).any()
    same(ours, expected, [x])
