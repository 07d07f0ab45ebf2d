"""Leaving each picture of a batch its own channel of the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from filterscope.ascent.engine.graphs import add, is_addition, module_of, plain_padding, settled
from filterscope.ascent.engine.own import Own, OwnConvolution, OwnLinear, OwnTransposed
from filterscope.ascent.engine.places import Pair

# what leaves each channel to itself: modules that a narrowed layer may pass through
CHANNELWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.SiLU, nn.GELU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Softplus,
    nn.Hardswish, nn.Hardsigmoid, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
CHANNELWISE_FUNCTIONS = (
    F.relu,
    torch.relu,
    F.relu6,
    F.silu,
    F.gelu,
    F.elu,
    F.hardswish,
    torch.sigmoid,
    torch.tanh,
)

CHANNELWISE_METHODS = ("relu", "sigmoid", "tanh", "contiguous")


def narrowed(graph: fx.GraphModule, units: Sequence[int], *, flat: bool) -> bool:
    """Leave each picture only its own unit of every output: picture i, unit i; False, and nothing changed, where the
    outputs are not channel for channel what a convolution or matrix product gives. flat: outputs are (B, units)."""
    own = _Narrowing(graph, list(units), flat)
    ends = cast("tuple[fx.Node, ...]", own.end.args[0])
    if not all(own.can(node) for node in ends):
        return False
    own.end.args = (tuple(own.of(node) for node in ends),)
    settled(graph)
    return True


class _Narrowing:
    def __init__(self, graph: fx.GraphModule, units: list[int], flat: bool):
        self.graph, self.flat, self.units = graph, flat, units
        self.made: dict[fx.Node, fx.Node] = {}
        self.end = next(n for n in graph.graph.nodes if n.op == "output")

    def can(self, node: Any) -> bool:
        """Whether the node's own channel can be had without the others."""
        module = module_of(self.graph, node)
        if isinstance(module, nn.Conv2d):
            return plain_padding(module) is not None and module.groups == 1 and len(node.args) == 1
        if type(module) is nn.ConvTranspose2d:
            return module.groups == 1 and len(node.args) == 1 and not node.kwargs
        if isinstance(module, nn.Linear):
            return self.flat and type(module) is nn.Linear
        if is_addition(self.graph, node):
            return any(self.can(n) for n in node.args)
        return self._passes(node) and self.can(node.args[0])

    def _passes(self, node: Any) -> bool:
        if not isinstance(node, fx.Node) or not node.args or not isinstance(node.args[0], fx.Node):
            return False
        if node.op == "call_function":
            return node.target in CHANNELWISE_FUNCTIONS
        if node.op == "call_method":
            return node.target in CHANNELWISE_METHODS
        module = module_of(self.graph, node)
        return type(module) in CHANNELWISE or getattr(module, "channelwise", False)

    def of(self, node: fx.Node) -> fx.Node:
        if node not in self.made:
            self.made[node] = self._made(node)
        return self.made[node]

    def _made(self, node: fx.Node) -> fx.Node:
        module = module_of(self.graph, node)
        if not self.can(node):
            return self._call(Own(self._units()), node)
        if isinstance(module, nn.Linear):
            return self._call(OwnLinear(module, self._units()), node.args[0])
        if isinstance(module, nn.Conv2d):
            padding = cast(Pair, plain_padding(module))
            return self._call(OwnConvolution(module, self._units(), padding=padding), node.args[0])
        if isinstance(module, nn.ConvTranspose2d):
            return self._call(OwnTransposed(module, self._units()), node.args[0])
        before = {cast(fx.Node, n): self.of(cast(fx.Node, n)) for n in node.args}
        with self.graph.graph.inserting_before(self.end):
            return self.graph.graph.node_copy(node, lambda n: before[n])

    def _units(self) -> Tensor:
        return torch.tensor(self.units, device=next(self.graph.parameters()).device)

    def _call(self, module: nn.Module, x: Any) -> fx.Node:
        with self.graph.graph.inserting_before(self.end):
            return self.graph.graph.call_module(add(self.graph, module), (x,))
