"""The cells of a map: the mean activation of those that lie in each, as a direction to draw, and its votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filterscope.objective import Direction
from filterscope.target import At

LEAST = 6  # activations in a cell that is drawn: more than a handful
NAMED = 5  # classes that are noted of each cell
RIDGE = 1.0  # of a mean channel with itself, added to the correlations: whitening them whole left pictures of rare channels
DIGITS = 3  # of a direction's weights


@dataclass(frozen=True)
class Level:
    """A grid of cells over a map.

    grid: cells a side. spots: (n, 2), column and row of each cell. counts: (n,). directions: (n, units), of length 1.
    classes, votes: (n, 5), the classes voted for most, most first, and their mean votes; (n, 0) without classes.
    """

    grid: int
    spots: np.ndarray
    counts: np.ndarray
    directions: np.ndarray
    classes: np.ndarray
    votes: np.ndarray

    @property
    def name(self) -> str:
        """What its folder and its layer in the record are called."""
        return f"grid-{self.grid:02d}"

    def goals(self, layer: str, at: At) -> list[Direction]:
        """What each cell's picture is for."""
        return [Direction(layer, _weights(vector), at=at, aligned=True) for vector in self.directions]


def make_level(
    grid: int, points: np.ndarray, activations: np.ndarray, votes: np.ndarray | None, whitening: np.ndarray
) -> Level:
    """The cells of a grid with enough activations, row by row. points: (N, 2) from 0 to 1."""
    columns, rows = np.minimum((points * grid).astype(np.int64), grid - 1).T
    numbers = rows * grid + columns
    counts = np.bincount(numbers, minlength=grid * grid)
    kept = np.flatnonzero(counts >= LEAST)
    means = (
        np.stack([activations[numbers == cell].mean(0) for cell in kept]) if kept.size else activations[:0]
    )
    directions = means.astype(np.float64) @ whitening
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-12
    own = (
        np.stack([votes[numbers == cell].mean(0) for cell in kept])
        if votes is not None and kept.size
        else None
    )
    order = np.zeros((len(kept), 0), np.int64) if own is None else np.argsort(-own, axis=1)[:, :NAMED]
    best = np.zeros(order.shape) if own is None else np.take_along_axis(own, order, 1)
    spots = np.stack([kept % grid, kept // grid], 1)
    return Level(
        grid, spots.astype(np.int32), counts[kept].astype(np.int32), directions.astype(np.float32),
        order.astype(np.int32), best.astype(np.float32),
    )  # fmt: skip


def whitening_of(activations: np.ndarray) -> np.ndarray:
    """What makes a direction of an activation: the inverse of the correlations between channels, (units, units), so that
    a channel that is active almost everywhere does not stand for everything (Carter et al. 2019)."""
    values = activations.astype(np.float64)
    correlations = values.T @ values / len(values)
    return np.linalg.inv(
        correlations
        + RIDGE * max(np.trace(correlations) / len(correlations), 1e-12) * np.eye(len(correlations))
    )


def _weights(vector: Sequence[float] | np.ndarray) -> tuple[tuple[int, float], ...]:
    """A direction's weights in few digits; those that hardly count are left out."""
    largest = max(np.abs(vector).max(), 1e-12)
    return tuple(
        (i, float(f"{v:.{DIGITS}g}"))
        for i, v in enumerate(np.asarray(vector, float))
        if abs(v) > 1e-3 * largest
    )
