"""engine/patches.py: a convolution whose stride is its kernel gives what torch's gives, forward and backward."""

import copy

import pytest
import torch
import torch.nn.functional as F
from tests.helpers.convolutions import made, pair, picture, same

from filterscope.ascent.engine.layers import Convolution
from filterscope.ascent.engine.onednn import RELU, Bounds, Kernel
from filterscope.ascent.engine.patches import Patches

PATCHES = [(4, 4, 0, 1, 1), ((3, 2), (3, 2), 0, 1, 1), (2, 2, 0, 1, 1)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", PATCHES, ids=str)
def test_patches(shape, bias):
    """Also where the last rows and columns belong to no patch (13 x 12 px), with a shortcut and a clamp."""
    conv, x = made(shape, channels=3, bias=bias), picture(channels=3)
    expected = conv(x)
    same(Convolution(conv, padding=(0, 0))(x), expected, [x])
    other = picture(channels=16, height=expected.shape[2], width=expected.shape[3], seed=1)
    for bounds, function in ((RELU, F.relu), (Bounds(0.0, 0.5), lambda y: F.hardtanh(y, 0.0, 0.5))):
        same(
            Convolution(conv, padding=(0, 0), bounds=bounds)(x, other), function(conv(x) + other), [x, other]
        )


def test_bfloat16():
    """Within bfloat16's rounding."""
    conv, x = made(PATCHES[0]), picture(height=12)
    ours = Convolution(copy.deepcopy(conv).to(torch.bfloat16), padding=(0, 0))
    same(ours(x.to(torch.bfloat16)), conv(x), [x], tolerance=0.05)


@pytest.mark.parametrize(
    ("shape", "taken"), [*((s, True) for s in PATCHES), ((3, 2, 0, 1, 1), False), ((2, 2, 1, 1, 1), False),
                         ((2, 2, 0, 2, 1), False), ((2, 2, 0, 1, 2), False), ((1, 1, 0, 1, 1), False)], ids=str)  # fmt: skip
def test_which(shape, taken):
    """Only patches side by side, without zeros, in one group."""
    conv = made(shape)
    layer = Convolution(conv, padding=pair(shape[2]))
    assert isinstance(layer._with(layer._around(None)), Patches if taken else Kernel)
