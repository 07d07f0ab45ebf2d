"""Train a small Keras network on scikit-learn's digits and watch its units meanwhile, on any backend of Keras.

    KERAS_BACKEND=torch python examples/watch_keras_training.py         # or jax, tensorflow
    open keras-training/index.html

At the end it trains once more without the callback and compares: losses and weights are the same to the bit.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras  # after the choice of its backend
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import filterscope as fs

EPOCHS, STEPS = 8, 64  # of the training; of each picture
TARGETS = ["conv2:0-5", "digit:*"]


def train(x: np.ndarray, y: np.ndarray, callbacks: list[Any]) -> tuple[keras.Model, list[float]]:
    """A network trained from one seed, and its losses."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    found = model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    return model, found.history["loss"]


def main(out: str = "keras-training") -> None:
    """Train with the callback and without, and compare."""
    digits = load_digits()
    x, y = (digits.images * (255 / 16)).round().astype("uint8")[..., None], digits.target
    look = fs.keras.VisualizeUnits(TARGETS, out=out, images=x[:256], steps=STEPS)
    began = time.perf_counter()
    watched, losses = train(x, y, [look])
    print(
        f"Keras on {keras.backend.backend()}: {EPOCHS} epochs in {time.perf_counter() - began:.0f} s, watched"
    )
    plain, others = train(x, y, [])
    weights = zip(watched.get_weights(), plain.get_weights(), strict=True)
    if losses != others or not all(np.array_equal(a, b) for a, b in weights):
        sys.exit("the training with pictures differs from the one without")
    print(f"losses {losses[0]:.4f} to {losses[-1]:.4f}, the same to the bit without pictures")
    print(f"open {Path(look.folder) / 'index.html'}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
