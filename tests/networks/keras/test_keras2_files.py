"""Whole models that Keras 2 wrote (tests/networks/keras/keras2/write.py): Keras' own numbers, for every output."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.keras_comparison import torch_outputs

from filterscope.networks import open_network

FILES = Path(__file__).parent / "keras2"


@pytest.mark.parametrize("file", ["attention.keras", "attention.h5", "operations.h5", "nested.keras"])
def test_the_numbers_of_keras_2(file):
    """MultiHeadAttention's inner layers, and TensorFlow's operations with numbers before and behind them, indices with an
    ellipsis, and settings under TensorFlow's names."""
    net = open_network(FILES / file)
    kept = np.load((FILES / file).with_suffix(".npz"))
    pixels = torch.from_numpy(kept["pixels"]).float().permute(0, 3, 1, 2)
    found = torch_outputs(net, net.input.preprocess(pixels))
    for name in kept.files[1:]:
        assert found[name].shape == kept[name].shape
        assert np.abs(found[name] - kept[name]).max() < 1e-4 * max(1, np.abs(kept[name]).max()), name


def test_attention_weights_of_keras_2(tmp_path):
    """The weights inside such a file, as a weights file of its own."""
    with zipfile.ZipFile(FILES / "attention.keras") as archive:
        (tmp_path / "own.weights.h5").write_bytes(archive.read("model.weights.h5"))
    net = open_network(FILES / "attention.keras", weights=tmp_path / "own.weights.h5")
    wanted = open_network(FILES / "attention.h5")
    picture = torch.rand(1, 3, 16, 16) * 255
    assert torch.equal(net.part("top")(picture).output, wanted.part("top")(picture).output)
