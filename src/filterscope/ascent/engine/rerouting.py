"""Sending the gradient back through a network otherwise than its derivative says; what the network computes stays.

A picture that follows the exact gradient of one network is full of what that network alone responds to. Two known
changes to the way back keep such detail out, at no cost: more of the gradient takes the shortcuts of residual blocks
(Wu et al. 2020, "Skip Connections Matter", section 3), and a ReLU6 passes it where its output is at 6 (lucid's
`redirected_relu_grad`). Scores are measured by the network as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable

from filterscope.ascent.engine.graphs import add, bounds_of, is_addition, replace, settled
from filterscope.ascent.engine.layers import OpenClamp
from filterscope.recipe import Backward


def rerouted(graph: fx.GraphModule, backward: Backward) -> fx.GraphModule:
    """The graph with modules that change the gradient as `backward` asks, in a graph of our own."""
    if backward.branch < 1:
        for node in list(graph.graph.nodes):
            if is_addition(graph, node):
                _share(graph, node, backward.branch)
    if backward.saturated:
        for node in list(graph.graph.nodes):
            bounds = bounds_of(graph, node)
            if bounds is not None and bounds.high < float("inf"):
                replace(graph, node, OpenClamp(bounds), node.args[:1])
    return settled(graph)


class ScaledGradient(nn.Module):
    """What comes in; its gradient times `share`."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = _Scaled.apply(x, self.share)  # type: ignore[no-untyped-call]
        return scaled


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        ctx.share = share
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g * ctx.share, None


def _share(graph: fx.GraphModule, addition: fx.Node, share: float) -> None:
    """Let a share of the gradient through the branch of a residual block, x + branch(x)."""
    first, second = (node for node in addition.args if isinstance(node, fx.Node))
    if first is second:
        return
    for x, end in ((first, second), (second, first)):
        inside = _between(x, end)
        if inside:
            with graph.graph.inserting_after(x):
                scaled = graph.graph.call_module(add(graph, ScaledGradient(share)), (x,))
            for user in inside & set(x.users):
                user.replace_input_with(x, scaled)
            return


def _between(x: fx.Node, end: fx.Node) -> set[fx.Node]:
    """The nodes on the ways from x to `end`, which is one of them; none where there is no way."""
    order = {node: place for place, node in enumerate(x.graph.nodes)}
    before, waiting = {end}, [end]
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if order[node] > order[x] and node not in before:
                before.add(node)
                waiting.append(node)
    reached = {x}
    for node in sorted(before, key=order.__getitem__):
        if any(n in reached for n in node.all_input_nodes):
            reached.add(node)
    return reached - {x} if end in reached else set()
