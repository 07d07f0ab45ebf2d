"""Kernels as pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from filterscope.cli import main
from filterscope.errors import TargetError
from filterscope.pictures.kernels import kernel_sheet, kernel_weights


def test_weights_are_those_that_convolve(tiny):
    """The layer's output without bias and activation is the convolution with these weights."""
    weights = kernel_weights(tiny, "block1_conv1")
    assert weights.shape == (32, 3, 3, 3)
    x = tiny.input.preprocess(torch.rand(1, 3, 8, 8) * 255)
    out = tiny.part("block1_conv1")(x).linear
    plain = torch.nn.functional.conv2d(x, torch.from_numpy(weights), padding=1)
    bias = (out - plain).mean((0, 2, 3))
    torch.testing.assert_close(out, plain + bias.view(1, -1, 1, 1), rtol=1e-3, atol=1e-3)


def test_first_layer_in_colour_on_one_scale(tiny):
    """Somewhere the largest weight stands as black or white; the tile's colours are the weights."""
    weights = kernel_weights(tiny, "block1_conv1")
    unit = int(np.abs(weights).reshape(32, -1).max(1).argmax())
    tile = np.asarray(kernel_sheet(tiny, "block1_conv1", [unit]))[6:-6, 6:-6].astype(float)
    cells = tile.reshape(160, 160, 3)[[130, 80, 150]][:, [130, 80, 150]]  # clear of the label
    scale = 2 * np.abs(weights).max()
    expected = (weights[unit].transpose(1, 2, 0)[[2, 1, 2]][:, [2, 1, 2]] / scale + 0.5) * 255
    np.testing.assert_allclose(cells, expected, atol=1)


def test_bgr_networks_are_shown_in_rgb(vgg16):
    """VGG16 reads blue first: the picture's red comes from the weights' third channel."""
    weights = kernel_weights(vgg16, "block1_conv1")
    tile = np.asarray(kernel_sheet(vgg16, "block1_conv1", [5]))[6:-6, 6:-6]
    scale = 2 * np.abs(weights).max()
    assert tile[150, 150, 0] == pytest.approx((weights[5, 2, 2, 2] / scale + 0.5) * 255, abs=1)


def test_deeper_layers_as_grey_slices(tiny):
    """A row of sixteen slices for each unit."""
    image = kernel_sheet(tiny, "block3_conv1", [0, 1])
    assert image.width > 16 * 64
    values = np.asarray(image.convert("RGB"))
    assert (values[40:60, 40:60, 0] == values[40:60, 40:60, 2]).all()


def test_layers_without_kernels_are_refused(tiny, capsys, tmp_path):
    """A pool has none; the convolutions are named."""
    with pytest.raises(TargetError, match="block1_conv1"):
        kernel_sheet(tiny, "block1_pool", [0])
    assert main(["kernels", "tiny-vgg16", "predictions", "--out", str(tmp_path)]) == 2
    assert "has no kernels" in capsys.readouterr().err


def test_the_command_writes_all_kernels_of_a_first_layer(tmp_path, capsys):
    """LAYER alone means all 32 of a first layer, sixteen of a deeper one."""
    assert main(["kernels", "tiny-vgg16", "block1_conv1", "--out", str(tmp_path)]) == 0
    assert "32 kernels" in capsys.readouterr().out
    assert (tmp_path / "block1_conv1-kernels.png").is_file()
    assert main(["kernels", "tiny-vgg16", "block2_conv1", "--out", str(tmp_path)]) == 0
    assert "16 kernels" in capsys.readouterr().out
