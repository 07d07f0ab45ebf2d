"""transparency.py: the sum of the objective's gradients, without penalties, over stages and windows."""

import numpy as np
import pytest
import torch

from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.loop import ascend
from filterscope.ascent.tiles import windows
from filterscope.ascent.transparency import Transparency, to_alpha
from filterscope.recipe import LpNorm, NaturalSpectrum, Optimizer, Pixels, Recipe, Stage, TotalVariation

PLAIN = Recipe(name="plain", image=Pixels(), optimizer=Optimizer(name="SGD", lr=1.0), steps=1)


def looked(net, text, recipe, size=32):
    """Pictures at the start, at the end, and where the network looked."""
    targets = net.targets(text)
    found = ascend(prepare(net, targets), targets, recipe, size=size)
    return found.start, found.pixels, found.transparency


def gradient(net, layer, unit, pixels):
    """Of a channel's mean at the pictures, by the network as it is."""
    x = pixels.clone().requires_grad_()
    value = net.part(layer)(net.input.preprocess(x)).output[:, unit].mean()
    return torch.autograd.grad(value, x)[0]


def test_sum_over_steps(tiny):
    """Plain ascent: the absolute gradient at the start plus that after the first step, channels together."""
    first = gradient(tiny, "block2_conv1", 3, (start := looked(tiny, "block2_conv1:3", PLAIN)[0]))
    second = gradient(tiny, "block2_conv1", 3, start + first)
    _, _, found = looked(tiny, "block2_conv1:3", PLAIN.model_copy(update={"steps": 2}))
    expected = first.abs().sum(1) + second.abs().sum(1)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3 * expected.max())


@pytest.mark.parametrize(
    "penalty", [LpNorm(p=6, weight=1e3), TotalVariation(weight=1e3), NaturalSpectrum(weight=9.0)]
)
def test_penalties_have_no_part(tiny, penalty):
    """A heavy penalty changes the picture after a step, and not where the network looked in it."""
    _, with_it, found = looked(
        tiny, "block2_conv1:3,5", PLAIN.model_copy(update={"regularizers": (penalty,)})
    )
    _, without, expected = looked(tiny, "block2_conv1:3,5", PLAIN)
    assert (with_it - without).abs().max() > 0
    np.testing.assert_array_equal(found, expected)


def test_a_neuron_looks_at_its_place(tiny):
    """No gradient falls outside the receptive field of block1_conv2, 5 px."""
    _, _, found = looked(tiny, "block1_conv2:3@10,20", PLAIN)
    assert found[0, 8:13, 18:23].sum() > 0
    found[0, 8:13, 18:23] = 0
    assert not found.any()


def test_stages_and_windows(tiny):
    """A smaller stage's sum is enlarged; windows cover the picture once."""
    recipe = PLAIN.model_copy(update={"steps": 2, "stages": (Stage(scale=0.5), Stage())})
    assert looked(tiny, "block1_conv1:3", recipe)[2].shape == (1, 32, 32)
    sums, pixels = Transparency(), torch.zeros(1, 3, 8, 8)
    sums.begin(pixels)
    sums.add(next(windows((8, 8), None)), torch.full((1, 3, 8, 8), -1.0))
    sums.begin(torch.zeros(1, 3, 40, 40))
    np.testing.assert_allclose(sums.total, torch.full((1, 40, 40), 3.0), rtol=1e-6)
    for window in windows((40, 40), 16, (0.3, 0.7)):
        sums.add(window, torch.ones(1, 3, *window.shape))
    np.testing.assert_allclose(sums.total, torch.full((1, 40, 40), 6.0), rtol=1e-6)


def test_to_alpha():
    """The 80th percentile and what is above it are opaque; pixels without a gradient do not count in it."""
    ramp = torch.arange(1.0, 102).view(1, 1, 101)  # whose 80th percentile is 81
    assert to_alpha(ramp)[0, 0, [0, 39, 80, 100]].tolist() == [3, 126, 255, 255]
    assert to_alpha(torch.cat([torch.zeros_like(ramp), ramp], 2))[0, 0, 101 + 39] == 126
    assert not to_alpha(torch.zeros(1, 4, 4)).any()
