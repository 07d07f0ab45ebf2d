"""How much a class depends on each concept: Sobol's total indices, as CRAFT has them, or gradient times concept.

A picture's maps at the layer are taken apart into the concepts' weights at each place, u (H, W, count). `sobol`: each
concept is multiplied by a number from 0 to 1 everywhere; the total index is the share of the class value's variance in which
that number has a part (Jansen 1999's estimator; deel-ai/Craft, `craft_torch.py`, `estimate_importance`). `gradient`: the sum
over the places of u times the derivative of the class's value with respect to it, a first-order guess of what the class
would lose without the concept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from filterscope.factorization.factors import Factors
from filterscope.factorization.tail import Kept, Tail

How = Literal["sobol", "gradient", "none"]
HOWS: tuple[How, ...] = ("sobol", "gradient", "none")
DESIGNS = (
    16  # rows of a Sobol design; a class's value is computed (concepts + 1) times as often for each picture
)
TOGETHER = 32  # of these at a time


def importance(
    tail: Tail, pixels: Tensor, unit: int, factors: Factors, how: How, seed: int = 0
) -> np.ndarray:
    """Of each concept for a class, (count,), in one preprocessed picture (1, C, H, W)."""
    kept, maps = tail.run(pixels)
    shape = maps.shape[2:]
    places = maps[0].flatten(1).T.numpy() if maps.ndim > 2 else maps.numpy()
    weights = torch.from_numpy(factors.weights_of(places))  # (places, count)
    rows = torch.from_numpy(factors.directions)

    def as_maps(u: Tensor) -> Tensor:
        """(B, places, count) to (B, C, H, W)."""
        found = (u @ rows).transpose(1, 2)
        return found.reshape(len(u), -1, *shape) if len(shape) else found[..., 0]

    if how == "gradient":
        u = weights[None].clone().requires_grad_()
        with torch.enable_grad():
            value = tail.values(kept, as_maps(u))[0, unit]
            (gradient,) = torch.autograd.grad(value, u)
        return (u * gradient)[0].sum(0).detach().numpy()
    return _total_indices(tail, kept, weights, as_maps, unit, seed)


@torch.no_grad()
def _total_indices(
    tail: Tail, kept: Kept, weights: Tensor, as_maps: Callable[[Tensor], Tensor], unit: int, seed: int
) -> np.ndarray:
    count = weights.shape[1]
    masks = torch.from_numpy(sobol_design(count, DESIGNS, seed))  # (DESIGNS * (count + 1), count)
    values = [
        tail.values(kept, as_maps(weights[None] * some[:, None]))[:, unit]
        for some in torch.split(masks, TOGETHER)
    ]
    return total_indices(torch.cat(values).double().numpy(), count)


def sobol_design(count: int, rows: int, seed: int = 0) -> np.ndarray:
    """A design A of `rows` points in [0, 1]^count and, behind it, for each dimension A with that column of another design,
    (rows * (count + 1), count) float32. Both are Latin hypercubes: in each dimension one point in each of `rows` equal
    steps, which a few points of CRAFT's Halton sequence would not give."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(rows)[:, None], (1, 2 * count)), axis=0)
    both = ((order + rng.random(order.shape)) / rows).astype(np.float32)
    first, second = both[:, :count], both[:, count:]
    designs = [first]
    for i in range(count):
        mixed = first.copy()
        mixed[:, i] = second[:, i]
        designs.append(mixed)
    return np.concatenate(designs)


def total_indices(values: np.ndarray, count: int) -> np.ndarray:
    """Jansen's estimate of the total indices, (count,), from a function's values over `sobol_design`; 0 of a function that
    does not vary."""
    rows = values.reshape(count + 1, -1)
    variance = rows[0].var(ddof=1)
    if variance <= 0:
        return np.zeros(count)
    found: np.ndarray = np.square(rows[0] - rows[1:]).mean(1) / (2 * variance)
    return found


def mean_importance(found: Sequence[np.ndarray]) -> list[float]:
    """Over a class's pictures."""
    return [float(f"{value:.4g}") for value in np.mean(found, axis=0)]
