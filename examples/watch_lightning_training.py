"""Train a small Lightning module on scikit-learn's digits and watch its units meanwhile.

    python examples/watch_lightning_training.py
    open lightning-training/index.html

At the end it trains once more without the callback and compares: losses and weights are the same to the bit.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import filterscope as fs

EPOCHS, STEPS = 8, 64  # of the training; of each picture
TARGETS = ["net.relu2:0-5", "net.digit:*"]


class Digits(lightning.LightningModule):
    """A small network with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.net = nn.Sequential()
        for name, part in {
            "conv1": nn.Conv2d(1, 16, 3, padding=1),
            "norm": nn.BatchNorm2d(16),
            "relu1": nn.ReLU(),
            "pool": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(16, 32, 3, padding=1),
            "relu2": nn.ReLU(),
            "flat": nn.Flatten(),
            "dropout": nn.Dropout(0.3),
            "digit": nn.Linear(512, 10),
        }.items():
            self.net.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.003)


def train(x: Tensor, y: Tensor, callbacks: list[Any]) -> Digits:
    """A module trained from one seed."""
    lightning.seed_everything(0, verbose=False)
    module = Digits()
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="auto", devices=1, logger=False, callbacks=callbacks,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True))
    return module


def main(out: str = "lightning-training") -> None:
    """Train with the callback and without, and compare."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    digits = load_digits()
    x, y = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target)
    look = fs.lightning.VisualizeUnits(
        TARGETS, out=out, images=x[:256], steps=STEPS,
        input={"range": (0, 1), "size": 8, "classes": [str(i) for i in range(10)]},
    )  # fmt: skip
    began = time.perf_counter()
    watched = train(x, y, [look])
    print(f"{EPOCHS} epochs in {time.perf_counter() - began:.0f} s, watched")
    plain = train(x, y, [])
    weights = zip(watched.state_dict().values(), plain.state_dict().values(), strict=True)
    if watched.losses != plain.losses or not all(torch.equal(a, b) for a, b in weights):
        sys.exit("the training with pictures differs from the one without")
    print(f"{len(plain.losses)} losses, the same to the bit without pictures")
    print(f"open {Path(look.folder) / 'index.html'}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
