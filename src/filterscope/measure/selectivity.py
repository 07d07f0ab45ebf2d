"""How selective a unit is, from its activations over natural images: by class, and by image.

**Selectivity** is the share of the unit's activation on its best class: with m_c the mean over the images of class c of the
positive part of the activation, max(m) / sum(m). It is 1 of a unit that one class alone excites and 1 / classes of one
that all excite alike. (The class selectivity index of Morcos et al. 2018, "On the importance of single directions for
generalization", compares the best class with the mean of the others instead: (m_max - m_rest) / (m_max + m_rest).)

**Sparsity** is that of Treves and Rolls 1991 as Vinje and Gallant 2000 scale it ("lifetime sparseness"): with r the positive
part of the activations over n images, (1 - mean(r)^2 / mean(r^2)) / (1 - 1/n). It is 0 of a unit that all images excite
alike and 1 of one that a single image excites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_CLASSES = 10  # of each unit, those that excite it most
BEST_OF_CLASS = 9  # images of each of these that are kept


@dataclass(frozen=True)
class ByClass:
    """The classes that excite each unit most, and their best images.

    order: (units, C), numbers of classes, best first; C is `MOST_CLASSES` or all that there are. means: (units, C), the mean
    of the positive part of the activation on each. top: (units, C, K), numbers of images, best first, -1 where the class has
    fewer; top_values: their activations. selectivity: (units,), NaN where nothing excites the unit or there is one class.
    """

    order: np.ndarray
    means: np.ndarray
    top: np.ndarray
    top_values: np.ndarray
    selectivity: np.ndarray


def folder_classes(names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The classes of images by the folders that they lie in: the classes' names, sorted, and each image's number of one.

    names: of the images within their folder, with "/". None where an image lies in no subfolder, or all in one.

    >>> folder_classes(["cat/1.png", "dog/a/2.png", "cat/3.png"])
    (('cat', 'dog'), array([0, 1, 0], dtype=int32))
    """
    folders = [name.partition("/")[0] if "/" in name.strip("/") and name[:1] != "/" else "" for name in names]
    classes = sorted({*folders})
    if "" in classes or len(classes) < 2:
        return None
    number = {name: i for i, name in enumerate(classes)}
    return tuple(classes), np.array([number[folder] for folder in folders], np.int32)


def by_class(values: np.ndarray, classes: np.ndarray) -> ByClass:
    """Which classes excite each unit most.

    values: (images, units), activations. classes: (images,), each image's class, -1 for none.
    """
    numbers = np.unique(classes[classes >= 0])
    positive = np.maximum(values, 0)
    means = np.stack([positive[classes == c].mean(0) for c in numbers])  # (classes, units)
    plain = np.stack([values[classes == c].mean(0) for c in numbers])
    ranked = np.lexsort((-plain, -means), axis=0)[
        :MOST_CLASSES
    ].T  # (units, C); of equal ones by the plain mean
    most = max(np.bincount(classes[classes >= 0]).max(), 1)
    top = np.full((*ranked.shape, min(BEST_OF_CLASS, int(most))), -1, np.int32)
    tops = np.full(top.shape, np.nan, np.float32)
    for place, c in enumerate(numbers):
        own = np.flatnonzero(classes == c)
        best = np.argsort(-values[own], axis=0, kind="stable")[: top.shape[2]].T  # (units, K)
        unit, rank = np.nonzero(ranked == place)
        top[unit, rank, : best.shape[1]] = own[best[unit]]
        tops[unit, rank, : best.shape[1]] = values[own[best[unit]], unit[:, None]]
    shares = class_selectivity(means)
    return ByClass(
        numbers[ranked].astype(np.int32), np.take_along_axis(means.T, ranked, 1), top, tops, shares
    )


def exciting(values: np.ndarray) -> np.ndarray:
    """Which of some images' activations are of images that count as a unit's examples, bool: all but those of exactly 0,
    which a unit behind its ReLU gives for an image that excites it nowhere. Before an activation 0 is a value like others.

    values: NaN stands for no image.

    >>> exciting(np.array([2.0, 0.0, -1.0, np.nan])).tolist()
    [True, False, True, False]
    """
    return np.asarray((values != 0) & ~np.isnan(values))


def class_selectivity(means: np.ndarray) -> np.ndarray:
    """Of each unit the share of its activation on its best class, (units,); NaN where there is none.

    means: (classes, units), the mean of the positive part of the activation on each class.

    >>> class_selectivity(np.array([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0]])).tolist()
    [0.75, 0.5, nan]
    """
    total = means.sum(0)
    known = (total > 0) & (len(means) > 1)
    return np.where(known, means.max(0) / np.where(total > 0, total, 1), np.nan).astype(np.float32)


def lifetime_sparsity(values: np.ndarray) -> np.ndarray:
    """Of each unit how unequally images excite it, (units,), 0 to 1; NaN where none does, or there is one image.

    values: (images, units), activations.

    >>> lifetime_sparsity(np.array([[1.0, 0.0, 0.0], [1.0, 2.0, -1.0]])).tolist()
    [0.0, 1.0, nan]
    """
    positive, count = np.maximum(values.astype(np.float64), 0), len(values)
    squares = (positive**2).mean(0)
    known = (squares > 0) & (count > 1)
    equal = positive.mean(0) ** 2 / np.where(squares > 0, squares, 1)
    return np.where(known, (1 - equal) / (1 - 1 / max(count, 2)), np.nan).clip(0, 1).astype(np.float32)
