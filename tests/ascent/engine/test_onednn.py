"""engine/onednn.py: each layer gives what torch gives, forward and backward, in every shape a network may have."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterscope.ascent.engine import device
from filterscope.ascent.engine import onednn as fused
from filterscope.ascent.engine.device import FreedMemory, keep_freed_memory
from filterscope.ascent.engine.onednn import Convolution, MaxPool, OwnConvolution, OwnLinear, has_onednn

# kernel, stride, padding, dilation, groups
SHAPES = [
    (3, 1, 1, 1, 1), (1, 1, 0, 1, 1), (3, 1, 0, 1, 1), (3, 2, 1, 1, 1), (7, 2, 3, 1, 1), (3, 1, 2, 2, 1), (5, 1, 4, 1, 1),
    (3, 1, 4, 1, 1), (3, 1, 1, 1, 2), (3, 1, 1, 1, 8), (3, 2, 1, 1, 8), (2, 2, 0, 1, 1), ((3, 1), 1, (1, 0), 1, 1),
    ((1, 5), (2, 1), (0, 2), 1, 1), (4, 4, 0, 1, 1), (1, 2, 0, 1, 1),
]  # fmt: skip


def made(shape, channels=8, out=16, bias=True) -> nn.Conv2d:
    kernel, stride, padding, dilation, groups = shape
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=bias)
    return conv.requires_grad_(False)


def pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def picture(batch=2, channels=8, height=13, width=12, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height, width, generator=generator).requires_grad_()


def same(found, expected, inputs, tolerance=1e-5) -> None:
    """Equal outputs, and equal gradients of a weighted sum of them."""
    assert found.shape == expected.shape
    assert torch.allclose(
        found.float(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item()
    )
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((found.float() * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=tolerance, atol=tolerance * b.abs().max().item())


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolution(shape, relu):
    """Forward and gradient are torch's, with and without the ReLU."""
    conv, x = made(shape), picture()
    layer = Convolution(conv, padding=pair(shape[2]), relu=relu)
    expected = conv(x)
    same(layer(x), F.relu(expected) if relu else expected, [x])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[4] == 1], ids=str)
def test_first_convolution(shape, channels):
    """The gradient of a picture's few channels too, which takes another way where the kernel is small."""
    conv, x = made(shape, channels), picture(channels=channels)
    same(Convolution(conv, padding=pair(shape[2]), relu=True)(x), F.relu(conv(x)), [x])


@pytest.mark.parametrize("relu", [False, True])
def test_shortcut(relu):
    """A shortcut is added before the ReLU and has its gradient; one that must be broadcast is added as well."""
    conv, x, other = made(SHAPES[0]), picture(), picture(channels=16, seed=1)
    layer = Convolution(conv, padding=(1, 1), relu=relu)
    expected = conv(x) + other
    same(layer(x, other), F.relu(expected) if relu else expected, [x, other])
    narrow = picture(channels=16, height=1, width=1, seed=2)
    expected = conv(x) + narrow
    same(layer(x, narrow), F.relu(expected) if relu else expected, [x, narrow])


def test_shortcut_shared():
    """A shortcut used again elsewhere keeps its own values and gradient: nothing is changed in place."""
    conv, x = made(SHAPES[0], out=8), picture()
    layer = Convolution(conv, padding=(1, 1), relu=True)
    base, plain = x * 2, x * 2
    same(layer(base, base) + base, F.relu(conv(plain) + plain) + plain, [x])


def test_pool_takes_the_mask():
    """A pool behind a convolution's ReLU hands back the same gradient, also where all it saw was 0."""
    conv, x = made(SHAPES[0]), picture()
    pool = nn.MaxPool2d(3, 2, 1)
    ours = MaxPool(pool)(Convolution(conv, padding=(1, 1), relu=True, masked=True)(x - 1))
    expected = pool(F.relu(conv(x - 1)))
    assert (expected == 0).any()
    same(ours, expected, [x])


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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_onednn(monkeypatch, shape):
    """Where oneDNN is not to be had, torch's own operations give the same."""
    monkeypatch.setattr(fused, "has_onednn", lambda x: False)
    conv, x, other = made(shape), picture(), picture(channels=16, seed=1)
    layer = Convolution(conv, padding=pair(shape[2]), relu=True)
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
    if shape[4] == 1:
        own = OwnConvolution(half, torch.tensor([1, 3]), padding=pair(shape[2]))
        same(own(x.bfloat16()), conv(x)[[0, 1], [1, 3]][:, None], [x], 3e-2)


def test_several_sizes():
    """One layer serves pictures of several sizes and batches, also when it comes back to the first."""
    conv = made(SHAPES[0])
    layer = Convolution(conv, padding=(1, 1), relu=True)
    for batch, side in itertools.chain(itertools.product((1, 2, 3), (8, 16, 24)), [(1, 8)]):
        x = picture(batch, height=side, width=side)
        same(layer(x), F.relu(conv(x)), [x])
    assert len(layer.packed) <= 4


def test_no_gradient_wanted():
    """Without a gradient the layers run all the same, as they do when a picture is measured."""
    conv, x = made(SHAPES[0]), picture()
    with torch.no_grad():
        found = MaxPool(nn.MaxPool2d(2))(Convolution(conv, padding=(1, 1), relu=True, masked=True)(x))
    assert torch.allclose(found, F.max_pool2d(F.relu(conv(x)), 2), atol=1e-5)


def test_batch_is_its_members():
    """A picture of a batch says and is told the same as one in another batch, to the byte in float32."""
    conv = made((3, 1, 1, 1, 1), 64, 64)
    layer = Convolution(conv, padding=(1, 1), relu=True)
    whole = picture(4, 64, 32, 32)
    (gradient,) = torch.autograd.grad(layer(whole).square().sum(), whole)
    for i in (0, 2):
        part = whole.detach()[i : i + 2].requires_grad_()
        y = layer(part)
        (own,) = torch.autograd.grad(y.square().sum(), part)
        assert torch.equal(own, gradient[i : i + 2])


def test_memory_is_kept_once():
    """Asked again the answer is the same, and nothing is set anew."""
    assert keep_freed_memory() is keep_freed_memory()


def test_freed_memory_goes_back_where_it_grows(monkeypatch):
    """Handed back once it is a tenth more than after the first batch, and left alone before that."""
    pages, trimmed = iter([1000, 1050, 1200, 900]), []

    class Glibc:
        def malloc_trim(self, pad):
            trimmed.append(pad)
            return 1

    monkeypatch.setattr(device, "_resident", lambda: next(pages))
    monkeypatch.setattr(device, "_glibc", Glibc)
    freed = FreedMemory()
    assert [freed.hand_back() for _ in range(4)] == [False, False, True, False]
    assert trimmed == [0]
    monkeypatch.setattr(device, "_glibc", lambda: None)
    monkeypatch.setattr(device, "_resident", lambda: 5000)
    assert not freed.hand_back()
