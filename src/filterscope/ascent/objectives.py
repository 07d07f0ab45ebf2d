"""From a layer's activations to one score per picture, (B,): what is maximised, and what is reported.

Picture i is for unit i of the batch, and its score depends on row i alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from filterscope.ascent.activity import ActiveFrom
from filterscope.ascent.likeness import LEAST_COSINE, resemblance
from filterscope.concept import Concept
from filterscope.errors import TargetError
from filterscope.networks.held import held
from filterscope.networks.layer import Taps
from filterscope.objective import Direction, Likeness, Objective, WholeLayer
from filterscope.target import Algebra, At, Sum, Target, row_and_column

References: TypeAlias = Mapping[str, Mapping[str, Taps]]
"""The layers' activations for the photographs that pictures are compared with: by role, then by layer, (B, ...)."""

LEAST_PROBABILITY = 1e-6  # below it the logarithm is ascended


def own_unit(values: Tensor, units: Tensor | int) -> Tensor:
    """Of (B, C, H, W) or (B, C), each picture's own unit: (B, H, W) or (B,). A number: the same unit of all."""
    if isinstance(units, int):
        return values[:, units]
    return values[torch.arange(len(values), device=values.device), units]


def mean_at(values: Tensor, places: Sequence[At | None]) -> Tensor:
    """Of (B, H, W) the mean over space or the value at a place, in float32; (B,) stays as it is.

    A place beyond the map is its last row or column: a smaller stage's map may round to fewer.
    """
    values = values.float()
    if values.ndim == 1:
        return values
    if not any(places):
        return values.mean((1, 2))
    rows, columns = values.shape[1] - 1, values.shape[2] - 1
    spots = [None if at is None else row_and_column(at) for at in places]
    return torch.stack(
        [
            v.mean() if at is None else v[min(at[0], rows), min(at[1], columns)]
            for v, at in zip(values, spots, strict=True)
        ]
    )


def activation(
    taps: Mapping[str, Taps],
    goals: Sequence[Objective],
    units: Tensor | None = None,
    *,
    references: References | None = None,
) -> Tensor:
    """Each picture's activation, (B,): of a channel the mean over space after the layer's own activation, of a
    neuron its own value, of a class its value before the softmax; of anything else its objective.

    `units` holds where each target's channel stands in the taps, where that is not its number. `references`
    holds by role the activations for the photographs, for objectives that compare with them.
    """
    targets = [g for g in goals if isinstance(g, Target)]
    if len(targets) < len(goals) or len({t.layer for t in targets}) > 1:
        return torch.stack(
            [_value(goal, _row(taps, i), _rows(references, i)) for i, goal in enumerate(goals)]
        )
    own = taps[targets[0].layer].output
    return mean_at(own_unit(own, _units(targets, units, own)), [t.at for t in targets])


def objective(
    taps: Mapping[str, Taps],
    goals: Sequence[Objective],
    units: Tensor | None = None,
    *,
    keep_softmax: bool = False,
    references: References | None = None,
    bounds: ActiveFrom | None = None,
) -> Tensor:
    """What is ascended, (B,): the activation, or the class's probability with `keep_softmax`.

    A unit that is 0 everywhere has no gradient (a dead ReLU), and one below its layer's bound (see activity.py) may
    have one that leads nowhere: there the value before the activation is ascended, until the unit is active.
    Likewise a class so improbable that its gradient drowns in the 1e-7 by which gradients are kept from 0 has the
    logarithm of its probability ascended, whose gradient points the same way.
    """
    targets = [g for g in goals if isinstance(g, Target)]
    if len(targets) < len(goals) or len({t.layer for t in targets}) > 1:
        values = [
            _value(
                goal, _row(taps, i), _rows(references, i), ascend=True, keep=keep_softmax, bounds=_bounds(bounds, i)
            )
            for i, goal in enumerate(goals)
        ]  # fmt: skip
        return torch.stack(values)
    at = taps[targets[0].layer]
    own = _units(targets, units, at.output)
    return _ascended(at, own, [t.at for t in targets], keep_softmax, (bounds or {}).get(targets[0].layer))


def _ascended(
    taps: Taps,
    units: Tensor | int,
    places: Sequence[At | None],
    keep_softmax: bool,
    bound: Tensor | None = None,
) -> Tensor:
    if keep_softmax and taps.softmax is not None:
        return _probability(taps, units, places)
    score = mean_at(own_unit(taps.output, units), places)
    if taps.linear is taps.output:
        return score
    inactive = mean_at(own_unit(taps.output, units).detach().abs(), places) == 0
    if bound is not None:
        inactive = torch.where(bound > 0, score.detach() < bound, inactive)
    return torch.where(inactive, mean_at(own_unit(taps.linear, units), places), score)


def _probability(taps: Taps, units: Tensor | int, places: Sequence[At | None]) -> Tensor:
    """What is ascended of a class's probability, or of a sigmoid's at a place or over a map."""
    values = taps.output.float()
    each = F.logsigmoid(own_unit(values, units)) if taps.sigmoid else own_unit(values.log_softmax(1), units)
    logarithm, probability = mean_at(each, places), mean_at(each.exp(), places)
    return torch.where(probability < LEAST_PROBABILITY, logarithm, probability)


def _value(
    goal: Algebra, taps: Mapping[str, Taps], known: References, *, ascend: bool = False, keep: bool = False,
    bounds: ActiveFrom | None = None,
) -> Tensor:  # fmt: skip
    """One picture's objective, (), from the taps of that picture alone."""
    if isinstance(goal, Sum):
        values = [
            weight * _value(t, taps, known, ascend=ascend, keep=keep, bounds=bounds if weight > 0 else None)
            for weight, t in goal.terms
        ]
        return torch.stack(values).sum()
    if isinstance(goal, Likeness):
        if goal.role not in known:
            raise TargetError(f"{goal} is compared with a photograph (the {goal.role}), and none was given")
        there = known[goal.role][goal.layer].output
        return resemblance(taps[goal.layer].output[0].float(), there[0].float(), goal.how)
    if isinstance(goal, WholeLayer):
        return taps[goal.layer].output.float().square().mean()
    if isinstance(goal, Direction | Concept):
        own = taps[goal.layer]
        along = _along(own.output.float(), goal)
        if not ascend or own.linear is own.output:
            return along
        active = _is_active(own.output.detach(), goal, (bounds or {}).get(goal.layer))
        return torch.where(active, along, _along(own.linear.float(), goal))
    assert isinstance(goal, Target)
    if not ascend:
        return mean_at(own_unit(taps[goal.layer].output, goal.unit), [goal.at])[0]
    return _ascended(taps[goal.layer], goal.unit, [goal.at], keep, (bounds or {}).get(goal.layer))[0]


def _is_active(values: Tensor, goal: Direction | Concept, bound: Tensor | None) -> Tensor:
    """Whether a channel of the direction is active, (): other than 0 at the direction's place or anywhere or, with a
    bound, one that is wanted more of above it; values (1, C, ...)."""
    weights, own = held(_weights(goal, values.shape[1]), values.float()), values[0]
    if goal.at is not None and own.ndim == 3:
        row, column = row_and_column(goal.at)
        own = own[:, min(row, own.shape[1] - 1), min(column, own.shape[2] - 1)]
    own = own.reshape(len(own), -1)  # (C, places)
    active = ((own != 0).any(1) & (weights != 0)).any()
    if bound is None:
        return active
    wanted = weights > 0
    above = ((own.float().mean(1) >= bound) & wanted).any() | ~wanted.any()
    return torch.where(bound > 0, above, active)


@lru_cache(maxsize=256)
def _weights(goal: Direction | Concept, channels: int) -> tuple[float, ...]:
    """The direction's weight of each channel; of a latent its encoder's."""
    if isinstance(goal, Concept):
        return goal.read_numbers.values
    weights = [0.0] * channels
    for channel, weight in goal.vector:
        weights[channel] = weight
    return tuple(weights)


def _along(values: Tensor, goal: Direction | Concept) -> Tensor:
    """The mean over space of each place's product with the direction, or of its cosine, or of a latent's value before its
    activation; values (1, C, ...)."""
    vector, bias = held(_weights(goal, values.shape[1]), values), 0.0
    if isinstance(goal, Concept):
        values, bias = rescaled(values, goal.read_numbers.rescale), goal.read_numbers.bias
    dot = torch.einsum("bc...,c->b...", values, vector) + bias
    aligned = isinstance(goal, Direction) and goal.aligned
    if goal.cosine or aligned:
        lengths = values.square().sum(1).clamp(min=1e-12).sqrt() * vector.norm().clamp(min=1e-12)
        dot = dot * (dot / lengths).clamp(min=LEAST_COSINE).square() if aligned else dot / lengths
    return mean_at(dot, [goal.at])[0]


def rescaled(values: Tensor, how: str) -> Tensor:
    """A layer's values (B, C, ...) as a sparse autoencoder's input is rescaled (see concept.Numbers): SAELens'
    `layer_norm` and `constant_norm_rescale`."""
    if how == "layer_norm":
        centred = values - values.mean(1, keepdim=True)
        return centred / (values.std(1, keepdim=True) + 1e-5)
    if how == "norm":
        lengths = values.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
        return values / lengths * float(values.shape[1] ** 0.5)
    return values


def _bounds(bounds: ActiveFrom | None, i: int) -> ActiveFrom:
    return {layer: bound[i] for layer, bound in (bounds or {}).items()}


def _rows(references: References | None, i: int) -> References:
    return {role: _row(taps, i) for role, taps in (references or {}).items()}


def _row(taps: Mapping[str, Taps], i: int) -> dict[str, Taps]:
    def one(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[i : i + 1]

    return {
        name: Taps(
            linear := t.linear[i : i + 1],
            linear if t.output is t.linear else t.output[i : i + 1],
            one(t.softmax),
            t.sigmoid,
        )
        for name, t in taps.items()
    }


def _units(targets: Sequence[Target], units: Tensor | None, values: Tensor) -> Tensor:
    return torch.tensor([t.unit for t in targets], device=values.device) if units is None else units


def likeness(values: Tensor, groups: Sequence[int]) -> Tensor:
    """How alike each picture's features are to those of its group's others, mean cosine of Gram matrices, (B,).

    values: a layer's output (B, C, H, W) or (B, units). groups: which pictures are of one unit. Olah et al. 2017,
    section "Diversity".
    """
    x = values.float()
    grams = torch.einsum("bip,bjp->bij", x.flatten(2), x.flatten(2)) if x.ndim == 4 else x[:, :, None]
    unit = torch.nn.functional.normalize(grams.flatten(1), dim=1)
    alike = [x.new_zeros(())] * len(x)
    for group in dict.fromkeys(groups):  # each by itself: a batch's size must not change rounding
        rows = [i for i, own in enumerate(groups) if own == group]
        own_rows = torch.stack([unit[i] for i in rows])
        cosines = (own_rows @ own_rows.T).sum(1) - 1
        for i, value in zip(rows, cosines / max(1, len(rows) - 1), strict=True):
            alike[i] = value
    return torch.stack(alike)
