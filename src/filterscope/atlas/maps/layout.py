"""Activations laid out on a plane, so that like ones lie near one another: UMAP, else PCA and t-SNE."""

from __future__ import annotations

import warnings

import numpy as np

from filterscope.errors import ArgumentError

EXTRA = "pip install 'filterscope[umap]' (or 'filterscope[concepts]', for t-SNE)"
NEIGHBOURS, LEAST_DISTANCE = 20, 0.01  # of UMAP, as in Carter et al. 2019's notebook
PARTS, PERPLEXITY = 50, 50.0  # principal components that t-SNE begins with, and its perplexity
OUTLIERS, MARGIN = 1.0, 0.1  # percent at each end that are moved in, and the room left for them


def choose_method() -> str:
    """ "umap" where it is installed, else "t-sne"; ArgumentError that names the extras where neither is."""
    import importlib.util as known

    if known.find_spec("umap") is not None:
        return "umap"
    if known.find_spec("sklearn") is not None:
        return "t-sne"
    raise ArgumentError(f"an activation atlas needs umap-learn or scikit-learn: {EXTRA}")


def lay_out(activations: np.ndarray, method: str, *, seed: int) -> np.ndarray:
    """Where each of (N, units) lies on a square, (N, 2) from 0 to 1: x and y."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of one thread for the sake of the seed, of numba, of threads of BLAS
        return normalized(_umap(activations, seed) if method == "umap" else _tsne(activations, seed))


def _umap(activations: np.ndarray, seed: int) -> np.ndarray:
    from umap import UMAP

    neighbours = min(NEIGHBOURS, len(activations) - 1)
    model = UMAP(
        n_components=2, n_neighbors=neighbours, min_dist=LEAST_DISTANCE, metric="cosine", random_state=seed % 2**32,
        n_jobs=1,
    )  # fmt: skip
    return np.asarray(model.fit_transform(activations), np.float64)


def _tsne(activations: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    lengths = np.linalg.norm(activations, axis=1, keepdims=True)
    unit = activations / np.where(lengths > 0, lengths, 1)  # whose squared distance is 2 - 2 cosine
    parts = min(PARTS, *unit.shape)
    reduced = PCA(parts, random_state=seed % 2**32).fit_transform(unit)
    perplexity = min(PERPLEXITY, (len(reduced) - 1) / 3)
    return np.asarray(
        TSNE(2, perplexity=perplexity, init="pca", random_state=seed % 2**32).fit_transform(reduced),
        np.float64,
    )


def normalized(points: np.ndarray) -> np.ndarray:
    """Points moved and scaled to a square from 0 to 1; outliers lie at its edge.

    >>> normalized(np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 7.0]])).tolist()[1]
    [0.5, 0.0]
    """
    low, high = np.percentile(points, OUTLIERS, axis=0), np.percentile(points, 100 - OUTLIERS, axis=0)
    room = MARGIN * (high - low)
    clipped = np.clip(points, low - room, high + room)
    clipped = clipped - clipped.min(0)
    spread = clipped.max(0)
    found: np.ndarray = clipped / np.where(spread > 0, spread, 1)
    return found
