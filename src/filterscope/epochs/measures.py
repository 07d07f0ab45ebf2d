"""What is measured of a network at each turn: its units over photographs, its dead ReLUs, and what has changed.

**Change** from one turn to the next is half of what `comparison/pairs.py` measures between two networks, since of the
earlier one only its pictures are left:

    change = 1 - clip(reach, 0, 1),   reach = (a(earlier picture) - a(noise)) / (a(own picture) - a(noise))

a is the unit's activation in the network as it is now. 0: the earlier picture excites the unit as far as its own one
does; 1: no more than noise.

**Dead ReLUs** are units behind a ReLU, or another clamp at 0, whose output is 0 at every place of every photograph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, fx

from filterscope.ascent.engine.graphs import bounds_of, module_of
from filterscope.comparison.compare import measure_crossed
from filterscope.comparison.pairs import reach_of
from filterscope.measure.activations import images_together
from filterscope.networks.network import Network
from filterscope.networks.pytorch.layout import View
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures import Picture


@dataclass(frozen=True)
class Observed:
    """Over photographs: of each target's layer every unit's largest activation, (units,); of each layer that ends in a
    ReLU how many of its units are dead and how many it has."""

    best: Mapping[str, np.ndarray] = field(default_factory=dict)
    dead: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@in_our_torch
@torch.no_grad()
def observe(network: Network, layers: Sequence[str], pixels: Tensor) -> Observed:
    """Run the network over pictures, (N, C, H, W) in pixel values, in float32 on the processor."""
    relus = relu_layers(network)
    names = list(dict.fromkeys([*layers, *relus]))
    probe = network.probe(names).eval()
    best: dict[str, Tensor] = {}
    peak: dict[str, Tensor] = {}
    for some in torch.split(pixels, images_together(network, names, network.input.size)):
        for name, found in zip(names, probe(network.input.preprocess(some)), strict=True):
            flat = found.flatten(2) if found.ndim == 4 else found[..., None]  # (B, units, places)
            for kept, now in ((best, flat.mean(2).amax(0)), (peak, flat.amax(2).amax(0))):
                kept[name] = torch.maximum(kept[name], now) if name in kept else now
    return Observed(
        {name: best[name].numpy() for name in layers},
        {name: (int((peak[name] <= 0).sum()), len(peak[name])) for name in relus},
    )


def relu_layers(network: Network) -> list[str]:
    """The layers whose output is that of a ReLU, or of another clamp at 0, in order; each ReLU once."""
    nodes = {node.name: node for node in network.graph.graph.nodes}
    found: dict[fx.Node, str] = {}
    for name, row in network.layers.items():
        node = nodes[row.output]
        if isinstance(module_of(network.graph, node), View):
            node = node.all_input_nodes[0]
        bounds = bounds_of(network.graph, node)
        if bounds is not None and bounds.low == 0 and network.has_weights(name):
            found.setdefault(node, name)
    return list(found.values())


def measure_changes(
    network: Network, own: Sequence[Picture], before: Mapping[str, np.ndarray], *, device: str
) -> list[float | None]:
    """Each picture's change since the earlier one of the same name (see above); None where there is none, or where the
    picture has no gain over noise."""
    known = [(i, picture) for i, picture in enumerate(own) if picture.stem in before]
    earlier = [replace(picture, image=before[picture.stem]) for _, picture in known]
    crossed = measure_crossed(network, [picture for _, picture in known], earlier, device=device)
    changes: list[float | None] = [None] * len(own)
    for (i, picture), value in zip(known, crossed, strict=True):
        reach = reach_of(picture, value)
        changes[i] = None if reach is None else 1 - min(1.0, max(0.0, reach))
    return changes
