"""A torch module as a graph: symbolic tracing that knows every value's shape, and which module made it.

Control flow over shapes takes the branch that the example takes; what such a choice was made on is noted, so
that the graph can be tried at another size before it is trusted there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from filterscope.errors import first_line
from filterscope.networks.known_shapes import KnownShapes
from filterscope.networks.pytorch.batch import keep_batch
from filterscope.networks.pytorch.code import own_code
from filterscope.networks.pytorch.copying import TorchScript, on_meta
from filterscope.networks.pytorch.outputs import first_tensor, tensors_of

INPUT = "picture"


class UntraceableError(Exception):
    """The module does something that a graph cannot hold; it runs untraced instead."""


@dataclass(frozen=True)
class Call:
    """One call of a module of the tree: its path, which call of it this is (from 1), and what came out."""

    path: str
    count: int
    node: fx.Node
    module: nn.Module

    @property
    def name(self) -> str:
        """`layer1.0.relu`, and for a module used again in the same pass `layer1.0.relu#2`."""
        return self.path if self.count == 1 else f"{self.path}#{self.count}"


@dataclass
class Traced:
    """A graph over `holder` (which holds the network as `net`), its modules' calls in order, its outputs by place.

    `chosen` says whether a branch was taken on a shape.
    """

    holder: nn.Module
    graph: fx.Graph
    calls: list[Call]
    outputs: dict[str, fx.Node]
    chosen: bool

    @property
    def output(self) -> fx.Node | None:
        """The first of the outputs."""
        return next(iter(self.outputs.values()), None)


class Holder(nn.Module):
    """A network under the name `net`: every path in the graph then begins alike."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, picture: Tensor) -> Any:
        return tensors_of(self.net(picture))


def trace(net: nn.Module, example: tuple[int, ...]) -> Traced:
    """Trace a module for pictures of the shape `example` (B, C, H, W); UntraceableError where it cannot be.

    The module is a private copy, which nobody else runs meanwhile.
    """
    tracer = _Tracer(net, example)
    try:
        result = tracer.record()
        graph = tracer.graph
        without_mutation(graph, tracer.holder)
        without_views(graph)
        if example[0] > 1:
            keep_batch(graph)
        graph.lint()
    except Exception as error:  # anything that a person's forward may raise on what is no tensor
        raise UntraceableError(first_line(error)) from error
    outputs = {place: node for place, node in result.items() if isinstance(node, fx.Node)}
    for call in tracer.calls:
        if "val" not in call.node.meta:
            raise UntraceableError(f"the shape of {call.name} is not known: {_why(graph)}")
    calls = [c for c in tracer.calls if isinstance(c.node.meta.get("val"), Tensor)]
    return Traced(tracer.holder, graph, calls, outputs, tracer.chosen)


def _why(graph: fx.Graph) -> str:
    """The first reason why a value's shape is not known: those behind it lack what they are made of."""
    return next(f"{n.name}, {first_line(n.meta['why'])}" for n in graph.nodes if "why" in n.meta)


class _Known(fx.Proxy):
    """A proxy whose value on the example is known, so that shapes can be looped over and compared."""

    def _value(self) -> Any:
        value = self.node.meta.get("val", self)
        if isinstance(value, Tensor | fx.Proxy):
            raise UntraceableError(f"the forward pass depends on the values of {self.node.name}")
        cast(_Tracer, self.tracer).chosen = True
        return value

    def __len__(self) -> int:
        value = self.node.meta.get("val")
        return len(value) if isinstance(value, Tensor) else len(self._value())

    def __int__(self) -> int:
        return int(self._value())

    def __float__(self) -> float:
        return float(self._value())

    def __index__(self) -> int:
        value = self._value()
        if not isinstance(value, int):
            raise TypeError(f"{type(value).__name__} is no whole number")
        return value


def _length(value: Any) -> Any:
    """`len`, but of a tensor in the graph its first side as a value of the graph."""
    known = isinstance(value, _Known) and isinstance(value.node.meta.get("val"), Tensor)
    return value.size(0) if known else len(value)


class _Tracer(fx.Tracer):
    def __init__(self, net: nn.Module, example: tuple[int, ...]):
        super().__init__()
        self.chosen = False
        self.calls: list[Call] = []
        self.root = self.holder = Holder(net)
        self.twin = on_meta(self.holder)
        self.example = torch.empty(example, device="meta")
        self.evaluating = False
        self.counts: dict[str, int] = {}
        self.paths = {id(module): path for path, module in self.holder.named_modules()}
        tensors = [*self.holder.named_parameters(), *self.holder.named_buffers()]
        self.names = {id(tensor): name for name, tensor in tensors}
        self.known: dict[str, fx.Proxy] = {}  # parameters that code has looked up
        self.graph = fx.Graph(tracer_cls=type(self))
        self.tensor_attrs: dict[Any, str] = {}

    def record(self) -> Any:
        """Run the network on a value of the graph; what it gives, in nodes. fx.Tracer.trace does the same by replacing
        methods of torch and functions in a person's files meanwhile, for all threads of the process."""
        picture = self.create_proxy("placeholder", INPUT, (), {})
        with own_code(self.holder, self.call_module, self.attribute, _length):
            return fx.node.map_aggregate(self.holder(picture), lambda v: getattr(v, "node", v))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, TorchScript) or (isinstance(m, nn.Conv2d | nn.Linear) and not list(m.children())):
            # also the kinds of other libraries that pad by the picture's size; but not a layer whose own `forward` a person
            # has replaced, whose type says nothing of what it computes
            return "forward" not in vars(m)
        if "forward" in vars(m):
            return False
        if m.__module__.startswith("torch.nn") and list(m.children()):
            return False
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.evaluating:
            return forward(*args, **kwargs)
        result = super().call_module(m, forward, args, kwargs)
        path = self.path_of_module(m)
        made = first_tensor(result)
        if isinstance(made, fx.Proxy) and path.startswith("net."):
            path = path.removeprefix("net.")
            self.counts[path] = self.counts.get(path, 0) + 1
            self.calls.append(Call(path, self.counts[path], made.node, m))
        return result

    def path_of_module(self, mod: nn.Module) -> str:
        if id(mod) not in self.paths:
            raise UntraceableError(f"a {type(mod).__name__} is no part of the network by name")
        path: str = self.paths[id(mod)]
        return path

    def attribute(self, name: str, value: Any) -> Any:
        """What a module's code finds when it looks up an attribute: for a parameter its value in the graph."""
        path = self.names.get(id(value)) if isinstance(value, nn.Parameter) else None
        if path is None or self.evaluating:
            return value
        if path not in self.known:
            self.known[path] = self.create_proxy("get_attr", path, (), {})
        return self.known[path]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and id(a) in self.names:
            return self.create_node("get_attr", self.names[id(a)], (), {})
        return super().create_arg(a)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Known(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(cast(_Known, obj)._value())

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        known: Any = obj
        return iter([known[i] for i in range(len(known))])

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any
    ) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, *rest, **named)
        if kind != "output" and not self.evaluating:
            self.evaluating = True
            try:
                value = self.example if kind == "placeholder" else self._evaluated(node)
                # what a forward pass makes without asking where the picture lies has a shape here like all else
                node.meta["val"] = value.to("meta") if isinstance(value, Tensor) else value
            except Exception as error:  # an operation without shapes: only a choice upon it is an error
                node.meta["why"] = error
            finally:
                self.evaluating = False
        return node

    def _evaluated(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
        with torch.no_grad(), KnownShapes():
            if node.op == "get_attr":
                owner, _, name = str(node.target).rpartition(".")
                value = getattr(self.twin.get_submodule(owner), name, None)
                if value is None:  # a constant that the tracer itself put there
                    value = getattr(self.root.get_submodule(owner), name)
                return value
            if node.op == "call_module":
                return self.twin.get_submodule(str(node.target))(*args, **kwargs)
            if node.op == "call_method":
                if node.target == "to":  # shapes lie nowhere: to another device they cannot be copied
                    args = (args[0], *(a for a in args[1:] if not isinstance(a, torch.device | str)))
                    kwargs = {k: v for k, v in kwargs.items() if k != "device"}
                    if len(args) == 1 and not kwargs:
                        return args[0]
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]


def without_views(graph: fx.Graph) -> None:
    """`x.view(-1)` becomes `x.reshape(-1)`, the same but for how the numbers may lie: ours lie channels last."""
    for node in graph.find_nodes(op="call_method", target="view"):
        if not any(isinstance(arg, torch.dtype) for arg in node.args):
            node.target = "reshape"


def without_mutation(graph: fx.Graph, holder: nn.Module) -> None:
    """Operations in place become new values, so that what is captured before one is what was there."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    shared: dict[int, list[fx.Node]] = {}
    for node in graph.nodes:
        shared.setdefault(_memory(node), []).append(node)
    for node in list(graph.nodes):
        if not node.args or not isinstance(node.args[0], fx.Node) or not _in_place(node, holder):
            continue
        changed = node.args[0]
        others = [n for n in shared[_memory(changed)] if order[n] < order[node] and n is not changed]
        if any(order[user] > order[node] for n in others for user in n.users):
            raise UntraceableError(f"{node.name} changes part of a value that is used again")
        for user in list(changed.users):
            if order[user] > order[node]:
                user.replace_input_with(changed, node)


def _in_place(node: fx.Node, holder: nn.Module) -> bool:
    """Whether the node changes its input; from here on it does not."""
    if node.op == "call_module":
        module = holder.get_submodule(str(node.target))
        return getattr(module, "inplace", False) is True
    if node.op == "call_method" and _mutating(str(node.target)):
        plain = str(node.target)[:-1]
        if not hasattr(Tensor, plain):
            raise UntraceableError(f"{node.target} has no counterpart that leaves its input alone")
        node.target = plain
        return True
    if node.op != "call_function":
        return False
    name, _, overload = getattr(node.target, "__name__", "").partition(".")
    if _mutating(name):
        plain_function = getattr(torch, name[:-1], None) or getattr(nn.functional, name[:-1], None)
        if isinstance(node.target, torch._ops.OpOverload):
            plain_function = getattr(getattr(torch.ops.aten, name[:-1], None), overload, None)
        if plain_function is None:
            raise UntraceableError(f"{name} has no counterpart that leaves its input alone")
        node.target = plain_function
        return True
    return _inplace_argument(node)


def _inplace_argument(node: fx.Node) -> bool:
    if node.kwargs.get("inplace"):
        node.update_kwarg("inplace", False)
        return True
    try:
        names = list(inspect.signature(node.target).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    place = names.index("inplace") if "inplace" in names else len(node.args)
    if place < len(node.args) and node.args[place]:
        node.update_arg(place, False)
        return True
    return False


def _mutating(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _memory(node: fx.Node) -> int:
    """Which memory a value lies in: views of one another have the same; what is no tensor has its own."""
    value = node.meta.get("val")
    return int(value.untyped_storage()._cdata) if isinstance(value, Tensor) else id(node)
