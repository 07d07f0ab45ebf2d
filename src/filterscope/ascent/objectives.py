"""From what a layer says to one score per picture, (B,): what is maximised, and what is reported.

Picture i is for unit i of the batch, and its score depends on row i alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from filterscope.networks.network import Taps
from filterscope.target import Target

UNSEEN = 1e-6  # probabilities below this climb their logarithm


def own_unit(values: Tensor, units: Tensor) -> Tensor:
    """Of (B, C, H, W) or (B, C), each picture's own unit: (B, H, W) or (B,)."""
    return values[torch.arange(len(values), device=values.device), units]


def mean_at(values: Tensor, places: Sequence[tuple[int, int] | None]) -> Tensor:
    """Of (B, H, W) the mean over space or the value at a place, in float32; (B,) stays as it is.

    A place beyond the map is its last row or column: a smaller stage's map may round to fewer.
    """
    values = values.float()
    if values.ndim == 1:
        return values
    if not any(places):
        return values.mean((1, 2))
    rows, columns = values.shape[1] - 1, values.shape[2] - 1
    return torch.stack(
        [
            v.mean() if at is None else v[min(at[0], rows), min(at[1], columns)]
            for v, at in zip(values, places, strict=True)
        ]
    )


def activation(taps: Taps, units: Tensor, targets: Sequence[Target]) -> Tensor:
    """Each target's activation, (B,): the channel's mean over space after the layer's own activation, a
    neuron's own value, a class before its softmax."""
    return mean_at(own_unit(taps.output, units), [t.at for t in targets])


def objective(taps: Taps, units: Tensor, targets: Sequence[Target], *, keep_softmax: bool) -> Tensor:
    """What is ascended, (B,): the activation, or the class's probability with `keep_softmax`.

    A unit that is 0 everywhere has no gradient (a dead ReLU): there the value before the activation is
    ascended, until the unit lives. Likewise a class so improbable that its gradient drowns in the 1e-7 by which
    gradients are kept from 0 climbs the logarithm of its probability, whose gradient points the same way.
    """
    if keep_softmax and taps.softmax is not None:
        logarithm = own_unit(taps.output.float().log_softmax(1), units)
        probability = logarithm.exp()
        return torch.where(probability < UNSEEN, logarithm, probability)
    score = activation(taps, units, targets)
    if taps.linear is taps.output:
        return score
    places = [t.at for t in targets]
    asleep = mean_at(own_unit(taps.output, units).detach().abs(), places) == 0
    return torch.where(asleep, mean_at(own_unit(taps.linear, units), places), score)
