"""Rewriting a network's graph for speed, in steps that leave what it computes alone (within rounding).

`expanded` takes rows of modules apart, `plain` (operations.py) makes plain convolutions of what computes one, `folded`
works batch norms into the convolutions before them, `narrowed` (narrowing.py) leaves each picture its own channel of
the last layer, `fused` puts a convolution, a shortcut and an activation together. Each works on a graph of our own
whose modules may be shared: it adds modules, and changes none.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from filterscope.ascent.engine.graphs import (
    bounds_of,
    constant,
    frozen,
    is_addition,
    module_of,
    only_user,
    plain_padding,
    replace,
    settled,
)
from filterscope.ascent.engine.layers import Convolution, MaxPool
from filterscope.ascent.engine.onednn import Bounds
from filterscope.ascent.engine.padded import Padded, PadsOf
from filterscope.ascent.engine.places import Pair
from filterscope.ascent.engine.transposed import TransposedConvolution

_Convolving = TypeVar("_Convolving", bound="nn.Conv2d | nn.ConvTranspose2d")
CONVOLUTIONS = (nn.Conv2d, Padded, nn.ConvTranspose2d)


def expanded(graph: fx.GraphModule) -> fx.GraphModule:
    """Rows of modules as a node each; modules that do nothing to a trained network left out."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or node.kwargs or len(node.args) != 1:
            continue
        for name in _row(graph.get_submodule(node.target), str(node.target)):
            with graph.graph.inserting_before(node):
                node.args = (graph.graph.call_module(name, node.args),)
        if _does_nothing(graph.get_submodule(node.target)):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    return settled(graph)


def is_untraced(graph: fx.GraphModule) -> bool:
    """Whether the whole network is one module that no step here looks into."""
    modules = [graph.get_submodule(str(n.target)) for n in graph.graph.nodes if n.op == "call_module"]
    return len(modules) == 1 and bool(list(modules[0].children()))


def _row(module: nn.Module, path: str) -> list[str]:
    if type(module) is not nn.Sequential:
        return []
    inner = [(f"{path}.{name}", child) for name, child in module.named_children()]
    return [name for at, child in inner for name in (_row(child, at) or [at]) if not _does_nothing(child)]


def _does_nothing(module: nn.Module) -> bool:
    return type(module) in (nn.Sequential, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def folded(graph: fx.GraphModule) -> fx.GraphModule:
    """Batch norms worked into the convolution that alone feeds them, in the network's own number type.

    A batch norm before a convolution stays: the convolution's zero padding lies behind it.
    """
    for node in list(graph.graph.nodes):
        norm = _norm(graph, node)
        before = cast(Any, node.args[0] if norm else None)
        conv = module_of(graph, before)
        if norm is None or type(conv) not in CONVOLUTIONS or set(before.users) != {node} or before.kwargs:
            continue
        replace(graph, node, _with_norm(conv, norm), before.args)
    return settled(graph)


@dataclass(frozen=True)
class _Norm:
    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float


def _norm(graph: fx.GraphModule, node: fx.Node) -> _Norm | None:
    """The batch norm over maps that a node computes by statistics of its own, None for any other node."""
    module = module_of(graph, node)
    if type(module) is nn.BatchNorm2d and module.running_mean is not None:
        return _Norm(
            module.running_mean, cast(Tensor, module.running_var), module.weight, module.bias, module.eps
        )
    if node.op != "call_function" or node.target is not F.batch_norm or node.kwargs.get("training"):
        return None
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    tensors = [constant(graph, given.get(name)) for name in names[1:5]]
    if given.get("training") or tensors[0] is None or tensors[1] is None:
        return None
    return _Norm(tensors[0], tensors[1], tensors[2], tensors[3], float(given.get("eps", 1e-5)))


def _with_norm(conv: _Convolving, norm: _Norm) -> _Convolving:
    weight, turned = conv.weight, isinstance(conv, nn.ConvTranspose2d)
    if turned:  # (C, C' / groups, kh, kw): as a convolution's, whose first axis counts the outputs
        weight = weight.view(conv.groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    weight, bias = fuse_conv_bn_weights(
        weight, conv.bias, norm.mean, norm.variance, norm.eps, norm.weight, norm.bias
    )
    if turned:
        weight = weight.view(conv.groups, -1, *weight.shape[1:]).transpose(1, 2).reshape(conv.weight.shape)
    twin = copy.copy(conv)
    twin._parameters = {"weight": frozen(weight), "bias": frozen(bias)}
    return twin


def fused(graph: fx.GraphModule) -> fx.GraphModule:
    """Convolutions with the shortcut, the activation and the pool that follow them as layers of `layers.py`."""
    for node in list(graph.graph.nodes):
        padding = plain_padding(module_of(graph, node))
        if padding is not None and not node.kwargs:
            _fuse(graph, node, padding)
        elif is_transposed(graph, node):
            _fuse_transposed(graph, node)
    return settled(graph)


def is_transposed(graph: fx.GraphModule, node: Any) -> bool:
    """Whether a node is a transposed convolution without arguments of its own."""
    conv = module_of(graph, node)
    return type(conv) is nn.ConvTranspose2d and len(node.args) == 1 and not node.kwargs


def _fuse_transposed(graph: fx.GraphModule, node: fx.Node) -> None:
    activation = only_user(node)
    bounds = None if activation is None else bounds_of(graph, activation)
    layer = TransposedConvolution(module_of(graph, node), bounds=bounds)
    replace(graph, node if activation is None or bounds is None else activation, layer, node.args)
    if not node._erased and not node.users:
        graph.graph.erase_node(node)


def _fuse(graph: fx.GraphModule, node: fx.Node, padding: Pair) -> None:
    x, *pads = node.args
    last, inputs = node, (x, None, *pads) if pads else (x,)
    addition = only_user(node)
    if addition is not None and is_addition(graph, addition) and addition.args[0] is not addition.args[1]:
        last, inputs = addition, (x, next(n for n in addition.args if n is not node), *pads)
    activation = only_user(last)
    bounds = None if activation is None else bounds_of(graph, activation)
    if bounds is None:
        activation = None
    pool = only_user(activation) if activation is not None else None
    if pool is not None and not _takes_mask(graph, pool):
        pool = None
    layer = Convolution(
        module_of(graph, node), padding=padding, bounds=bounds, masked=pool is not None,
        behind=_taken_over(graph, node),
    )  # fmt: skip
    if pool is not None and bounds is not None:
        replace(graph, pool, MaxPool(module_of(graph, pool), bounds), pool.args)
    replace(graph, activation or last, layer, inputs)
    for dead in (last, node):
        if not dead.users and not dead._erased:
            graph.graph.erase_node(dead)


def _taken_over(graph: fx.GraphModule, node: fx.Node) -> Bounds | None:
    """What the input of a convolution was clamped to by the layer before, which then leaves the mask to it: where
    nobody else uses that layer's output, of which `PadsOf` reads the size alone."""
    before = cast(fx.Node, node.args[0])
    layer = module_of(graph, before)
    users = [user for user in before.users if not isinstance(module_of(graph, user), PadsOf)]
    if type(layer) is not Convolution or layer.bounds is None or users != [node]:
        return None
    layer.masked = True
    return layer.bounds


def _takes_mask(graph: fx.GraphModule, node: fx.Node) -> bool:
    pool = module_of(graph, node)
    return type(pool) is nn.MaxPool2d and not pool.return_indices and len(node.args) == 1 and not node.kwargs


def left_over(graph: fx.GraphModule) -> Counter[str]:
    """What has stayed of that which is folded or fused elsewhere: convolutions, batch norms, zeros."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ZeroPad2d)
    left: Counter[str] = Counter()
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        if isinstance(module, kinds) or _norm(graph, node) is not None:
            left[str(node.name if module is None else type(module).__name__)] += 1
        elif node.op == "call_function" and node.target in (F.conv2d, F.conv_transpose2d, F.pad):
            left[str(node.name)] += 1
    return left
