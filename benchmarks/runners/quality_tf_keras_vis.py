"""Draws with tf-keras-vis' defaults (200 steps at the network's own size, its penalties and modifiers); run by quality.py
in tf-keras-vis' own interpreter, with a plan (quality_plan). Layers and classes are taken before their activation, as
its own examples do (ExtractIntermediateLayer, ReplaceToLinear); the network's preprocessing is the first layer.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tf_keras_vis.activation_maximization import ActivationMaximization
from tf_keras_vis.utils.model_modifiers import ExtractIntermediateLayer, ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore

from quality_plan import check, draw_all, read


class Preprocessing(layers.Layer):
    """Pixel values 0 to 255, RGB, to what the network takes."""

    def __init__(self, plan):
        super().__init__(name="own_preprocessing")
        self.plan = plan

    def call(self, x):
        plan = self.plan
        y = x * ((plan["high"] - plan["low"]) / 255) + plan["low"]
        y = y[..., ::-1] if plan["bgr"] else y
        return (y - tf.constant(plan["mean"], y.dtype)) / tf.constant(plan["std"], y.dtype)


def build(plan, tensors):
    x = given = keras.Input((plan["size"], plan["size"], 3))
    x = Preprocessing(plan)(x)
    for name, kind, _ in plan["layers"]:
        if kind == "Conv2D":
            kernel = tensors[f"{name}/kernel"]
            made = layers.Conv2D(
                kernel.shape[-1], kernel.shape[:2], padding="same", activation="relu", name=name
            )
        elif kind == "Dense":
            made = layers.Dense(tensors[f"{name}/kernel"].shape[-1], name=name)
        elif kind == "MaxPooling2D":
            made = layers.MaxPooling2D(name=name)
        elif kind == "GlobalAveragePooling2D":
            made = layers.GlobalAveragePooling2D(name=name)
        elif kind in ("InputLayer", "Rescaling", "Softmax"):
            continue
        else:
            raise SystemExit(f"{name}: no {kind} here")
        x = made(x)
        if kind in ("Conv2D", "Dense"):
            made.set_weights([tensors[f"{name}/kernel"], tensors[f"{name}/bias"]])
    return keras.Model(given, x)


def means(model, picture, layer):
    """(units,): means over space of a layer's output for a uint8 picture."""
    out = keras.Model(model.inputs[0], model.get_layer(layer).output)(
        picture[None].astype(np.float32)
    ).numpy()[0]
    return out.mean((0, 1)) if out.ndim == 3 else out


def main():
    plan, tensors = read()
    whole = build(plan, tensors)
    check(plan, lambda picture, layer: means(whole, picture, layer))

    def draw(layer, unit):
        tf.random.set_seed(plan["seed"] + unit)
        np.random.seed(plan["seed"] + unit)
        modifiers = [ExtractIntermediateLayer(layer), ReplaceToLinear()]
        # a model of its own for each, since the modifiers change activations in place
        maximization = ActivationMaximization(build(plan, tensors), modifiers, clone=False)
        return np.asarray(maximization(CategoricalScore(unit)))[0]

    draw_all(plan, draw)


if __name__ == "__main__":
    main()
