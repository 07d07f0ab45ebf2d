"""The size that a network's table of positions was made for, where smaller pictures and spread maps run too."""

import pytest
import torch
from torch import nn

from filterscope import open_network


class Maps(nn.Module):
    """A table (1, C, H, W) or (1, H, W, C) added to the maps of its patches, cut to them or not."""

    def __init__(self, patch: int, sides: tuple[int, int], form: str):
        super().__init__()
        self.patch, self.form = nn.Conv2d(3, 8, patch, patch), form
        self.table = nn.Parameter(torch.randn(1, *sides, 8) if form == "last" else torch.randn(1, 8, *sides))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.patch(x)
        rows, columns = x.shape[-2:]
        if self.form == "last":
            x = (x.permute(0, 2, 3, 1) + self.table).permute(0, 3, 1, 2)
        else:
            x = x + (self.table[:, :, :rows, :columns] if self.form == "cut" else self.table)
        return self.head(x.relu().mean((2, 3)))


@pytest.mark.parametrize("form", ["whole", "last", "cut"])
@pytest.mark.parametrize(
    ("patch", "sides", "size"), [(8, (10, 40), (80, 320)), (2, (12, 48), (24, 96)), (14, (16, 16), 224)]
)
def test_a_map_of_positions(patch, sides, size, form):
    """Not the smallest picture, whose map of one place is spread, nor the largest square."""
    net = open_network(Maps(patch, sides, form), range=(0, 1))
    assert net.input.size == size
    assert not net.guessed


class RowsAndColumns(nn.Module):
    """One table of rows and one of columns."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.rows = nn.Parameter(torch.randn(1, 8, 6, 1))
        self.columns = nn.Parameter(torch.randn(1, 8, 1, 20))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head((self.patch(x) + self.rows + self.columns).relu().mean((2, 3)))


def test_tables_of_rows_and_of_columns():
    """Each tells one side."""
    assert open_network(RowsAndColumns(), range=(0, 1)).input.size == (24, 80)


class Tokens(nn.Module):
    """A table of a fixed number of tokens, behind the first `front` of them that the class token may have."""

    def __init__(self, places: int, form: str = "cut", front: int = 0):
        super().__init__()
        self.patch, self.form, self.front = nn.Conv2d(3, 8, 8, 8), form, front
        self.pe = nn.Parameter(torch.randn(1, places + front, 8))
        self.numbered = nn.Embedding(places, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        count = tokens.shape[1]
        if self.form == "numbered":
            tokens = tokens + self.numbered(torch.arange(count, device=x.device))
        else:
            tokens = tokens + (self.pe[:, self.front : self.front + count] if self.form == "cut" else self.pe)
        return self.head(self.norm(tokens).mean(1))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (lambda: Tokens(64, front=1), 64),
        (lambda: Tokens(144, front=2), 96),
        (lambda: Tokens(8 * 16, "whole"), (64, 128)),
        (lambda: Tokens(8 * 16, front=1), (64, 128)),
        (lambda: Tokens(64, "numbered"), 64),
    ],
)
def test_a_table_of_tokens(model, size):
    """Cut with an offset, spread or looked up by number; its name is no matter."""
    net = open_network(model(), range=(0, 1))
    assert net.input.size == size
    assert not net.guessed


def test_a_table_with_places_to_spare():
    """Long enough for anything, it tells no size; too short for the usual one, the largest that runs is a guess."""
    long, short = (open_network(Tokens(n), range=(0, 1)) for n in (5000, 23))
    assert (long.input.size, short.input.size) == (224, 32)
    assert long.guessed == short.guessed == ("size",)
