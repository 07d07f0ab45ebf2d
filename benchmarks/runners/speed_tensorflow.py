"""The blog's algorithm, written plainly for Keras 3 on TensorFlow in graph mode, float32, one filter after another.

Gradient of the channel's mean, minus Lp norm and total variation, over its root mean square, in one tf.function;
RMSprop in NumPy, as the blog has it. Run by speed.py in TensorFlow's own interpreter, with a plan (speed_plan).
"""

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

from speed_plan import Clock, convolutions, random_vgg16, read, say


def network(plan):
    model = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(plan["size"], plan["size"], 3)
    )
    tensors = load_file(plan["weights"]) if plan["weights"] else random_vgg16()
    for name, _, _ in convolutions():
        if f"{name}/kernel" in tensors:
            model.get_layer(name).set_weights([tensors[f"{name}/kernel"], tensors[f"{name}/bias"]])
    return keras.Model(model.inputs, model.get_layer(plan["layer"]).output)


def gradient_of(model):
    @tf.function
    def gradient(x, unit):
        count = tf.cast(tf.size(x), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.reduce_mean(tf.gather(model(x, training=False), unit, axis=-1))
            lp = tf.reduce_sum(tf.abs(x) ** 6) ** (1 / 6) / count
            across, down = x[:, :-1, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, :-1]
            variation = tf.reduce_sum(across**2 + down**2) / count
            loss = score - 10 * lp - 10 * variation
        g = tape.gradient(loss, x)
        return score, g / (tf.sqrt(tf.reduce_mean(g**2)) + 1e-7)

    return gradient


def main():
    plan = read()
    if plan["threads"]:
        tf.config.threading.set_intra_op_parallelism_threads(plan["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(plan["threads"])
    gradient, clock = gradient_of(network(plan)), Clock(plan)
    generator = np.random.default_rng(0)
    for unit in plan["units"]:
        x = ((generator.random((1, plan["size"], plan["size"], 3)) - 0.5) * 20 + 128).astype(np.float32)
        cache = np.zeros_like(x)
        index = tf.constant(unit)
        clock.begin()
        for _ in range(plan["steps"] + plan["warm"]):
            score, g = gradient(tf.constant(x), index)
            g = g.numpy()
            cache = 0.95 * cache + 0.05 * g**2
            x += g / np.sqrt(cache + 1e-7)
            clock.tick()
        clock.end()
    say(seconds=clock.spans, score=float(score))


if __name__ == "__main__":
    main()
