"""Attention in a graph, whether it calls torch's fused function or multiplies by hand, by the faster of both ways."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from filterscope.ascent.engine.graphs import module_of, settled
from filterscope.networks.attending import attend

FUSED = (F.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default)
PRODUCTS = (operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm")
SOFTMAXES = (F.softmax, torch.softmax, "softmax")
TURNS = (torch.transpose, "transpose", torch.swapaxes, "swapaxes")
TIMES = (operator.mul, torch.mul, "mul")
DIVISIONS = (operator.truediv, torch.div, "div")
LAST = ((-2, -1), (-1, -2), (2, 3), (3, 2))  # of four axes


def attended(graph: fx.GraphModule) -> fx.GraphModule:
    """The graph with every attention, softmax(q k^T * scale) v, as a call of `attend`."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target in FUSED:
            node.target = attend
        elif _is_call(node, PRODUCTS) and len(node.args) == 2:
            _by_hand(graph, node)
    return settled(graph)


def _by_hand(graph: fx.GraphModule, node: fx.Node) -> None:
    """A product whose first factor is the softmax of another product, which nobody else uses."""
    shares: Any = node.args[0]
    scores, factor = _unscaled(_softmax_of(graph, shares))
    if scores is None or len(shares.users) != 1 or not _is_call(scores, PRODUCTS):
        return
    if len(scores.users) != 1 or len(scores.args) != 2:
        return
    query, turned = scores.args
    if not _is_call(turned, TURNS) or tuple(turned.args[1:]) not in LAST or turned.kwargs:
        return
    with graph.graph.inserting_before(node):
        new = graph.graph.call_function(_attend_four, (query, turned.args[0], node.args[1], factor))
    node.replace_all_uses_with(new)


def _unscaled(scores: Any) -> tuple[Any, float]:
    """What scores are before they are multiplied or divided by a number, and the factor."""
    if not _is_call(scores, (*TIMES, *DIVISIONS)) or len(scores.args) != 2:
        return scores, 1.0
    product, number = scores.args
    if not isinstance(number, int | float) or not number or len(product.users) != 1:
        return None, 1.0
    return product, 1 / number if scores.target in DIVISIONS else float(number)


def _attend_four(query: Any, key: Any, value: Any, scale: float) -> Any:
    """`attend` where there are four axes, (B, heads, N, width), as it stands elsewhere."""
    if all(t.ndim == 4 and t.shape[:2] == query.shape[:2] for t in (query, key, value)):
        return attend(query, key, value, scale=scale)
    return (query @ key.transpose(-2, -1) * scale).softmax(-1) @ value


def _softmax_of(graph: fx.GraphModule, node: Any) -> Any:
    """What a node is the softmax of over the last axis; None for any other node."""
    module = module_of(graph, node)
    if module is not None:
        plain = type(module) is nn.Softmax and module.dim in (-1, 3)
        return node.args[0] if plain and len(node.args) == 1 else None
    if not _is_call(node, SOFTMAXES) or not node.args:
        return None
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    plain = len(node.args) <= 2 and node.kwargs.get("dtype") is None
    return node.args[0] if axis in (-1, 3) and plain else None


def _is_call(node: Any, targets: tuple[Any, ...]) -> bool:
    return (
        isinstance(node, fx.Node) and node.op in ("call_function", "call_method") and node.target in targets
    )
