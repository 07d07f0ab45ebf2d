"""Rewriting a network's graph for speed, in steps that leave what it computes alone (within rounding).

`expanded` takes rows of modules apart, `folded` works batch norms into the convolutions before them, `narrowed`
leaves each picture its own channel of the last layer, `fused` puts a convolution, a shortcut and a ReLU together.
Each works on a graph of our own whose modules may be shared: it adds modules, and changes none.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from filterscope.ascent.engine.onednn import Convolution, MaxPool, Own, OwnConvolution, OwnLinear, Pair, _pair

ADDITIONS = (operator.add, operator.iadd, torch.add)
RELUS = (F.relu, torch.relu, F.relu_, torch.relu_)
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
    return _settled(graph)


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
        conv = _module(graph, before)
        if norm is None or type(conv) is not nn.Conv2d or set(before.users) != {node}:
            continue
        _replace(graph, node, _with_norm(conv, norm), before.args)
    return _settled(graph)


@dataclass(frozen=True)
class _Norm:
    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float


def _norm(graph: fx.GraphModule, node: fx.Node) -> _Norm | None:
    """The batch norm over maps that a node computes by statistics of its own, None for any other node."""
    module = _module(graph, node)
    if type(module) is nn.BatchNorm2d and module.running_mean is not None:
        return _Norm(
            module.running_mean, cast(Tensor, module.running_var), module.weight, module.bias, module.eps
        )
    if node.op != "call_function" or node.target is not F.batch_norm or node.kwargs.get("training"):
        return None
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    tensors = [_constant(graph, given.get(name)) for name in names[1:5]]
    if given.get("training") or tensors[0] is None or tensors[1] is None:
        return None
    return _Norm(tensors[0], tensors[1], tensors[2], tensors[3], float(given.get("eps", 1e-5)))


def _constant(graph: fx.GraphModule, node: Any) -> Tensor | None:
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    return cast(Tensor, operator.attrgetter(str(node.target))(graph))


def _with_norm(conv: nn.Conv2d, norm: _Norm) -> nn.Conv2d:
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.mean, norm.variance, norm.eps, norm.weight, norm.bias
    )
    twin = copy.copy(conv)
    twin._parameters = {"weight": _frozen(weight), "bias": _frozen(bias)}
    return twin


def narrowed(graph: fx.GraphModule, units: Sequence[int], *, flat: bool) -> bool:
    """Leave each picture only its own unit of every output: picture i, unit i; False, and nothing changed, where the
    outputs are not channel for channel what a convolution or matrix product gives. flat: outputs are (B, units)."""
    own = _Narrowing(graph, list(units), flat)
    ends = cast("tuple[fx.Node, ...]", own.end.args[0])
    if not all(own.can(node) for node in ends):
        return False
    own.end.args = (tuple(own.of(node) for node in ends),)
    _settled(graph)
    return True


class _Narrowing:
    def __init__(self, graph: fx.GraphModule, units: list[int], flat: bool):
        self.graph, self.flat, self.units = graph, flat, units
        self.made: dict[fx.Node, fx.Node] = {}
        self.end = next(n for n in graph.graph.nodes if n.op == "output")

    def can(self, node: Any) -> bool:
        """Whether the node's own channel can be had without the others."""
        module = _module(self.graph, node)
        if isinstance(module, nn.Conv2d):
            return _plain_padding(module) is not None and module.groups == 1
        if isinstance(module, nn.Linear):
            return self.flat and type(module) is nn.Linear
        if _is_addition(self.graph, node):
            return any(self.can(n) for n in node.args)
        return self._passes(node) and self.can(node.args[0])

    def _passes(self, node: Any) -> bool:
        if not isinstance(node, fx.Node) or not node.args or not isinstance(node.args[0], fx.Node):
            return False
        if node.op == "call_function":
            return node.target in CHANNELWISE_FUNCTIONS
        if node.op == "call_method":
            return node.target in CHANNELWISE_METHODS
        module = _module(self.graph, node)
        return type(module) in CHANNELWISE or getattr(module, "channelwise", False)

    def of(self, node: fx.Node) -> fx.Node:
        if node not in self.made:
            self.made[node] = self._made(node)
        return self.made[node]

    def _made(self, node: fx.Node) -> fx.Node:
        module = _module(self.graph, node)
        if not self.can(node):
            return self._call(Own(self._units()), node)
        if isinstance(module, nn.Linear):
            return self._call(OwnLinear(module, self._units()), node.args[0])
        if isinstance(module, nn.Conv2d):
            padding = cast(Pair, _plain_padding(module))
            return self._call(OwnConvolution(module, self._units(), padding=padding), node.args[0])
        before = {cast(fx.Node, n): self.of(cast(fx.Node, n)) for n in node.args}
        with self.graph.graph.inserting_before(self.end):
            return self.graph.graph.node_copy(node, lambda n: before[n])

    def _units(self) -> Tensor:
        return torch.tensor(self.units, device=next(self.graph.parameters()).device)

    def _call(self, module: nn.Module, x: Any) -> fx.Node:
        with self.graph.graph.inserting_before(self.end):
            return self.graph.graph.call_module(_add(self.graph, module), (x,))


def fused(graph: fx.GraphModule) -> fx.GraphModule:
    """Convolutions with the shortcut, the ReLU and the pool that follow them as layers of `fused.py`."""
    for node in list(graph.graph.nodes):
        padding = _plain_padding(_module(graph, node))
        if padding is not None and len(node.args) == 1 and not node.kwargs:
            _fuse(graph, node, padding)
    return _settled(graph)


def _fuse(graph: fx.GraphModule, node: fx.Node, padding: Pair) -> None:
    last, inputs = node, node.args
    addition = _only_user(node)
    if addition is not None and _is_addition(graph, addition) and addition.args[0] is not addition.args[1]:
        last, inputs = addition, (*node.args, next(n for n in addition.args if n is not node))
    relu = _only_user(last)
    if relu is not None and not _is_relu(graph, relu):
        relu = None
    pool = _only_user(relu) if relu is not None else None
    if pool is not None and not _takes_mask(graph, pool):
        pool = None
    layer = Convolution(_module(graph, node), padding=padding, relu=relu is not None, masked=pool is not None)
    if pool is not None:
        _replace(graph, pool, MaxPool(_module(graph, pool)), pool.args)
    _replace(graph, relu or last, layer, inputs)
    for dead in (last, node):
        if not dead.users and not dead._erased:
            graph.graph.erase_node(dead)


def _takes_mask(graph: fx.GraphModule, node: fx.Node) -> bool:
    pool = _module(graph, node)
    return type(pool) is nn.MaxPool2d and not pool.return_indices and len(node.args) == 1 and not node.kwargs


def _is_addition(graph: fx.GraphModule, node: Any) -> bool:
    """Whether the node is the sum of two tensors: an operator, or a module that applies one (`function`)."""
    if not isinstance(node, fx.Node) or len(node.args) != 2 or node.kwargs:
        return False
    if not all(isinstance(n, fx.Node) for n in node.args):
        return False
    if node.op == "call_function":
        return node.target in ADDITIONS
    module = _module(graph, node)
    return getattr(module, "function", None) is operator.add and getattr(module, "divide", 1) == 1


def _is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in RELUS
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    return type(_module(graph, node)) is nn.ReLU


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].op != "output" else None


def _plain_padding(module: Any) -> Pair | None:
    """Rows and columns of zeros on each side; None for what is no plain Conv2d."""
    if type(module) is not nn.Conv2d or module.padding_mode != "zeros":
        return None
    if not isinstance(module.padding, str):
        return _pair(module.padding)
    total = [d * (k - 1) for k, d in zip(module.kernel_size, _pair(module.dilation), strict=True)]
    if module.padding == "valid":
        return (0, 0)
    return None if any(n % 2 for n in total) else (total[0] // 2, total[1] // 2)


def _module(graph: fx.GraphModule, node: Any) -> Any:
    is_call = isinstance(node, fx.Node) and node.op == "call_module"
    return graph.get_submodule(str(node.target)) if is_call else None


def _replace(graph: fx.GraphModule, node: fx.Node, module: nn.Module, inputs: Any) -> None:
    """Have a new module compute what `node` stands for."""
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(_add(graph, module), inputs)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)


def _add(graph: fx.GraphModule, module: nn.Module) -> str:
    count = len(list(graph.children()))
    name = next(f"ready_{i}" for i in range(count, 2 * count + 2) if not hasattr(graph, f"ready_{i}"))
    graph.add_module(name, module)
    return name


def _settled(graph: fx.GraphModule) -> fx.GraphModule:
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    return graph


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
