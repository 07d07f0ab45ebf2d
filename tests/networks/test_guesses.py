"""guesses.py: what nothing says of a network's input is said to be a guess, once, with the options that correct it."""

from __future__ import annotations

import logging
import re

import pytest
from torch import nn

from filterscope.api import visualize
from filterscope.cli import main
from filterscope.networks import open_network


@pytest.fixture(autouse=True)
def listened(caplog):
    caplog.set_level(logging.WARNING, logger="filterscope")


def torch_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


def keras_network(*first):
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((16, 16, 3)), *first, layers.Conv2D(4, 3, name="body")])


@pytest.mark.parametrize("make", [torch_network, keras_network])
def test_a_range_is_a_guess(make, caplog):
    """Of torch and of Keras alike, the first time alone."""
    model = make()
    net = open_network(model)
    assert "range" in net.guessed
    (said,) = caplog.messages
    assert "with no mean subtracted" in said
    assert re.search("the order RGB( and a size of 224 x 224 px)? are guesses", said)
    assert re.search(
        "open_network\\(range=, mean=, std=, (size=, )?show_channels=\\), where 2,1,0 is BGR", said
    )
    visualize(net, f"{list(net.layers)[1]}:1", steps=1, size=16, progress=False)
    open_network(model)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("make", [torch_network, keras_network])
def test_what_a_person_says_is_no_guess(make, caplog):
    """Told one of range, mean and std, nothing is said; a size that is open is a guess of its own."""
    net = open_network(make(), range=(0, 1), size=16)
    assert not net.guessed
    assert not caplog.messages
    net = open_network(torch_network(), mean=0.5)
    assert net.guessed == ("size",)
    assert "a size of 224 x 224 px is a guess" in caplog.messages[0]
    assert "open_network(size=)" in caplog.messages[0]
    assert "range=" not in caplog.messages[0]


def test_a_model_that_scales_by_itself(caplog):
    """A Rescaling layer says how a Keras model wants its pictures; published networks are known."""
    from keras import layers

    assert not open_network(keras_network(layers.Rescaling(1 / 255))).guessed
    assert not open_network("tiny-vgg16").guessed
    assert not caplog.messages


def test_on_the_command_line(tmp_path, caplog, monkeypatch):
    """One line beside the pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("from torch import nn\n\nnet = nn.Sequential(nn.Conv2d(3, 4, 3))\n")
    assert main(["show", "own.py:net", "0:1", "--steps", "1"]) == 0
    assert sum("--range LOW,HIGH" in said for said in caplog.messages) == 1
    caplog.clear()
    assert main(["show", "own.py:net", "0:1", "--steps", "1", "--range", "-1,1", "--input-size", "32"]) == 0
    assert not any("guess" in said for said in caplog.messages)


def test_a_grey_network_has_no_order(caplog):
    """Of one channel no order of colours is guessed."""
    open_network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), size=16)
    (said,) = caplog.messages
    assert "with no mean subtracted is a guess" in said
    assert "BGR" not in said
