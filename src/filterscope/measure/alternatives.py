"""The two-alternative test of a unit's picture (Borowski et al. 2021, Zimmermann et al. 2024): given the picture, which of
two photographs excites the unit more, one of its best 2 % or one from around its median?

The answer is not a person's: it is the photograph that is more like the picture in the features of another network. The
share of right answers, over all pairs of the tested photographs, is 0.5 by chance.
"""

from __future__ import annotations

import numpy as np

BEST_SHARE = 0.02  # of the photographs, the best of which half of each pair is taken
MOST = 20  # photographs of each half that are tested: 400 pairs a unit
LEAST_PHOTOGRAPHS = 50  # of a set: below that there is no best 2 %
REFERENCES = 9  # of the unit's own best photographs, in the picture's stead


def choose_photographs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Of each unit the photographs of the test: numbers of its best 2 %, the best first, and of as many around its median,
    both (units, K), K at most `MOST`; of more than that an even choice.

    values: (photographs, units), activations. None for fewer photographs than `LEAST_PHOTOGRAPHS`.
    """
    count = len(values)
    if count < LEAST_PHOTOGRAPHS:
        return None
    ranked = np.argsort(-values, axis=0, kind="stable").T  # (units, photographs), the best first
    best = max(1, round(BEST_SHARE * count))
    tested = min(best, MOST)
    places = np.linspace(0, best - 1, tested).round().astype(int)
    middle = (count - tested) // 2
    return ranked[:, places].astype(np.int32), ranked[:, middle : middle + tested].astype(np.int32)


def share_right(picture: np.ndarray, best: np.ndarray, median: np.ndarray) -> float:
    """The share of pairs in which the picture is more like the photograph that excites the unit: 0 to 1, 0.5 by chance.

    picture: its features, (D,), best and median: those of the photographs, (K, D), all of unit length. The similarity is the
    cosine; of two equal ones half is counted.

    >>> share_right(np.array([1.0, 0.0]), np.array([[0.8, 0.6]]), np.array([[0.6, 0.8], [0.8, 0.6]]))
    0.75
    """
    difference = (best @ picture)[:, None] - (median @ picture)[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def ceiling(best: np.ndarray, median: np.ndarray, references: int = REFERENCES) -> float | None:
    """The share reached by the unit's own best photographs in the picture's stead: for each tested photograph the mean
    similarity to the `references` best others. None where there is no other.

    best, median: features, (K, D), of unit length, the best first.
    """
    if len(best) < 2:
        return None
    shares = []
    for i in range(len(best)):
        others = np.delete(best, i, axis=0)[:references]
        shares.append(share_right(others.mean(0), best[i : i + 1], median))
    return float(np.mean(shares))
