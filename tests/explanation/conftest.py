"""Small networks of 16 px pictures with shortcuts, tokens and classes, and a photograph for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from filterscope.networks import open_network


class Shortcut(nn.Module):
    """conv1, a block with a shortcut around conv2, classes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv1(x)
        x = x + self.conv2(x)
        return self.head(self.down(x).mean((2, 3)))


class Tokens(nn.Module):
    """Patches as tokens, with a class token in front; a block with a shortcut; classes from the mean of the tokens."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, stride=4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 6))
        self.mlp = nn.Sequential(nn.Linear(6, 6), nn.GELU())
        self.last = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.mlp(x)
        return self.head(self.last(x).mean(1))


class FromOneToken(Tokens):
    """The same, but the classes come from the first token, which the others reach by one mixing of all."""

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = self.mlp(torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1))
        x = x + x.mean(1, keepdim=True)
        return self.head(self.last(x)[:, 0])


def opened(kind: type[nn.Module], **options):
    torch.manual_seed(3)
    return open_network(kind().eval(), size=16, range=(0, 1), **options)


@pytest.fixture(scope="module")
def shortcut():
    return opened(Shortcut)


@pytest.fixture(scope="module")
def tokens():
    return opened(Tokens)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(20, 16, 3), uint8."""
    return np.random.default_rng(1).integers(0, 256, (20, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pixels(photo) -> torch.Tensor:
    """(1, 3, 16, 16), as the networks take it."""
    return torch.from_numpy(photo[2:18]).permute(2, 0, 1)[None].float()
