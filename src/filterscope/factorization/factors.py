"""A layer's values as sums of few directions: scikit-learn's non-negative matrix factorization."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from filterscope.errors import ArgumentError

EXTRA = "pip install 'filterscope[concepts]'"
SMALL = 0.05  # of the sum of absolute values: as much below 0 as SiLU and GELU leave is taken as 0
STEPS = 400  # of the factorization


@dataclass(frozen=True, eq=False)
class Factors:
    """values = weights . directions + rest. directions: (count, channels), of length 1, not negative, the one with the
    largest share first; weights: (rows, count). share: of each concept in what all explain, (count,); they add up to 1.
    explained: the share of the values' squares that is explained."""

    directions: np.ndarray
    weights: np.ndarray
    share: np.ndarray
    explained: float
    solver: Any

    def weights_of(self, values: np.ndarray) -> np.ndarray:
        """The weights of further rows, (rows, channels) to (rows, count)."""
        found: np.ndarray = self.solver.transform(np.maximum(values, 0).astype(np.float32))
        return found


def import_nmf() -> Any:
    """scikit-learn's NMF, or ArgumentError that names the extra."""
    try:
        from sklearn.decomposition import NMF
    except ImportError:
        raise ArgumentError(f"concepts are found by scikit-learn: {EXTRA}") from None
    return NMF


def require_positive(negative: float, whole: float, layer: str) -> float:
    """The share of a layer's absolute values that is below 0, which counts as 0 where it is small; ArgumentError else.

    negative, whole: sums of absolute values, below 0 and all.
    """
    share = negative / whole if whole else 0.0
    if share > SMALL:
        raise ArgumentError(
            f"{share:.0%} of the values of {layer} (by size) are below 0, and concepts are found by a non-negative "
            f"factorization, which takes at most {SMALL:.0%} as 0: name a layer behind its activation, as a ReLU's or a "
            "GELU's output"
        )
    return share


def factorize(values: np.ndarray, count: int, seed: int = 0) -> Factors:
    """The factorization of values (rows, channels), of which what is below 0 counts as 0; ArgumentError for more concepts
    than rows or channels, and where there is nothing to factorize."""
    rows, channels = values.shape
    if not 1 <= count <= min(rows, channels):
        raise ArgumentError(
            f"count is from 1 to {min(rows, channels)}, for {rows} crops of {channels} channels (got {count})"
        )
    positive = np.maximum(values, 0).astype(np.float32)
    if not positive.any():
        raise ArgumentError("nothing in the images excites the layer: all its values are 0")
    solver = import_nmf()(count, init="nndsvda", random_state=seed, max_iter=STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the steps were not enough to come to rest
        weights = solver.fit_transform(positive)
    found = solver.components_.astype(np.float32)
    lengths = np.linalg.norm(found, axis=1)
    lengths = np.where(lengths > 0, lengths, 1).astype(np.float32)
    mass = weights.sum(0) * lengths
    order = np.argsort(-mass, kind="stable")
    # scaled in the solver too, so that further rows get weights of the same unit
    solver.components_ = (found / lengths[:, None])[order]
    weights = (weights * lengths)[:, order].astype(np.float32)
    rest = positive - weights @ solver.components_
    return Factors(
        solver.components_, weights, mass[order] / max(float(mass.sum()), 1e-12),
        1 - float(np.square(rest, dtype=np.float64).sum() / np.square(positive, dtype=np.float64).sum()), solver,
    )  # fmt: skip
