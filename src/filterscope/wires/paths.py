"""The linear path before a layer: what lies between it and the activations whose values reach it linearly.

Whether an operation is linear is measured, not looked up: f(a + b) - f(0) has to be the sum of f(a) - f(0) and
f(b) - f(0). So convolutions, batch norms, additions, paddings and whatever a person's own code does count alike. A pool of
the largest value stands for the mean over the same window, as in Voss et al. 2021, "Visualizing Weights".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from filterscope.errors import TargetError
from filterscope.networks.keras.layers.reshaping import GlobalPool
from filterscope.networks.network import Network
from filterscope.networks.pytorch.channels import operation
from filterscope.networks.pytorch.layer_table import ACTIVATIONS
from filterscope.networks.pytorch.layout import View
from filterscope.sides import sides_of

CLOSE = 1e-3  # of the largest value: float32 adds up long sums no better
Values = dict[fx.Node, Any]


@dataclass(frozen=True)
class Source:
    """A layer whose values reach another one linearly: its name, the node that has the values, and the module that makes
    (B, C, H, W) or (B, units) of them, None where they are that already."""

    layer: str
    node: fx.Node
    view: nn.Module | None = None


class LinearPath:
    """The linear path before a layer of a network, from `sources` on.

    Raises TargetError where there is none: the layer is not linear itself, or nothing but the picture lies before it.
    """

    def __init__(self, network: Network, layer: str):
        self.network, self.layer = network, network.layer(layer)
        network.part(layer)  # its weights are loaded
        self.nodes = {node.name: node for node in network.graph.graph.nodes}
        self.end = self.nodes[self.layer.linear]
        self.run = fx.Interpreter(_with_mean_pools(network.graph).eval(), graph=network.graph.graph)
        self.values = self._values()
        self.between: set[fx.Node] = set()  # the nodes of the path, its end among them
        self.sources = [self._source(node) for node in self._begins()]

    @cached_property
    def order(self) -> list[fx.Node]:
        """The nodes that the layer needs, in the order in which they are computed."""
        needed, todo = set(), [self.end]
        while todo:
            node = todo.pop()
            if node not in needed:
                needed.add(node)
                todo.extend(node.all_input_nodes)
        return [node for node in self.network.graph.graph.nodes if node in needed]

    def at(self, given: Mapping[fx.Node, Tensor]) -> Tensor:
        """The layer's values before its activation where the sources have those given."""
        values: Values = {**self.values, **given}
        for node in self.order:
            if node in self.between and node not in given:
                values[node] = self._value(node, values)
        found: Tensor = values[self.end]
        return found

    def seen(self, source: Source, values: Tensor) -> Tensor:
        """What a source's node has, as its layer's view of it: (B, C, H, W) or (B, units)."""
        found: Tensor = values if source.view is None else source.view(values, self.values[self.order[0]])
        return found

    def _value(self, node: fx.Node, values: Values) -> Any:
        given: Any = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
        args, kwargs = given
        if node.op == "call_function" and operation(node) == "max_pool2d":
            return _mean_pool(*args, **kwargs)
        return getattr(self.run, node.op)(node.target, args, kwargs)

    def _values(self) -> Values:
        """Every node's value for a grey picture of the network's own size."""
        network = self.network
        values: Values = {}
        picture = torch.full((1, network.input.channels, *sides_of(network.input.size)), 128.0)
        with torch.no_grad():
            for node in self.order:
                given = network.input.preprocess(picture)
                values[node] = given if node.op == "placeholder" else self._value(node, values)
        return values

    def _follows(self, node: fx.Node) -> list[fx.Node]:
        """The inputs of a node that depend on the picture, not on its size alone."""
        return [n for n in node.all_input_nodes if n in self._of_picture]

    @cached_property
    def _of_picture(self) -> set[fx.Node]:
        found: set[fx.Node] = set()
        for node in self.order:
            depends = node.op == "placeholder" or any(n in found for n in node.all_input_nodes)
            if depends and any(map(_is_number, tree_leaves(self.values[node]))):
                found.add(node)
        return found

    def _begins(self) -> list[fx.Node]:
        """The nodes at which the path begins, in the network's order."""
        if self.end.op == "placeholder" or not self._is_linear(self.end):
            raise TargetError(f"{self.layer.name} has no linear path before it: {self._why(self.end)}")
        found: set[fx.Node] = set()
        todo = [self.end]
        while todo:
            node = todo.pop()
            self.between.add(node)
            for before in self._follows(node):
                if before.op == "placeholder" or before in self.between | found:
                    continue
                (todo.append if self._is_linear(before) else found.add)(before)
        if not found:
            raise TargetError(
                f"{self.layer.name} has no layer before it: its linear path begins at the picture "
                f"(filterscope kernels {self.network.name} {self.layer.name} draws its weights)"
            )
        return [node for node in self.order if node in found]

    def _why(self, node: fx.Node) -> str:
        module = self._module(node)
        kind = type(module).__name__ if module is not None else operation(node) or "the network's input"
        return f"{kind} is not linear"

    def _is_linear(self, node: fx.Node) -> bool:
        inputs = self._follows(node)
        if not inputs:
            return node.op != "placeholder"
        generator = torch.Generator().manual_seed(0)
        one, two = ({n: _noise(self.values[n], generator) for n in inputs} for _ in range(2))
        both = {n: _both(one[n], two[n]) for n in inputs}
        none = {n: tree_map(lambda v: torch.zeros_like(v) if _is_number(v) else v, one[n]) for n in inputs}
        with torch.no_grad():
            found = [tree_leaves(self._value(node, self.values | given)) for given in (none, one, two, both)]
        return all(_adds_up(*leaves) for leaves in zip(*found, strict=True) if _is_number(leaves[0]))

    def _source(self, node: fx.Node) -> Source:
        """The layer whose values a node has; TargetError where there is none."""
        behind = [node]
        if operation(node) in ACTIVATIONS and len(node.all_input_nodes) == 1:
            behind.append(
                node.all_input_nodes[0]
            )  # an activation that is no layer: its units are the layer's before it
        rows = [row for row in self.network.layers.values() if row.kind != "InputLayer"]
        for own in behind if isinstance(self.values[node], Tensor) else ():
            for row in rows:
                named = self.nodes[row.output]
                if named is own:
                    return Source(row.name, node)
                view = self._module(named)
                if isinstance(view, View) and named.args[0] is own:
                    return Source(row.name, node, view)
        raise TargetError(
            f"the linear path before {self.layer.name} begins at {operation(node) or node.target}, which is no layer "
            f"of {self.network.name}: what feeds it has no units"
        )

    def _module(self, node: fx.Node) -> nn.Module | None:
        found: nn.Module | None = self.run.fetch_attr(str(node.target)) if node.op == "call_module" else None
        return found


def _both(one: Any, two: Any) -> Any:
    return tree_map(lambda a, b: a + b if _is_number(a) else a, one, two)


def _adds_up(none: Tensor, one: Tensor, two: Tensor, both: Tensor) -> bool:
    expected, found = (one - none) + (two - none), both - none
    return bool((expected - found).abs().max() <= CLOSE * found.abs().max() + 1e-12)


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0


def _noise(value: Any, generator: torch.Generator) -> Any:
    return tree_map(lambda v: torch.randn(v.shape, generator=generator) if _is_number(v) else v, value)


def _with_mean_pools(module: nn.Module) -> nn.Module:
    """The same modules, but that pools of the largest value give the mean."""
    if isinstance(module, nn.MaxPool2d):
        how = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
        return nn.AvgPool2d(*how, count_include_pad=False)
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return nn.AdaptiveAvgPool2d(module.output_size)
    twin = copy.copy(module) if not isinstance(module, fx.GraphModule) else nn.Module()
    if isinstance(module, GlobalPool):
        vars(twin)["kind"] = "mean"
    elif getattr(module, "value", None) == float("-inf"):  # around a pool of the largest value
        vars(twin)["value"] = 0.0
    for tensors in ("_parameters", "_buffers"):
        twin.__dict__[tensors] = dict(module.__dict__[tensors])
    twin.__dict__["_modules"] = {n: m and _with_mean_pools(m) for n, m in module._modules.items()}
    return twin


def _mean_pool(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """The mean over the windows of `F.max_pool2d`."""
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad=False)
