"""What is measured at a turn, on networks whose answers can be worked out by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from filterscope.epochs.images import MOST, Images
from filterscope.epochs.measures import measure_changes, observe, relu_layers
from filterscope.networks import open_network


def network(biases, *, relu=nn.ReLU):
    """A convolution that passes the picture on, times 1 and -1, plus a bias; a ReLU behind it."""
    conv = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1, 1))
        conv.bias.copy_(torch.tensor(biases))
    return open_network(nn.Sequential(conv, relu(), nn.MaxPool2d(2)), range=(0, 1), size=4)


def test_dead_relus_and_best():
    """A unit is dead that is 0 at every place of every image; the best activation is the largest mean."""
    net = network([0.0, 0.0, -2.0])
    pixels = torch.stack([torch.full((1, 4, 4), 51.0), torch.full((1, 4, 4), 255.0)])
    found = observe(net, ["0"], pixels)
    assert found.dead == {"1": (2, 3)}
    np.testing.assert_allclose(found.best["0"], [1.0, -0.2, -1.0], atol=1e-6)
    assert observe(network([0.0, 0.5, -2.0]), ["0"], pixels).dead == {"1": (1, 3)}


def test_which_layers_have_relus():
    """ReLU and ReLU6, each once, and no pool behind them; no GELU, no leaky ReLU."""
    assert relu_layers(network([0.0] * 3, relu=nn.ReLU6)) == ["1"]
    assert relu_layers(network([0.0] * 3, relu=nn.GELU)) == []
    assert relu_layers(network([0.0] * 3, relu=nn.LeakyReLU)) == []


def test_relus_of_keras(small):
    """Of layers with an activation of their own."""
    assert relu_layers(small) == ["conv1", "conv2"]


def test_change(picture):
    """1 - reach: 0 for a picture that excites as the own one does, 1 for noise; None where nothing is known."""
    net = network([0.0, 0.0, 0.0])
    own = [
        picture(
            image=np.full((4, 4, 1), 255, np.uint8), target=net.targets(f"0:{unit}")[0], network=net.name,
            scores=type(picture().scores)(1.0, None, None, 0.2),
        )
        for unit in (0, 1, 2)
    ]  # fmt: skip
    half = np.full((4, 4, 1), 153, np.uint8)  # 0.6: half way from 0.2 to 1
    found = measure_changes(net, own[:1], {own[0].stem: half}, device="cpu")
    assert abs(found[0] - 0.5) < 1e-6
    assert measure_changes(net, own[:1], {own[0].stem: own[0].image}, device="cpu") == [0.0]
    assert measure_changes(net, own, {}, device="cpu") == [None] * 3


def test_images_of_every_kind(tmp_path):
    """A folder, arrays channels last or first, grey ones, tensors; at most MOST of them."""
    spec = open_network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), range=(0, 1), size=8).input
    values = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    expected = torch.from_numpy((values * 255).round()).permute(0, 3, 1, 2)
    kinds = [
        values,
        values[..., 0],
        values.transpose(0, 3, 1, 2),
        torch.from_numpy(values),
        list(values),
        255 * values,
    ]
    for source in kinds:
        assert torch.equal(Images(source).pixels(spec), expected)
    from PIL import Image

    Image.new("RGB", (9, 9), "white").save(tmp_path / "a.png")
    assert Images(tmp_path).pixels(spec).shape == (1, 1, 8, 8)
    many = Images(np.zeros((3 * MOST, 8, 8), np.uint8))
    assert (len(many), many.given) == (MOST, 3 * MOST)
