"""Groups of channels that are active at the same places of a photograph, by non-negative factors.

The layer's activations as a matrix (places, channels) are approximated by the product of two without negative values: how
strong each group is at each place, and how much each channel is in each group (Olah et al. 2018, "neuron groups";
scikit-learn's NMF). A group is a direction among the channels: drawn as one, and its contribution to the target is the
group's own part of the activations times the gradient.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from filterscope.errors import ArgumentError
from filterscope.explanation.attribution import Attribution
from filterscope.objective import Direction

LEAST_WEIGHT = 0.05  # of a group's largest: channels that are less in it are left out of its direction
MOST_CHANNELS = 64  # of a direction
ITERATIONS = 400


@dataclass(frozen=True, eq=False)
class Group:
    """Channels of a layer that are active together.

    weights: (C,) of each channel, the largest 1. strength: (H, W), how strong the group is at each place. relevance: (H, W),
    its contribution from each place. contribution: their sum. share: of the sum of the sizes of all channels' contributions.
    """

    layer: str
    number: int
    weights: np.ndarray = field(repr=False)
    strength: np.ndarray = field(repr=False)
    relevance: np.ndarray = field(repr=False)
    contribution: float
    share: float

    @property
    def direction(self) -> Direction:
        """The group's channels as a target to draw: those of at least a twentieth of the largest weight, at most 64."""
        order = np.argsort(-self.weights, kind="stable")[:MOST_CHANNELS]
        kept = sorted(int(i) for i in order if self.weights[i] >= LEAST_WEIGHT)
        return Direction(self.layer, tuple((i, float(f"{self.weights[i]:.3g}")) for i in kept))

    @property
    def channels(self) -> list[int]:
        """The channels with the largest weights, at most eight, largest first."""
        return [
            int(i) for i in np.argsort(-self.weights, kind="stable")[:8] if self.weights[i] >= LEAST_WEIGHT
        ]


def find_groups(found: Attribution, count: int, *, seed: int = 0) -> list[Group]:
    """`count` groups of a layer's channels, those that contribute most first.

    Negative activations count as 0. ArgumentError where scikit-learn is missing, or the layer has fewer places or channels.
    """
    factorisation = import_nmf()
    channels, height, width = found.activations.shape
    most = min(channels, height * width)
    if count > most:
        raise ArgumentError(
            f"{found.layer} has {height * width} places and {channels} channels: at most {most} groups (got {count})"
        )
    matrix = np.maximum(found.activations, 0).reshape(channels, -1).T  # (places, channels)
    model = factorisation(count, init="nndsvda", max_iter=ITERATIONS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it stopped before it converged: the groups are a summary
        strengths = model.fit_transform(matrix)  # (places, groups)
    gradient = found.gradient.reshape(channels, -1)  # (channels, places)
    total = max(float(np.abs(found.contributions).sum()), 1e-30)
    groups = []
    for own, weights in zip(strengths.T, model.components_, strict=True):
        relevance = own * (weights @ gradient)
        scale = max(float(weights.max()), 1e-30)
        contribution = float(relevance.sum())
        groups.append(
            Group(
                found.layer, 0, weights / scale, (own * scale).reshape(height, width), relevance.reshape(height, width),
                contribution, contribution / total,
            )
        )  # fmt: skip
    groups.sort(key=lambda group: -group.contribution)
    return [replace(group, number=number) for number, group in enumerate(groups, 1)]


def import_nmf() -> Any:
    """scikit-learn's NMF, or ArgumentError that names the extra."""
    try:
        from sklearn.decomposition import NMF
    except ImportError:
        raise ArgumentError("groups need scikit-learn: pip install 'filterscope[concepts]'") from None
    return NMF
