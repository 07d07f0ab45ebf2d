"""Adapters: a real SummaryWriter; stand-ins for Weights & Biases and MLflow, whose calls are those of their manuals."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from filterscope.epochs.loggers import as_logger
from filterscope.errors import ArgumentError

IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(tmp_path):
    """What was written is read again by TensorBoard itself."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        as_logger(writer)("conv1:3", IMAGE, 7)
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    (event,) = found.Images("filterscope/conv1:3")
    assert (event.step, event.width, event.height) == (7, 4, 4)


def stand_in(monkeypatch, name: str, **members) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_wandb(monkeypatch):
    """The module, or a run: an image with its caption, the epoch beside it, no step of W&B's own."""
    said = []
    wandb = stand_in(
        monkeypatch, "wandb", log=said.append, Image=lambda image, caption: (image.shape, caption)
    )
    run = type(
        "Run", (), {"__module__": "wandb.sdk.wandb_run", "log": lambda self, values: said.append(values)}
    )()
    for given in (wandb, run):
        as_logger(given)("conv1:3", IMAGE, 7)
    assert said == 2 * [{"filterscope/conv1:3": ((4, 4, 3), "conv1:3, epoch 7"), "filterscope/epoch": 7}]


def test_mlflow(monkeypatch):
    """The module, for its active run; a key of letters that MLflow takes."""
    said = []
    mlflow = stand_in(monkeypatch, "mlflow", log_image=lambda image, key, step: said.append((key, step)))
    as_logger(mlflow)("inner/conv1:3", IMAGE, 7)
    assert said == [("filterscope/inner.conv1.3", 7)]


def test_loggers_of_lightning():
    """What they write with; MLflow's client with the run's id; one that takes no pictures is left out."""
    said = []
    writer = SimpleNamespace(
        add_image=lambda tag, image, step, dataformats: said.append((tag, step, dataformats))
    )
    client = SimpleNamespace(log_image=lambda run, image, key, step: said.append((run, key, step)))
    kinds: list[dict] = [
        {"experiment": writer},
        {"experiment": client, "run_id": "r1"},
        {"experiment": object()},
    ]
    loggers = [type("Logger", (), {"__module__": "lightning.pytorch.loggers", **k})() for k in kinds]
    as_logger(loggers)("conv1:3", IMAGE, 7)
    assert said == [("filterscope/conv1:3", 7, "HWC"), ("r1", "filterscope/conv1.3", 7)]


def test_any_function_and_none():
    """A function is one; None is none; anything else is refused."""
    said = []
    as_logger([lambda *told: said.append(told), None])("conv1:3", IMAGE, 7)
    assert said[0][0::2] == ("conv1:3", 7)
    assert as_logger(None) is None
    with pytest.raises(ArgumentError, match=r"log takes a SummaryWriter.*got 'runs'"):
        as_logger("runs")
