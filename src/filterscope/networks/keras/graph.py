"""A torch graph built layer by layer: nodes, their shapes at two sizes, what each value sees, and the layers' rows."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras.first import FromKerasAxes, InKerasAxes
from filterscope.networks.keras.inputs import Grey
from filterscope.networks.keras.layer_table import Row, Value
from filterscope.networks.keras.layers.base import Shape
from filterscope.networks.keras.layers.products import Built
from filterscope.networks.keras.shapes import require_sane, shapes_after, shapes_elsewhere
from filterscope.networks.layer import safe_attribute


@dataclass
class GraphBuilder:
    """A torch graph while it is built: its nodes with their shapes, and the rows of the layers so far."""

    root: nn.Module = field(default_factory=nn.Module, kw_only=True)
    graph: fx.Graph = field(default_factory=fx.Graph, kw_only=True)
    nodes: dict[str, fx.Node] = field(default_factory=dict, kw_only=True)
    shapes: dict[str, Shape] = field(default_factory=dict, kw_only=True)  # of nodes, without the batch
    rows: dict[str, Row] = field(default_factory=dict, kw_only=True)
    # how often each layer was called so far, by its whole name; the layer that a torch attribute is of
    calls: dict[str, int] = field(default_factory=dict, kw_only=True)
    names: dict[str, str] = field(default_factory=dict, kw_only=True)

    def row_name(self, name: str) -> str:
        """The row of a layer's next call: `conv`, then `conv#2`."""
        count = self.calls[name] = self.calls.get(name, 0) + 1
        row = name if count == 1 else f"{name}#{count}"
        if row in self.rows:
            raise NetworkError(f"two layers of the model are called {row!r}")
        return row

    def add(self, row: str, owner: str, built: Built, inputs: list[Value]) -> list[Value]:
        """The layer's nodes, its own activation's behind them, and what comes out."""
        node = self.add_node(self.attribute(owner), built.module, [v.node for v in inputs])
        results = shapes_after(built.module, [v.shape for v in inputs])
        others = shapes_elsewhere(built.module, [v.other for v in inputs], len(results))
        field_side, jump = _receptive_field(built, inputs)
        values = []
        for i, (shape, other) in enumerate(zip(results, others, strict=True)):
            require_sane(row, shape, "its output")
            place = node if len(results) == 1 else self._item(node, i)
            self.shapes[place] = shape
            values.append(Value(row, place, place, shape, other, field_side, jump))
        if built.activation is not None:
            after = self.add_node(
                f"activation_of_{self.attribute(owner)}", built.activation, [values[0].node]
            )
            self.shapes[after] = values[0].shape
            values[0] = replace(values[0], node=after)
        return values

    def linear_of(self, built: Built, value: Value, inputs: list[Value]) -> str:
        """The node before the layer's activation: its own, or for a layer that is an activation, that gathers or
        joins what comes out of one, the node before that one."""
        if built.activation is not None or not inputs:
            return value.before
        first = inputs[0]
        if built.acts:
            return first.node
        if built.pools and first.before != first.node:
            return first.before
        if built.joins and any(v.before != v.node for v in inputs):
            sources = [v.before for v in inputs]
            if all(self.shapes[n] == v.shape for n, v in zip(sources, inputs, strict=True)):
                node = self.add_node(str(self.nodes[value.node].target), None, sources)
                self.shapes[node] = value.shape
                return node
        return value.node

    def through(self, value: Value, module: Grey | InKerasAxes | FromKerasAxes) -> Value:
        """A value in other axes: the same numbers."""
        node = self.add_node(f"{type(module).__name__}_{value.node}", module, [value.node])
        shape, other = (None if s is None else module.output_shape(s) for s in (value.shape, value.other))
        self.shapes[node] = shape or ()
        first = isinstance(module, FromKerasAxes)
        return replace(value, node=node, before=node, shape=shape or (), other=other, first=first)

    def add_node(self, attribute: str, module: nn.Module | None, sources: Sequence[str]) -> str:
        """A call of a module, new or under that attribute already; the node's name."""
        if module is not None and not hasattr(self.root, attribute):
            self.root.add_module(attribute, module)
        node = self.graph.call_module(attribute, tuple(self.nodes[s] for s in sources))
        self.nodes[node.name] = node
        return node.name

    def attribute(self, name: str) -> str:
        """The torch attribute of a layer; NetworkError where another layer has it."""
        attribute = safe_attribute(name)
        if self.names.setdefault(attribute, name) != name:
            raise NetworkError(f"two layers' names differ in signs alone ({attribute}); rename one")
        return attribute

    def _item(self, source: str, position: int) -> str:
        node = self.graph.call_function(operator.getitem, (self.nodes[source], position))
        self.nodes[node.name] = node
        return node.name


def _receptive_field(built: Built, inputs: Sequence[Value]) -> tuple[Any, Any]:
    """(receptive field, jump): the largest over the inputs; None where that is the whole picture."""
    jump = max(v.jump for v in inputs)
    fields = [v.field for v in inputs]
    if built.window is None or any(f is None for f in fields):
        return None, jump
    kernel, stride = built.window
    return max(f for f in fields if f is not None) + (kernel - 1) * jump, jump * stride
