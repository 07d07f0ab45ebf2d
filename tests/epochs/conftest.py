"""A tiny torch classifier that is trained within milliseconds, with everything in it that is random or has a mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

QUICK = {"steps": 2, "size": 8, "recipe": "sharp", "input": {"range": (0, 1), "size": 8}}


def made(seed: int = 0) -> nn.Module:
    """Convolution, batch norm, ReLU, dropout, classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 3)
    )  # fmt: skip


def data() -> tuple[Tensor, Tensor]:
    """Pictures and labels, always the same."""
    generator = torch.Generator().manual_seed(7)
    return torch.rand(24, 1, 8, 8, generator=generator), torch.arange(24) % 3


@pytest.fixture
def train() -> Callable[..., list[float]]:
    """Trains a module for some epochs, calls `after(epoch)` behind each; the losses."""

    def run(model: nn.Module, epochs: int, after: Callable[[int], object] | None = None, first: int = 1):
        pictures, labels = data()
        optimizer, losses = torch.optim.Adam(model.parameters(), 0.02), []
        for epoch in range(first, first + epochs):
            model.train()
            for rows in torch.randperm(len(pictures)).split(12):
                loss = nn.functional.cross_entropy(model(pictures[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            if after is not None:
                after(epoch)
        return losses

    return run
