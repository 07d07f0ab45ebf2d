"""A live Keras model is opened once, and again as soon as anything of it that could show has changed."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops

from filterscope import open_network
from filterscope.networks.keras import open as keras_open

SCALE = 1.0


def shifted(x):
    """Beside the model, with a global of its own."""
    return x + SCALE


class Scaled(layers.Layer):
    def __init__(self, gain):
        super().__init__(name="scaled")
        self.gain, self.parts = gain, [layers.Conv2D(4, 3, name="part")]

    def build(self, shape):
        self.parts[0].build(shape)

    def call(self, x):
        return shifted(self.parts[0](x)) * self.gain


class Whole(keras.Model):
    def __init__(self):
        super().__init__(name="whole")
        self.body, self.end = layers.Conv2D(4, 3, name="body"), layers.Dense(2, name="end")
        self.power = 1.0

    def call(self, x):
        return self.end(ops.mean(self.body(x) * self.power, (1, 2)))


def plain():
    first = [keras.Input((12, 12, 3)), layers.Conv2D(4, 3, activation="relu", name="body")]
    return keras.Sequential([*first, layers.Dense(2, name="end")], name="plain")


def own():
    return keras.Sequential([keras.Input((12, 12, 3)), Scaled(2.0), layers.Dense(2, name="end")], name="own")


def subclassed():
    model = Whole()
    model(np.zeros((1, 12, 12, 3), np.float32))
    return model


@pytest.fixture
def opened(monkeypatch):
    """How often a model was opened anew."""
    count = []
    real = keras_open._opened_model
    monkeypatch.setattr(keras_open, "_opened_model", lambda *given: count.append(1) or real(*given))
    return count


MODELS = {"plain": plain, "own": own, "subclassed": subclassed}


@pytest.mark.parametrize("kind", MODELS)
def test_opened_once(kind, opened):
    """Whatever the options; also where it was run or compiled meanwhile. A network of its own comes out each time."""
    model = MODELS[kind]()
    first = open_network(model, range=(0, 1))
    model(np.zeros((1, 12, 12, 3), np.float32))
    model.compile("sgd", "mse")
    second = open_network(model, range=(0, 255))
    assert len(opened) == 1
    assert (first.input.high, second.input.high) == (1, 255)
    second.layers.clear()
    assert open_network(model, range=(0, 1)).layers.keys() == first.layers.keys()


def train(model):
    model.compile("sgd", "mse")
    shape = model(np.zeros((1, 12, 12, 3), np.float32)).shape
    model.fit(np.ones((2, 12, 12, 3), np.float32), np.ones((2, *shape[1:]), np.float32), verbose=0)


def one_number(model):
    weight = model.get_layer("end").kernel
    weight.assign(weight + 1e-6)


CHANGES = {
    "trained": ("plain", train),
    "one weight": ("plain", one_number),
    "a setting": ("plain", lambda model: setattr(model.layers[0], "activation", keras.activations.tanh)),
    "a layer more": ("plain", lambda model: model.add(layers.Dense(3, name="more"))),
    "an attribute of a layer": ("own", lambda model: setattr(model.layers[0], "gain", 3.0)),
    "a global": ("own", lambda model: globals().update(SCALE=5.0)),
    "an attribute of the model": ("subclassed", lambda model: setattr(model, "power", 2.0)),
    "trained as it is": ("subclassed", train),
    "code": (
        "subclassed",
        lambda model: setattr(Whole, "call", lambda self, x: self.end(ops.max(self.body(x), (1, 2)))),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_opened_again_when_anything_changes(change, opened, monkeypatch):
    """And then once more."""
    monkeypatch.setitem(globals(), "SCALE", SCALE)
    monkeypatch.setattr(Whole, "call", Whole.call)
    kind, make = CHANGES[change]
    model = MODELS[kind]()
    open_network(model, range=(0, 1))
    make(model)
    open_network(model, range=(0, 1))
    open_network(model, range=(0, 1))
    assert len(opened) == 2


def test_memory_is_free_again_when_the_model_is_gone():
    """Nothing keeps a model that was opened."""
    models = [subclassed(), subclassed()]
    for model in models:
        open_network(model, range=(0, 1))
    gone = list(map(weakref.ref, models))
    del models, model
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
