"""The callbacks of Keras and Lightning: losses and weights to the bit as without them, whichever library trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.epochs.conftest import data

import filterscope as fs
from filterscope.epochs.callback import without
from filterscope.errors import ArgumentError, ImageError, RecipeError

QUICK = {"steps": 2, "size": 8, "recipe": "sharp"}
KERAS = """
import json, sys
import keras, numpy as np
import filterscope as fs

def trained(callbacks, epochs=3, model=None):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (24, 8, 8, 1)).astype("uint8"), np.arange(24) % 3
    layers = keras.layers
    model = model or keras.Sequential([
        keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.GaussianNoise(0.1),
        layers.Conv2D(4, 3, activation="relu", name="conv"), layers.BatchNormalization(), layers.Flatten(),
        layers.Dropout(0.3), layers.Dense(3, activation="softmax", name="classes"),
    ])
    if not getattr(model, "compiled", False):
        model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x, y, epochs=epochs, batch_size=8, verbose=0, callbacks=callbacks, validation_split=0.2)
    return model, history.history, x

def compared(out):
    plain, losses, x = trained([])
    look = fs.keras.VisualizeUnits(["conv:0-1", "classes:2"], every=2, out=out, images=x, steps=2, size=8, recipe="sharp")
    model, others, _ = trained([look])
    assert losses == others, (losses, others)
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), model.get_weights(), strict=True))
    return model, look
"""


def recorded(folder: Path) -> list[dict]:
    return json.loads((folder / "recording.json").read_text())["turns"]


def test_keras_on_torch(tmp_path, caplog):
    """The first weights, every second epoch and the last; a second `fit` of the model goes on after it."""
    space: dict = {}
    exec(KERAS, space)
    model, look = space["compared"](tmp_path / "out")
    turns = recorded(look.folder)
    assert [turn["epoch"] for turn in turns] == [0, 2, 3]
    assert [row["target"] for row in turns[0]["units"]] == ["conv:0", "conv:1", "classes:2"]
    assert [*turns[0]["dead"]] == ["conv"]
    space["trained"]([look], 2, model)
    assert [turn["epoch"] for turn in recorded(look.folder)] == [0, 2, 3, 5]
    assert look.folder == tmp_path / "out"
    assert not [line for line in caplog.messages if "no pictures" in line]


def test_an_error_does_not_end_a_fit(tmp_path, caplog):
    """A layer that is not there is said, and the model trained."""
    space: dict = {}
    exec(KERAS, space)
    look = fs.keras.VisualizeUnits("cnov:0", out=tmp_path / "out")
    _, losses, _ = space["trained"]([look], 1)
    assert len(losses["loss"]) == 1
    assert "this training has no pictures" in caplog.text
    assert "did you mean 'conv'" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ArgumentError, "whole number of epochs.*got 0"),
        ({"seconds": -1}, ArgumentError, "seconds is a number above 0"),
        ({"images": "nowhere"}, ImageError, "no folder of pictures"),
        ({"log": 3}, ArgumentError, "log takes"),
        ({"recipe": "shrap"}, RecipeError, "did you mean 'sharp'"),
        ({"stepz": 3}, ArgumentError, "did you mean 'steps'"),
    ],
)
def test_wrong_arguments_of_a_callback(options, error, message):
    """Are refused where it is made."""
    with pytest.raises(error, match=message):
        fs.keras.VisualizeUnits("conv:0", **options)


@pytest.mark.slow
def test_keras_on_jax(tmp_path):
    """The same in a process of its own, where JAX compiles."""
    pytest.importorskip("jax")
    code = f"{KERAS}\nassert keras.backend.backend() == 'jax'\ncompared(sys.argv[1])"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True, env=environment)
    assert [turn["epoch"] for turn in recorded(tmp_path / "out")] == [0, 2, 3]


@pytest.mark.filterwarnings("ignore")
def test_lightning(tmp_path):
    """With the trainer's own loggers; the module keeps its trainer."""
    lightning = pytest.importorskip("lightning.pytorch")
    from torch import nn

    class Digits(lightning.LightningModule):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            parts = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3))
            self.net = nn.Sequential(*parts, nn.Linear(144, 3))
            self.losses = []

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, number):
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.02)

    drawn = []

    class Logger(lightning.loggers.CSVLogger):  # type: ignore[name-defined]
        add_image = staticmethod(lambda name, image, step, dataformats: drawn.append((name, step)))

    def trained(*callbacks):
        lightning.seed_everything(0, verbose=False)
        module = Digits()
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(*data()), batch_size=8, shuffle=True
        )
        trainer = lightning.Trainer(
            max_epochs=3, accelerator="cpu", logger=Logger(tmp_path / "logs"), callbacks=list(callbacks),
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, loader)
        assert module._trainer is trainer
        return module

    look = fs.lightning.VisualizeUnits(
        ["net.0:0", "net.5:2"], every=2, out=tmp_path / "out", log=True, images=data()[0],
        input={"range": (0, 1), "size": 8}, **QUICK,
    )  # fmt: skip
    with_pictures, without_them = trained(look), trained()
    assert with_pictures.losses == without_them.losses
    pairs = zip(with_pictures.state_dict().values(), without_them.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [turn["epoch"] for turn in recorded(look.folder)] == [0, 2, 3]
    assert drawn == [(f"filterscope/{name}", e) for e in (0, 2, 3) for name in ("net.0:0", "net.5:2")]
    assert isinstance(look, lightning.Callback)


def test_without_lightning(monkeypatch):
    """The extra is named."""
    from filterscope import lightning

    for name in ("lightning.pytorch", "pytorch_lightning", "lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[lightning\]'"):
        lightning._callback.__wrapped__()
    with pytest.raises(AttributeError, match="no attribute 'VisualiseUnits'"):
        _ = lightning.VisualiseUnits


def test_an_attribute_is_away_for_a_while():
    """And back after an error too."""
    thing = type("Thing", (), {})()
    thing.trainer = np.zeros(3)
    before = thing.trainer

    def fail() -> None:
        with without(thing, "trainer"):
            assert thing.trainer is None
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert thing.trainer is before
