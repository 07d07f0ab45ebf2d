"""Whether a unit's best examples show one thing: their clarity and polysemanticity in an encoder's features.

Both are those of Dreyer et al. 2025, "Mechanistic understanding and validation of large AI models with SemanticLens", of the
features v_1 ... v_n of the unit's n best natural images, each cropped to the unit's effective receptive field:

- **clarity** is the mean cosine of two different examples, (|mean of v_i / |v_i||^2 - 1/n) * n / (n - 1): 1 where all are
  the same, 0 where they are unrelated, at least -1 / (n - 1).
- **polysemanticity** is 1 minus the cosine of the centres of two clusters, found by k-means: 0 of a unit with one meaning.
  Where a cluster has fewer than two members, the examples are no two groups, and it is 1 minus the mean cosine between the
  first ten examples and the mean of all.
"""

from __future__ import annotations

import numpy as np

LEAST_EXAMPLES = 4  # of a unit: fewer make no two clusters
ROUNDS = 50  # of k-means at most, which ends where no example changes its cluster


def clarity(features: np.ndarray) -> float:
    """The mean cosine of two different rows, -1 / (n - 1) to 1.

    features: (n, D), n at least 2.

    >>> clarity(np.array([[1.0, 0.0], [2.0, 0.0]])), clarity(np.array([[1.0, 0.0], [0.0, 3.0]]))
    (1.0, 0.0)
    """
    count = len(features)
    mean = unit_length(features).mean(0)
    return float((mean @ mean - 1 / count) * count / (count - 1))


def polysemanticity(features: np.ndarray) -> float:
    """1 minus the cosine of the centres of two clusters of the rows, 0 to 2.

    features: (n, D), n at least 2.

    >>> polysemanticity(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    1.0
    """
    second = two_clusters(features)
    if min(second.sum(), (~second).sum()) < 2:
        some = unit_length(features[:10])
        return float(1 - (some @ unit_length(features.mean(0, keepdims=True))[0]).mean())
    centres = np.stack([features[~second].mean(0), features[second].mean(0)])
    return 1 - clarity(centres)


def two_clusters(features: np.ndarray) -> np.ndarray:
    """Which rows belong to the second of two clusters, (n,) bool: k-means from each row and the one farthest from it, of
    which the result with the smallest sum of squared distances is taken."""
    rows = features.astype(np.float64)
    best, least = np.zeros(len(rows), bool), np.inf
    squares = (rows**2).sum(1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    for first, second in dict.fromkeys(tuple(sorted((i, int(d.argmax())))) for i, d in enumerate(distances)):
        member, error = _k_means(rows, rows[[first, second]])
        if error < least - 1e-12:
            best, least = member, error
    return best


def _k_means(rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    """Which rows end in the second cluster, and the sum of squared distances from the clusters' centres."""
    member = np.zeros(len(rows), bool)
    for turn in range(ROUNDS):
        distances = ((rows[:, None] - centres) ** 2).sum(2)
        now = distances[:, 1] < distances[:, 0]
        if turn and (now == member).all():
            break
        member = now
        if member.all() or not member.any():
            break
        centres = np.stack([rows[~member].mean(0), rows[member].mean(0)])
    return member, float(((rows - centres[member.astype(int)]) ** 2).sum())


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Each row over its length; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1))
