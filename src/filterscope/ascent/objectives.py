"""From what a layer says to one score per picture, (B,): what is maximised, and what is reported.

Picture i is for unit i of the batch, and its score depends on row i alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from filterscope.networks.network import Taps
from filterscope.target import Target


def own_unit(values: Tensor, units: Tensor) -> Tensor:
    """Of (B, C, H, W) or (B, C), each picture's own unit: (B, H, W) or (B,)."""
    return values[torch.arange(len(values), device=values.device), units]


def mean_at(values: Tensor, places: Sequence[tuple[int, int] | None]) -> Tensor:
    """Of (B, H, W) the mean over space or the value at a place, in float32; (B,) stays as it is."""
    values = values.float()
    if values.ndim == 1:
        return values
    if not any(places):
        return values.mean((1, 2))
    return torch.stack([v.mean() if at is None else v[at] for v, at in zip(values, places, strict=True)])


def activation(taps: Taps, units: Tensor, targets: Sequence[Target]) -> Tensor:
    """Each target's activation, (B,): the channel's mean over space after the layer's own activation, a
    neuron's own value, a class before its softmax."""
    values = taps.linear if taps.softmax is not None else taps.output
    return mean_at(own_unit(values, units), [t.at for t in targets])


def objective(taps: Taps, units: Tensor, targets: Sequence[Target], *, keep_softmax: bool) -> Tensor:
    """What is ascended, (B,): the activation, or the class's probability with `keep_softmax`.

    A unit that is 0 everywhere has no gradient (a dead ReLU): there the value before the activation is
    ascended, until the unit lives.
    """
    if keep_softmax and taps.softmax is not None:
        return own_unit(taps.softmax, units).float()
    score = activation(taps, units, targets)
    if taps.softmax is not None or taps.linear is taps.output:
        return score
    places = [t.at for t in targets]
    asleep = mean_at(own_unit(taps.output, units).detach().abs(), places) == 0
    return torch.where(asleep, mean_at(own_unit(taps.linear, units), places), score)
