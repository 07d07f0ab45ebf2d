"""Scaling that a Keras model does itself, right behind its input, as part of the input spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from filterscope.networks.keras.build import KerasGraph
from filterscope.networks.keras.layers.base import Affine
from filterscope.networks.keras.layers.normalization import Standardize, standardizing

Tensors = Callable[[str], Sequence[np.ndarray] | None]


def lift_preprocessing(graph: KerasGraph, tensors: Tensors, *, surely: bool = True) -> bool:
    """Take the Rescaling and Normalization layers right behind the input into the graph's input spec.

    A picture then keeps the 0 to 255 scale outside the network. The layers keep their names and outputs.
    `tensors` gives a layer's weights, None where there are none; with `surely` false those are what the weights
    are expected to be, and the layers go on to compute with whatever they turn out to be. Whether there were any.
    """
    chain = _chain(graph.graph)
    scale, offset = torch.ones(graph.input.channels), torch.zeros(graph.input.channels)
    steps: list[tuple[fx.Node, Tensor, Tensor]] = []
    for node in chain:
        affine = _affine(graph, node, tensors)
        if affine is None:
            break
        scale, offset = affine.get_buffer("scale") * scale, affine(offset[None])[0]
        steps.append((node, scale, offset))
    if not any(_scales(graph, node) for node, *_ in steps):
        return False
    if bool((scale == 0).any()) or not bool(scale.isfinite().all() and offset.isfinite().all()):
        return False
    mean, std = (tuple(float(f"{v:.6g}") for v in x.tolist()) for x in (-offset / scale, 1 / scale))
    graph.input = replace(graph.input, mean=mean, std=std)
    entry = chain[0].all_input_nodes[0]
    known = surely or not any(
        isinstance(graph.graph.get_submodule(str(n.target)), Standardize) for n, *_ in steps
    )
    for position, (node, own_scale, own_offset) in enumerate(steps):
        if not known and position:
            break
        # what the network is fed is scale * x + offset of the pixel values x
        module: nn.Module = Affine(own_scale * torch.tensor(std), own_scale * torch.tensor(mean) + own_offset)
        if known and node is steps[-1][0]:
            module = nn.Identity()
        setattr(graph.graph, str(node.target), module.eval())
        node.args = (entry,)
    graph.graph.recompile()
    return True


def _chain(graph: fx.GraphModule) -> list[fx.Node]:
    """The layers of scaling behind the input, as far as each alone takes what the one before it makes."""
    entry = next(n for n in graph.graph.nodes if n.op == "placeholder")
    chain: list[fx.Node] = []
    while len(entry.users) == 1:
        node = next(iter(entry.users))
        kinds = Affine | Standardize | nn.Identity  # an identity: augmentation, which does nothing here
        if node.op != "call_module" or not isinstance(graph.get_submodule(str(node.target)), kinds):
            break
        if sum(n.target == node.target for n in graph.graph.nodes) > 1:
            break  # a shared layer, which scales other values too
        chain.append(node)
        entry = node
    return chain


def _scales(graph: KerasGraph, node: fx.Node) -> bool:
    return not isinstance(graph.graph.get_submodule(str(node.target)), nn.Identity)


def _affine(graph: KerasGraph, node: fx.Node, tensors: Tensors) -> Affine | None:
    module = graph.graph.get_submodule(str(node.target))
    if isinstance(module, Affine):
        return module
    if isinstance(module, nn.Identity):
        return Affine(torch.ones(graph.input.channels), torch.zeros(graph.input.channels))
    if not isinstance(module, Standardize):
        return None
    layer = next(n for n, (child, _) in graph.slots.items() if child == node.target)
    values = tensors(layer)
    if values is None:
        return None
    mean, variance = (torch.as_tensor(np.asarray(v, dtype=np.float32)) for v in values[:2])
    return standardizing(mean, variance, module.invert)
