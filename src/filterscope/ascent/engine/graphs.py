"""What the passes over a graph share: looking at its nodes, and putting modules in their place."""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from filterscope.ascent.engine.layers import OpenClamp
from filterscope.ascent.engine.onednn import RELU, Bounds
from filterscope.ascent.engine.padded import Padded
from filterscope.ascent.engine.places import Pair
from filterscope.networks.known_shapes import pair

ADDITIONS = (operator.add, operator.iadd, torch.add)
RELUS = (F.relu, torch.relu, F.relu_, torch.relu_, "relu", "relu_")
CLAMPS = (torch.clamp, torch.clamp_, torch.clip, torch.clip_, "clamp", "clamp_", "clip", "clip_")
HARDTANHS = (F.hardtanh, F.hardtanh_)


def module_of(graph: fx.GraphModule, node: Any) -> Any:
    """The module that a node calls, None for any other node."""
    is_call = isinstance(node, fx.Node) and node.op == "call_module"
    return graph.get_submodule(str(node.target)) if is_call else None


def constant(graph: fx.GraphModule, node: Any) -> Tensor | None:
    """The tensor that a node stands for where it is one of the graph's own."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    return cast(Tensor, operator.attrgetter(str(node.target))(graph))


def only_user(node: fx.Node) -> fx.Node | None:
    """The one node that uses this one's value; None where there are several, or where it is an output."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].op != "output" else None


def is_addition(graph: fx.GraphModule, node: Any) -> bool:
    """Whether the node is the sum of two tensors: an operator, or a module that applies one (`function`)."""
    if not isinstance(node, fx.Node) or len(node.args) != 2 or node.kwargs:
        return False
    if not all(isinstance(n, fx.Node) for n in node.args):
        return False
    if node.op == "call_function":
        return node.target in ADDITIONS
    module = module_of(graph, node)
    return getattr(module, "function", None) is operator.add and getattr(module, "divide", 1) == 1


def bounds_of(graph: fx.GraphModule, node: fx.Node) -> Bounds | None:
    """What a node clamps its one input to (ReLU, ReLU6, hardtanh, a clamp by two numbers); None for any other node.

    The gradient of a clamp is taken to be 0 where a value is exactly at a bound, as a ReLU6's is.
    """
    if node.op == "call_module":
        return _bounds_of_module(module_of(graph, node))
    target = cast(Any, node.target)
    if node.op not in ("call_function", "call_method"):
        return None
    if target in RELUS:
        return RELU
    if target is F.relu6:
        return Bounds(0.0, 6.0)
    names = ("min_val", "max_val") if target in HARDTANHS else ("min", "max")
    if target not in HARDTANHS and target not in CLAMPS:
        return None
    given = {
        **({"min_val": -1.0, "max_val": 1.0} if target in HARDTANHS else {}),
        **dict(zip(names, node.args[1:], strict=False)),
        **node.kwargs,
    }
    return _bounds(given.get(names[0]), given.get(names[1]))


def _bounds_of_module(module: nn.Module) -> Bounds | None:
    if type(module) is nn.ReLU:
        return RELU
    if isinstance(module, OpenClamp):
        return module.bounds
    if isinstance(module, nn.Hardtanh) and type(module) in (nn.Hardtanh, nn.ReLU6):
        return _bounds(module.min_val, module.max_val)
    return None


def _bounds(low: Any, high: Any) -> Bounds | None:
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in (low, high)) or low >= high:
        return None
    return Bounds(float(low), float(high))


def plain_padding(module: Any) -> Pair | None:
    """Rows and columns of zeros on each side; None for what is no plain convolution."""
    if type(module) not in (nn.Conv2d, Padded) or module.padding_mode != "zeros":
        return None
    if not isinstance(module.padding, str):
        return pair(module.padding)
    total = [d * (k - 1) for k, d in zip(module.kernel_size, pair(module.dilation), strict=True)]
    if module.padding == "valid":
        return (0, 0)
    return None if any(n % 2 for n in total) else (total[0] // 2, total[1] // 2)


def replace(graph: fx.GraphModule, node: fx.Node, module: nn.Module, inputs: Any) -> fx.Node:
    """Have a new module compute what `node` stands for."""
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(add(graph, module), inputs)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    return new


def add(graph: fx.GraphModule, module: nn.Module) -> str:
    """Add a module under a name of its own."""
    count = len(list(graph.children()))
    name = next(f"ready_{i}" for i in range(count, 2 * count + 2) if not hasattr(graph, f"ready_{i}"))
    graph.add_module(name, module)
    return name


def settled(graph: fx.GraphModule) -> fx.GraphModule:
    """The graph without nodes that nobody needs, ready to run."""
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    return graph


def frozen(tensor: Tensor) -> nn.Parameter:
    """A tensor as a parameter that nobody trains."""
    return nn.Parameter(tensor.detach(), requires_grad=False)
