"""A traced graph that keeps the axis of pictures where the forward pass drops it from one picture alone."""

from __future__ import annotations

import torch
from torch import Tensor, fx


def keep_batch(graph: fx.Graph) -> None:
    """In a graph traced with several pictures, `squeeze` leaves the axis of pictures where it is, also for one."""
    for node in graph.nodes:
        source = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], fx.Node) else None
        if not _squeezes(node) or not isinstance(source, Tensor):
            continue
        asked = node.args[1:] or ([node.kwargs["dim"]] if "dim" in node.kwargs else [])
        asked = asked[0] if len(asked) == 1 and isinstance(asked[0], list | tuple) else asked
        axes = [a % source.ndim for a in asked] if asked else range(source.ndim)
        node.args = (node.args[0], tuple(a for a in axes if source.shape[a] == 1))
        node.kwargs = {}


def _squeezes(node: fx.Node) -> bool:
    return (node.op == "call_method" and node.target == "squeeze") or node.target is torch.squeeze
