"""The values of a traced graph as the layer table has them: (B, C, H, W), (B, C), or one token."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from filterscope.networks.known_shapes import KnownShapes
from filterscope.networks.patches import Patches
from filterscope.networks.pytorch.channels import channel_axes
from filterscope.networks.pytorch.layout import (
    Layout,
    Token,
    View,
    layout_of,
    token_axis,
)
from filterscope.networks.pytorch.places import place_axes
from filterscope.networks.pytorch.trace import Traced


class Views:
    """What the values of a traced graph are, and the nodes that view them as maps or vectors, each added once."""

    def __init__(self, traced: Traced):
        nodes = list(traced.graph.nodes)
        self.traced = traced
        self.picture = nodes[0]
        self.batch = self.picture.meta["val"].shape[0]
        self.of_picture = {self.picture}  # what is made of the picture, and not of constants and sizes alone
        for node in nodes[1:]:
            if any(n in self.of_picture and _holds_tensors(n) for n in node.all_input_nodes):
                self.of_picture.add(node)
        self.axes = channel_axes(nodes, traced.holder)
        self.places = place_axes(nodes, traced.holder, self.axes)
        self.known: dict[tuple[fx.Node, Layout], fx.Node] = {}

    def layout(self, node: fx.Node) -> Layout | None:
        """How a value is laid out; None for what has no pictures in it."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or node not in self.axes or node not in self.of_picture:
            return None
        sides = tuple(self.picture.meta["val"].shape[-2:])
        return layout_of(value, self.axes[node], self.batch, self._patches(node, value), sides)

    def _patches(self, node: fx.Node, value: Tensor) -> Patches | None:
        """What the tokens of a value are, where they are patches of the picture."""
        tags = self.places.get(node, ())
        if value.ndim != 3 or len(tags) != 3:
            return None
        tag = tags[token_axis(value, self.axes[node], self.batch)]
        return tag if isinstance(tag, Patches) else None

    def view(self, node: fx.Node, layout: Layout) -> fx.Node:
        """The value as (B, C, H, W) or (B, C): itself where it is that already."""
        if layout.kind == "map":
            return node
        if (node, layout) not in self.known:
            self.known[node, layout] = self.add(f"view_of_{node.name}", View(layout), (node, self.picture))
        return self.known[node, layout]

    def token(self, node: fx.Node, layout: Layout, index: int) -> fx.Node:
        return self.add(f"token_{index}_of_{node.name}", Token(layout, index), (node,))

    def add(self, name: str, module: nn.Module, inputs: tuple[fx.Node, ...]) -> fx.Node:
        """A node behind the graph's own that calls a module on these."""
        holder = self.traced.holder
        name = name.replace("-", "end")
        if not hasattr(holder, name):
            holder.add_module(name, module)
        node = self.traced.graph.call_module(name, inputs)
        with torch.no_grad(), KnownShapes():
            node.meta["val"] = module(*(n.meta["val"] for n in inputs))
        return node

    def module(self, node: fx.Node) -> nn.Module | None:
        return self.traced.holder.get_submodule(str(node.target)) if node.op == "call_module" else None


def _holds_tensors(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) or (
        isinstance(value, list | tuple) and any(isinstance(v, Tensor) for v in value)
    )
