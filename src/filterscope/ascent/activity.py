"""From which activation on a unit counts as active, behind activations that end in no exact 0.

A ReLU's unit is inactive at 0. GELU, SiLU, hard-swish, Mish, ELU and their like are almost flat far below zero instead, and
some of them fall before they rise: a unit there has nearly no gradient, or one that keeps it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from filterscope.concept import Concept
from filterscope.networks.layer import Taps
from filterscope.networks.network import Network
from filterscope.objective import Direction, Objective, is_latent
from filterscope.target import Target

SHARE = 0.1  # of the layer's usual activation: from there on a unit's own gradient is followed
VARIES = 0.02  # of the value before the activation: a slope below zero that changes by less is straight, as leaky ReLU's
TOGETHER = 8  # pictures that go through the whole layer at a time

ActiveFrom: TypeAlias = Mapping[str, Tensor]
"""By layer each picture's bound, (B,): its unit is inactive below it. 0 where it is inactive at 0 alone."""


@torch.no_grad()
def active_from(network: Network, goals: Sequence[Objective], pixels: Tensor, *, raw: bool) -> ActiveFrom:
    """A share of what the units of each layer give on average for the pictures (B, C, H, W) that the ascent starts from.

    raw: the network gets the pixel values as they are.
    """
    names = [
        name for name in dict.fromkeys(n for g in goals for n in g.layers) if _has_activation(network, name)
    ]
    if not names:
        return {}
    parts = network.parts(names)
    pixels = pixels.detach().float().cpu()
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for some in torch.split(pixels, TOGETHER):
        taps = parts.named(parts.graph.forward(some if raw else network.input.preprocess(some)))
        for name in names:
            found[name] += [_bound(taps[name], i) for i in range(len(some))]
    return {name: torch.stack(bounds) for name, bounds in found.items()}


def _has_activation(network: Network, name: str) -> bool:
    row = network.layer(name)
    return row.linear != (row.logits or row.output)


def _bound(taps: Taps, i: int) -> Tensor:
    """One picture's, (): 0 behind a ReLU, whose outputs for values below zero are 0, and where they are in proportion."""
    linear, output = taps.linear[i].float().flatten(), taps.output[i].float().flatten()
    below = linear < 0
    if linear.shape != output.shape or not below.any():
        return output.new_zeros(())
    values = output[below]
    slopes = values / linear[below]
    straight = slopes.max() - slopes.min() < VARIES
    ends = (values == 0).any() and not (values < 0).any()
    return output.new_zeros(()) if straight or ends else SHARE * output.abs().mean()


def bound_of(goal: Objective, bounds: ActiveFrom, i: int) -> float:
    """From which activation on picture i excites its goal; 0 where any other than 0 does, and for sums, cosines and
    directions away from a channel, whose value does not tell."""
    if isinstance(goal, Target) and goal.layer in bounds:
        return float(bounds[goal.layer][i])
    if is_latent(goal):
        return 0.0
    if isinstance(goal, Direction | Concept) and not goal.cosine and goal.layer in bounds:
        weights = [weight for _, weight in goal.vector]
        return float(bounds[goal.layer][i]) * max(weights) if min(weights) >= 0 else 0.0
    return 0.0


def excites(value: float, bound: float) -> bool:
    """Whether an activation is one of a unit that is active from `bound` on."""
    return value >= bound if bound > 0 else value != 0
