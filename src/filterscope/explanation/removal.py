"""The check that shares mean something: the k channels that raise a target's value most are set to 0, or k by chance.

Set to 0 and not to a mean, because that is what a contribution is a first-order estimate of, because behind a ReLU it is
what a channel gives that detects nothing, and because it needs no other photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from filterscope.explanation.attribution import Value
from filterscope.explanation.behind import Behind

ORDERS = 5  # by chance
POINTS = 10  # of the curve, beside 0; closer together where few channels are removed


@dataclass(frozen=True)
class Removal:
    """A target's value while channels of a layer are removed.

    counts: how many channels are 0. top: the value without the channels that raise it most, in order. random: the mean
    of `orders` orders by chance. area: the mean over the share of removed channels (0 to 1, trapezoids) of random minus top,
    in the value's own unit: above 0 where the shares say what the value rests on.
    """

    counts: tuple[int, ...]
    top: tuple[float, ...]
    random: tuple[float, ...]
    area: float
    orders: int

    def record(self) -> dict[str, Any]:
        """For a report."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def check_removal(behind: Behind, value: Value, contributions: np.ndarray, *, seed: int = 0) -> Removal:
    """Remove the channels of a layer in the order of their contributions, (C,), largest first, and by chance."""
    channels = len(contributions)
    counts = counts_of(channels)
    chance = np.random.default_rng(seed)
    orders = [
        np.argsort(-contributions, kind="stable"),
        *(chance.permutation(channels) for _ in range(ORDERS)),
    ]
    curves = remove(behind, value, orders, counts)
    random = curves[1:].mean(0)
    return Removal(
        tuple(counts), tuple(curves[0].tolist()), tuple(random.tolist()), area_between(random, curves[0], counts), ORDERS
    )  # fmt: skip


def remove(behind: Behind, value: Value, orders: Sequence[np.ndarray], counts: Sequence[int]) -> np.ndarray:
    """The value without the first channels of each order: (orders, counts)."""
    channels = behind.activations.shape[1]
    rows = np.ones((len(orders), len(counts), channels), np.float32)
    for order, own in zip(orders, rows, strict=True):
        for count, keep in zip(counts, own, strict=True):
            keep[order[:count]] = 0
    keep = torch.from_numpy(rows.reshape(-1, channels)).to(behind.source.device)
    found: list[float] = []
    with torch.no_grad():
        for some in behind.batches(len(keep)):
            found += value(behind.outputs(behind.scaled(keep[some.start : some.stop]))).tolist()
    return np.array(found).reshape(len(orders), len(counts))


def counts_of(channels: int) -> list[int]:
    """How many channels are removed at each point of the curve.

    >>> counts_of(100)
    [0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100]
    """
    return sorted({round(channels * (i / POINTS) ** 2) for i in range(POINTS + 1)})


def area_between(upper: np.ndarray, lower: np.ndarray, counts: Sequence[int]) -> float:
    """The mean of upper minus lower over the share of removed channels, by trapezoids.

    >>> area_between(np.array([3.0, 2.0, 0.0]), np.array([3.0, 1.0, 0.0]), [0, 1, 2])
    0.5
    """
    apart, shares = upper - lower, np.array(counts) / counts[-1]
    return float(((apart[1:] + apart[:-1]) / 2 * np.diff(shares)).sum())
