"""Making plain convolutions of whatever computes one: subclasses of Conv2d with padding or weights of their own,
`F.conv2d` by constant weights, zeros put around the input by an operation or a module before it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from filterscope.ascent.engine.graphs import (
    add,
    constant,
    frozen,
    module_of,
    only_user,
    plain_padding,
    replace,
    settled,
)
from filterscope.ascent.engine.padded import NONE, Convolved, Padded, PadsOf, padded, what_it_does
from filterscope.ascent.engine.places import Pair
from filterscope.networks.known_shapes import pair

CONVOLVES = (F.conv2d, torch.conv2d)
TRANSPOSES = (F.conv_transpose2d, torch.conv_transpose2d)
# activations and pools, which put no zeros around maps: to find that out by running one imports torch's compiler
PUT_NO_ZEROS = ("torch.nn.modules.activation", "torch.nn.modules.pooling")
RANDOM = ("rand", "dropout", "bernoulli", "normal", "uniform", "multinomial", "poisson", "exponential")
TRANSPOSED_NAMES = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
# beyond a kernel's own side: sizes at which a module's code must do the same, odd and even
SIZES = ((1, 2), (8, 7), (30, 31), (221, 222), (223, 224))
CLOSE = 1e-4  # of the largest value


def plain(graph: fx.GraphModule) -> fx.GraphModule:
    """Nodes that compute a convolution as calls of Conv2d, or of `Padded` where they get zeros around their input."""
    _fold_constants(graph)
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target in CONVOLVES:
            _of_function(graph, node)
        elif node.op == "call_function" and node.target in TRANSPOSES:
            _of_transposing(graph, node)
        elif isinstance(module_of(graph, node), nn.Conv2d):
            _of_subclass(graph, node)
    for node in list(graph.graph.nodes):
        if plain_padding(module_of(graph, node)) is not None and len(node.args) == 1 and not node.kwargs:
            _take_zeros(graph, node)
    return settled(graph)


@dataclass(frozen=True)
class _Call:
    """A functional convolution by constant weights; how: its other arguments."""

    input: Any
    weight: Tensor
    bias: Tensor | None
    how: dict[str, Any]


def _read_call(
    graph: fx.GraphModule, node: fx.Node, names: Sequence[str], numbers: tuple[type, ...]
) -> _Call | None:
    """A call whose arguments have these names; None where its weights or numbers are computed from the picture."""
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    weight, bias = (constant(graph, given.get(name)) for name in ("weight", "bias"))
    how = {name: given[name] for name in names[3:] if name in given}
    if weight is None or weight.ndim != 4 or (bias is None and given.get("bias") is not None):
        return None
    plain = [n for v in how.values() for n in (v if isinstance(v, list | tuple) else (v,))]
    return _Call(given["input"], weight, bias, how) if all(isinstance(n, numbers) for n in plain) else None


def _of_function(graph: fx.GraphModule, node: fx.Node) -> None:
    """`F.conv2d` by constant weights."""
    found = _read_call(graph, node, NAMES, (int, str))
    if found is not None:
        replace(graph, node, padded(found.weight, found.bias, found.how), (found.input,))


def _of_transposing(graph: fx.GraphModule, node: fx.Node) -> None:
    """`F.conv_transpose2d` by constant weights."""
    found = _read_call(graph, node, TRANSPOSED_NAMES, (int,))
    if found is not None:
        weight, bias, how = found.weight, found.bias, found.how
        inputs, each, height, width = weight.shape
        conv = nn.ConvTranspose2d(
            inputs, each * int(how.get("groups", 1)), (height, width), bias=bias is not None, device="meta",
            **cast(Any, {name: v if isinstance(v, int) else tuple(v) for name, v in how.items()}),
        )  # fmt: skip
        conv.weight = frozen(weight)
        conv.bias = None if bias is None else frozen(bias)
        replace(graph, node, conv, (found.input,))


def _of_subclass(graph: fx.GraphModule, node: fx.Node) -> None:
    """A Conv2d with code of its own, where that is a convolution with zeros around its input at every size."""
    module = module_of(graph, node)
    if type(module) in (nn.Conv2d, Padded) or len(node.args) != 1 or node.kwargs:
        return
    found = _as_convolution(module)
    if found is None:
        return
    conv, around = found
    inputs: tuple[Any, ...] = node.args
    if around:
        inputs = (*node.args, _call(graph, node, PadsOf(module), node.args[0]))
    replace(graph, node, conv, inputs)


def _as_convolution(module: nn.Conv2d) -> tuple[Padded, bool] | None:
    """The same as a convolution, and whether it puts zeros around its input; None for what is not the same."""
    height, width = pair(module.kernel_size)
    found: list[Convolved] = []
    for rows, columns in SIZES:
        _, convolved = what_it_does(module, module.in_channels, (height + rows, width + columns))
        if convolved is None:
            return None
        found.append(convolved)
    first = found[0]
    alike = all(f.how == first.how and torch.equal(f.weight, first.weight) for f in found)
    alike = alike and all(f.bias is first.bias or _equal(f.bias, first.bias) for f in found)
    if not alike:
        return None
    conv = padded(first.weight, first.bias, first.how)
    same = all(
        _computes_the_same(module, conv, f, (height + a, width + b))
        for f, (a, b) in list(zip(found, SIZES, strict=True))[:2]
    )
    return (conv, any(f.pads != NONE for f in found)) if same else None


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


def _computes_the_same(module: nn.Conv2d, conv: Padded, found: Convolved, size: Pair) -> bool:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, module.in_channels, *size, generator=generator) - 0.5
    with torch.no_grad():
        expected, ours = module(x), conv(x, found.pads)
    return expected.shape == ours.shape and bool(
        (expected - ours).abs().max() <= CLOSE * expected.abs().max() + 1e-12
    )


def _take_zeros(graph: fx.GraphModule, node: fx.Node) -> None:
    """Zeros put around the input of a convolution by the node before it, which nobody else uses, as its own."""
    before = cast(fx.Node, node.args[0])
    if only_user(before) is not node or not before.args:
        return
    pads = _zeros(graph, before)
    if pads is not None:
        conv = module_of(graph, node)
        how = {name: getattr(conv, name) for name in NAMES[3:]}
        replace(graph, node, padded(conv.weight, conv.bias, how), (before.args[0], pads))
        graph.graph.erase_node(before)


def _zeros(graph: fx.GraphModule, node: fx.Node) -> Any:
    """The zeros that a node puts around its input: four numbers or nodes, or one node for all; None for others."""
    if node.op == "call_function" and node.target is F.pad:
        given = {**dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)), **node.kwargs}
        pads, constant_zeros = given.get("pad"), given.get("mode", "constant") == "constant"
        listed = isinstance(pads, list | tuple) and len(pads) == 4
        return pads if listed and constant_zeros and given.get("value") in (None, 0) else None
    module = module_of(graph, node)
    if module is None or len(node.args) != 1 or node.kwargs or _has_tensors(module):
        return None
    if type(module).__module__ in PUT_NO_ZEROS:
        return None
    if any(what_it_does(module, 3, (3 + a, 3 + b))[0] is None for a, b in SIZES):
        return None
    return _call(graph, node, PadsOf(module), node.args[0])


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))


def _call(graph: fx.GraphModule, before: fx.Node, module: nn.Module, x: Any) -> fx.Node:
    with graph.graph.inserting_before(before):
        return graph.graph.call_module(add(graph, module), (x,))


def _fold_constants(graph: fx.GraphModule) -> None:
    """What is computed of the network's own tensors alone (standardised weights, say), computed once."""
    values: dict[fx.Node, Any] = {}
    for node in graph.graph.nodes:
        tensor = constant(graph, node)
        if tensor is not None and tensor.device.type == "cpu":
            values[node] = tensor
        elif node.op in ("call_function", "call_method") and _is_of(node, values) and not _is_random(node):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
            call: Any = operator.methodcaller(str(node.target), *args[1:], **kwargs)
            with torch.no_grad():
                values[node] = (
                    call(args[0]) if node.op == "call_method" else cast(Any, node.target)(*args, **kwargs)
                )
    for node in [n for n, v in values.items() if n.op != "get_attr" and isinstance(v, Tensor)]:
        if any(user not in values for user in node.users):
            _hold(graph, node, values[node])


def _is_of(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    inputs = node.all_input_nodes
    return bool(inputs) and all(n in values for n in inputs)


def _is_random(node: fx.Node) -> bool:
    name = str(getattr(node.target, "__name__", node.target))
    return name.endswith("_") or any(word in name for word in RANDOM)


def _hold(graph: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    name = f"constant_{len(list(graph.buffers()))}_{node.name}"
    graph.register_buffer(name, value.detach(), persistent=False)
    with graph.graph.inserting_before(node):
        held = graph.graph.get_attr(name)
    node.replace_all_uses_with(held)
