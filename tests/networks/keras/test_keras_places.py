"""Sequences of Keras networks: patches of the picture are maps, and all else is steps, told by where they come from."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from tests.helpers.keras_comparison import fill

import filterscope as fs
from filterscope.networks import open_network


def opened(build, size=(16, 16)):
    entry = keras.Input((*size, 3))
    return open_network(fill(keras.Model(entry, build(entry))), range=(0, 255))


def tokens(entry, count=16):
    """Patches of 4 px, one token of 8 channels each."""
    return layers.Reshape((count, 8))(layers.Conv2D(8, 4, strides=4)(entry))


class Extra(layers.Layer):
    """A class token of a person's own, in front or behind."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="ones", name="token")

    def call(self, x, behind=False):
        token = ops.repeat(self.token, ops.shape(x)[0], axis=0)
        return ops.concatenate([x, token] if behind else [token, x], axis=1)


STEPS = {
    "rows of a map": lambda e: layers.Reshape((10, 80))(layers.Conv2D(8, 7)(e)),  # 10 is 9 and one more
    "recurrent": lambda e: layers.GRU(8, return_sequences=True)(
        layers.Reshape((10, 80))(layers.Conv2D(8, 7)(e))
    ),
    "queries": lambda e: layers.Reshape((17, 8))(layers.Dense(17 * 8)(layers.Flatten()(e))),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_no_grid(name):
    """A sequence of a square number of steps and a few is no map with class tokens: its mean is over all steps."""
    entry = keras.Input((16, 16, 3))
    model = fill(keras.Model(entry, layers.Dense(4, name="end")(STEPS[name](entry))))
    net = open_network(model, range=(0, 255))
    steps = model.output_shape[1]
    assert net.layer("end").output_shape == (4, steps)
    assert not net.tokens
    picture = fs.visualize(
        net, "end:1", steps=2, size=16, recipe="linear", precision="float32", progress=False
    )
    own = model.predict(picture.image[None].astype(np.float32), verbose=0)
    assert picture.scores.activation == pytest.approx(own[..., 1].mean(), rel=1e-4)
    last = fs.visualize(net, f"end:1@{steps - 1}", steps=2, size=16, recipe="linear", progress=False)
    own = model.predict(last.image[None].astype(np.float32), verbose=0)
    assert last.scores.activation == pytest.approx(own[0, -1, 1], rel=1e-2)


PATCHES = {
    "as they are": (lambda x: x, (4, 4), 0),
    "one more in front": (lambda x: Extra()(x), (4, 4), 1),
    "one more behind": (lambda x: Extra()(x, behind=True), (4, 4), 1),
    "dropped again": (lambda x: Extra()(x)[:, 1:], (4, 4), 0),
    "mixed by place": (
        lambda x: layers.Permute((2, 1))(layers.Dense(16)(layers.Permute((2, 1))(x))),
        (4, 4),
        0,
    ),
    "positions added": (lambda x: x + np.ones((1, 16, 8), np.float32), (4, 4), 0),
    "as channels": (lambda x: layers.Permute((2, 1))(x), None, 0),
    "few of them": (lambda x: x[:, :9], None, 0),
}


@pytest.mark.parametrize("name", PATCHES)
def test_patches(name):
    """Tokens of a picture's patches keep their places through a network, whatever stands beside them."""
    change, grid, extra = PATCHES[name]
    net = opened(lambda e: layers.LayerNormalization(name="end")(change(tokens(e))))
    row = net.layer("end")
    assert row.output_shape[1:] == (grid or row.output_shape[1:2])
    assert len([t for t in net.tokens if t.startswith("end@")]) == extra
    pixels = torch.rand(1, 3, 16, 16) * 255
    assert tuple(net.part("end")(pixels).output.shape[2:]) == (grid or (1, row.output_shape[-1]))


def test_patches_of_other_sizes():
    """Rows and columns follow the picture's proportions, also of a picture of another size."""
    net = opened(lambda e: layers.Dense(4, name="end")(tokens(e, 32)), (16, 32))
    assert net.layer("end").output_shape == (4, 4, 8)
    entry = keras.Input((None, None, 3))
    end = layers.Dense(4, name="end")(layers.Reshape((-1, 8))(layers.Conv2D(8, 4, strides=4)(entry)))
    free = open_network(fill(keras.Model(entry, end)), size=16, range=(0, 255))
    assert free.part("end")(torch.rand(1, 3, 8, 24)).output.shape == (1, 4, 2, 6)


def test_subclassed():
    """Of a model that runs whole, tokens as many as a map before them has places are that map."""

    class Runs(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.steps, self.head = (
                layers.Conv2D(8, 4, strides=4),
                layers.Dense(5),
                layers.Dense(4),
            )

        def call(self, x):
            maps = self.body(x)
            if float(ops.convert_to_numpy(ops.max(maps))) > 1e9:  # asks for a value, so that it runs as it is
                maps = maps * 0
            steps = self.steps(
                ops.reshape(maps, (-1, 10, 8)) if maps.shape[1] * maps.shape[2] == 10 else maps[:, 0]
            )
            return self.head(ops.reshape(maps, (-1, 16, 8))) + ops.mean(steps, (1, 2), keepdims=True)

    model = Runs()
    model(np.zeros((1, 16, 16, 3), np.float32))
    net = open_network(fill(model), range=(0, 255))
    heads = next(name for name in net.layers if name.startswith("dense") and net.layer(name).units == 4)
    steps = next(name for name in net.layers if name.startswith("dense") and net.layer(name).units == 5)
    assert net.layer(heads).output_shape == (4, 4, 4)
    assert net.layer(steps).output_shape == (5, 4)
