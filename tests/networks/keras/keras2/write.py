"""What wrote the files of this folder: run it where tensorflow and tf_keras are, in an environment of its own.

They are whole models of Keras 2 (`attention.keras`, `attention.h5`, `operations.h5`), and beside each what the model gave
for the same pictures (`attention.npz`, `operations.npz`). `nested.keras` is of TensorFlow 2.12 (`save_format="keras_v3"`),
which lays weights out in another way.
"""

import os
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras

HERE = Path(__file__).parent
layers = tf_keras.layers
applications = tf_keras.applications

OPERATIONS = {
    "absolute": tf.abs,
    "bgr": lambda x: applications.vgg16.preprocess_input(x[..., :3]),
    "bias": lambda x: tf.nn.bias_add(x, [1.0, 2.0, 3.0, 4.0]),
    "clipped": lambda x: tf.clip_by_value(x, -0.1, 0.2),
    "cropped": lambda x: x[:, 1:-1, ..., :2],
    "divided": lambda x: 2 / (x + 5),
    "gelu": tf.nn.gelu,
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "last_turned": lambda x: x[..., ::-1],
    "leaky": lambda x: tf.nn.leaky_relu(x, alpha=0.1),
    "masked": lambda x: tf.cast(x > 0, tf.float32) * x,
    "mean": lambda x: tf.reduce_mean(x, axis=[1, 2], keepdims=True),
    "minimum": lambda x: tf.minimum(x, 0.3),
    "normalised": lambda x: applications.densenet.preprocess_input(x[..., :3]),
    "one_minus": lambda x: 1 - x,
    "power": lambda x: 2**x,
    "product": lambda x: tf.matmul(x, x, transpose_b=True),
    "rows_turned": lambda x: x[:, ::-1],
    "side_by_side": lambda x: tf.concat([x, x * 2], -1),
    "softmax": lambda x: tf.nn.softmax(x, axis=1),
    "split": lambda x: tf.split(x, 2, axis=-1)[1],
    "stacked": lambda x: tf.stack([x[..., 1], x[..., 0]], -1),
    "where": lambda x: tf.where(x > 0.1, x, 0.0),
}


def filled(model):
    """The model with numbers at random for weights."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 0.3, w.shape).astype("float32") for w in model.get_weights()])
    return model


def attentive():
    picture = tf_keras.Input((16, 16, 3))
    tokens = layers.Reshape((16, 6))(layers.Conv2D(6, 4, strides=4, name="conv")(picture))
    seen = layers.MultiHeadAttention(2, 4, value_dim=3, name="attention")(tokens, tokens)
    normed = layers.LayerNormalization(name="norm")(layers.Add()([tokens, seen]))
    last = layers.MultiHeadAttention(1, 5, use_bias=False)(normed, tokens)
    return filled(
        tf_keras.Model(
            picture, layers.Dense(3, name="top")(layers.GlobalAveragePooling1D()(last)), name="attentive"
        )
    )


def operating():
    picture = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(picture / 255.0)
    named = {n: layers.Activation("linear", name=n)(rule(x)) for n, rule in OPERATIONS.items()}
    return filled(tf_keras.Model(picture, named))


def nested():
    inner = tf_keras.Sequential(
        [
            tf_keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Conv2D(4, 3, activation=tf.nn.relu),
        ],
        name="inner",
    )
    whole = tf_keras.Sequential([inner, layers.Flatten(), layers.Dense(3, name="top")])
    whole(np.zeros((1, 16, 16, 3), "float32"))
    return filled(whole)  # with absolute values


if __name__ == "__main__":
    for name, model, side in (("attention", attentive(), 16), ("operations", operating(), 8)):
        pixels = np.random.default_rng(1).integers(0, 256, (2, side, side, 3)).astype("float32")
        outputs = model.predict(pixels, verbose=0)
        outputs = outputs if isinstance(outputs, dict) else {"top": outputs}
        np.savez_compressed(HERE / f"{name}.npz", pixels=pixels.astype("uint8"), **outputs)
        model.save(HERE / f"{name}.h5")
        if name == "attention":
            model.save(HERE / f"{name}.keras")
