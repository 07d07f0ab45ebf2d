"""undisturbed: random numbers, modes and Keras' counters are as before, also after an error."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from filterscope.epochs.undisturbed import is_first_process, undisturbed


def numbers() -> list[float]:
    """The next one of each source."""
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_random_numbers_and_modes(error):
    """Of Python, NumPy and torch; each part's own mode."""
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    model[1][0].eval()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = numbers()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])

    def disturb() -> None:
        with undisturbed(model):
            numbers()
            random.seed(3)
            model.eval()
            if error is not None:
                raise error

    if error is None:
        disturb()
    else:
        with pytest.raises(error):
            disturb()
    assert numbers() == expected
    assert [part.training for part in model.modules()] == [True, True, True, False]


def test_seeds_of_keras():
    """The model's own generators, Keras' common one, and the numbers in the names of layers."""
    import keras

    layer = keras.layers.Dropout(0.5, seed=4)
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2)])
    keras.random.uniform((1,))  # now there is a common generator
    x = np.ones((1, 3), np.float32)

    def drawn() -> list:
        return [
            keras.ops.convert_to_numpy(layer(x, training=True)).tolist(),
            keras.ops.convert_to_numpy(keras.random.uniform((2,))).tolist(),
        ]

    with undisturbed(model):
        first, name = drawn(), keras.layers.Dense(2).name
    with undisturbed(model):
        drawn()
    assert drawn() == first
    assert keras.layers.Dense(2).name == name
    assert drawn() != first


@pytest.mark.parametrize("strict", [True, False])
def test_deterministic_algorithms(strict):
    """What a training has forbidden torch is allowed inside, and forbidden again after it."""
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    try:
        with undisturbed(nn.Identity()):
            assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() is not strict
    finally:
        torch.use_deterministic_algorithms(False)


def test_rank(monkeypatch):
    """Rank 0 of torch.distributed."""
    assert is_first_process()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert not is_first_process()
