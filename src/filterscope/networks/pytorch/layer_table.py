"""A traced torch module as a Network: its layer table, named as the module tree names its modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx, nn

from filterscope.networks.layer import Layer, safe_attribute
from filterscope.networks.pytorch.channels import operation
from filterscope.networks.pytorch.layout import (
    HeadStrength,
    prefix_of,
    shape_of,
)
from filterscope.networks.pytorch.receptive_field import reaches
from filterscope.networks.pytorch.trace import Call, Traced
from filterscope.networks.pytorch.views import Views

ACTIVATIONS = {
    "relu", "relu6", "gelu", "silu", "hardswish", "hardsigmoid", "leaky_relu", "elu", "selu", "celu", "mish", "tanh",
    "sigmoid", "softplus", "hardtanh", "rrelu",
}  # fmt: skip
_PASS = {"flatten", "squeeze", "view", "reshape", "dropout", "contiguous", "clone", "getitem", "float"}
_COMBINE = {"add", "sub", "mul", "div", "truediv", "mean", "stack", "sum"}
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "nhead", "heads")


@dataclass
class TorchGraph:
    """The graph with what the layer table names in it, the table, and the tokens that stand for no patch."""

    graph: fx.GraphModule
    layers: dict[str, Layer]
    tokens: dict[str, Layer]
    uncaptured: bool  # a module with weights works on pictures, and its values do not stand apart by picture


@dataclass
class _Reader:
    traced: Traced
    trained: Collection[str] | None
    classes: int
    layers: dict[str, Layer] = field(default_factory=dict)
    tokens: dict[str, Layer] = field(default_factory=dict)
    made_by: dict[fx.Node, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.views = Views(self.traced)
        self.reach = reaches(list(self.traced.graph.nodes), self.traced.holder, self.views.axes)
        self.prefix = prefix_of(self.traced.holder.get_submodule("net"))

    def read(self) -> TorchGraph:
        shape = tuple(self.views.picture.meta["val"].shape[1:])
        name = self.views.picture.name
        self.layers["input"] = Layer("input", "InputLayer", shape, 0, 1, True, output=name, linear=name)
        for call in self.traced.calls:
            self._row(call.name, type(call.module).__name__, call.node, call.module)
            self._heads(call)
        for place, end in self.traced.outputs.items():
            if isinstance(end.meta.get("val"), Tensor) and (place or end not in self.made_by):
                self._row(f"output{place}", "Output", end, None)
        self._classes()
        self._dependencies()
        holder = self.traced.holder
        self.traced.graph.output(tuple(self._nodes()))
        weighty = [
            c
            for c in self.traced.calls
            if c.node in self.views.of_picture and any(True for _ in c.module.parameters())
        ]
        uncaptured = any(call.name not in self.layers for call in weighty)
        return TorchGraph(fx.GraphModule(holder, self.traced.graph), self.layers, self.tokens, uncaptured)

    def _nodes(self) -> Iterator[fx.Node]:
        """All nodes that the table names: the graph keeps them."""
        names = {
            n for row in [*self.layers.values(), *self.tokens.values()] for n in (row.output, row.linear)
        }
        return (node for node in self.traced.graph.nodes if node.name in names)

    def _row(self, name: str, kind: str, node: fx.Node, module: nn.Module | None) -> None:
        layout = self.views.layout(node)
        if layout is None or name in self.layers:
            return
        before = self._linear(node)
        if self.views.layout(before) is None:
            before = node
        parameters = sum(p.numel() for p in module.parameters()) if module is not None else 0
        reach = self.reach.get(node)
        view = self.views.view(node, layout)
        self.made_by.setdefault(node, []).append(name)
        row = self.layers[name] = Layer(
            name, kind, shape_of(view.meta["val"], layout), parameters, reach and reach[0], True,
            output=view.name, linear=self.views.view(before, self.views.layout(before) or layout).name,
        )  # fmt: skip
        count = layout.extra + layout.back
        for i, token in zip(
            [*range(layout.extra), *range(-layout.back, 0)], self.prefix.of(count), strict=True
        ):
            own = f"{name}@{token}"
            linear = self.views.token(before, layout, i) if self.views.layout(before) == layout else None
            picked = self.views.token(node, layout, i)
            self.tokens[own] = replace(
                row, name=own, output_shape=row.output_shape[:1], parameters=0, receptive_field=None,
                output=picked.name, linear=(linear or picked).name,
            )  # fmt: skip

    def _heads(self, call: Call) -> None:
        """What the heads of an attention module say, before they are mixed by its projection."""
        told: list[Any] = [getattr(call.module, n, None) for n in _HEADS]
        heads = next((n for n in told if isinstance(n, int) and n > 0), 0)
        mixed = self._before_projection(call) if heads else None
        if mixed is None or (layout := self.views.layout(mixed)) is None or layout.kind == "map":
            return
        if mixed.meta["val"].shape[-1] % heads or mixed not in self.views.axes:
            return
        self._row(f"{call.name}.concat", "AttentionConcat", mixed, None)
        concat = self.layers[f"{call.name}.concat"]
        whole = self.views.view(mixed, layout)
        if whole.meta["val"].shape[1] % heads:
            return
        strength = self.views.add(f"heads_of_{safe_attribute(call.name)}", HeadStrength(heads), (whole,))
        self.layers[f"{call.name}.heads"] = replace(
            concat, name=f"{call.name}.heads", kind="AttentionHeads", output_shape=(heads, *concat.output_shape[1:]),
            output=strength.name, linear=strength.name,
        )  # fmt: skip

    def _before_projection(self, call: Call) -> fx.Node | None:
        node: fx.Node | None = call.node
        while node is not None:
            module = self.views.module(node)
            if isinstance(module, nn.Linear):
                return node.all_input_nodes[0] if _path(node).startswith(call.path + ".") else None
            if operation(node) == "linear":
                return node.all_input_nodes[0]
            passes = isinstance(module, nn.Dropout | nn.Identity) or operation(node) in {
                "dropout", "getitem", "reshape", "view", "permute", "transpose", "contiguous", "roll", "flatten",
            }  # fmt: skip
            node = node.all_input_nodes[0] if passes and node.all_input_nodes else None
        return None

    def _linear(self, node: fx.Node) -> fx.Node:
        """The value before the activation that made this one, also through pools: else the value itself."""
        module, name = self.views.module(node), operation(node)
        if not node.all_input_nodes:
            return node
        source = node.all_input_nodes[0]
        pools = isinstance(
            module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.Dropout | nn.Identity
        )
        if name in ACTIVATIONS or _is_activation(module):
            return source
        if pools or name in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "dropout"):
            before = self._linear(source)
            return node if before is source else before
        return node

    def _classes(self) -> None:
        """Where the network ends in classes, their probabilities: its own softmax, or one behind its last values."""
        sigmoids = [node for node in self.traced.outputs.values() if self._sigmoid(node)]
        end = self.traced.output
        if end in sigmoids:
            return
        value = end.meta.get("val") if end is not None else None
        if end is None or not isinstance(value, Tensor) or value.ndim != 2 or value.shape[1] < 2:
            return
        kinds = {nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax"}
        own = operation(end) or next(
            (n for k, n in kinds.items() if isinstance(self.views.module(end), k)), ""
        )
        logits = end.all_input_nodes[0] if own in ("softmax", "log_softmax") else end
        if not self._is_product(logits, known=value.shape[1] == self.classes):
            return
        softmax = end if own == "softmax" else self.views.add("class_probabilities", nn.Softmax(1), (logits,))
        same, node = {end, logits}, logits
        while (
            node is not None
            and self._passes(node)
            and node.all_input_nodes[0].meta["val"].shape == value.shape
        ):
            node = node.all_input_nodes[0]
            same.add(node)
        for name in [n for node in same for n in self.made_by.get(node, ())]:
            row = self.layers[name]
            self.layers[name] = replace(row, softmax=softmax.name, logits=logits.name)

    def _sigmoid(self, end: fx.Node) -> bool:
        """Where the network ends in a sigmoid, what goes into it for what its layers say, as before a softmax, and whether
        it does; a sigmoid within the network, a gate say, is an activation like others."""
        behind = [end]
        while self._passes(behind[-1]) and len(behind[-1].all_input_nodes) == 1:
            behind.append(behind[-1].all_input_nodes[0])
        node = behind[-1]
        if operation(node) != "sigmoid" and not isinstance(self.views.module(node), nn.Sigmoid):
            return False
        before = node.all_input_nodes[0]
        layout = self.views.layout(node)
        if layout is None or self.views.layout(before) != layout:
            return False
        shares, logits = self.views.view(node, layout).name, self.views.view(before, layout).name
        same = {n for n in behind if self.views.layout(n) == layout} | {before}
        while self._passes(before) and self.views.layout(before.all_input_nodes[0]) == layout:
            before = before.all_input_nodes[0]
            same.add(before)
        for name in [n for one in same for n in self.made_by.get(one, ())]:
            row = self.layers[name]
            self.layers[name] = replace(row, softmax=shares, logits=logits, sigmoid=True)
        return True

    def _is_product(self, node: fx.Node, *, known: bool) -> bool:
        """Whether a value comes from a matrix product or a convolution, by nothing but sums and reshapes."""
        module = self.views.module(node)
        if isinstance(module, nn.Linear | nn.Conv2d) or operation(node) in ("linear", "addmm", "matmul"):
            return True
        loose = known and (isinstance(module, nn.ReLU) or operation(node) in ACTIVATIONS)
        pools = isinstance(module, nn.AdaptiveAvgPool2d | nn.AvgPool2d)
        if not (self._passes(node) or loose or pools or operation(node) in _COMBINE):
            return False
        inputs = [n for n in node.all_input_nodes if n.op != "get_attr"]
        return bool(inputs) and self._is_product(inputs[0], known=known)

    def _passes(self, node: fx.Node) -> bool:
        module = self.views.module(node)
        return isinstance(module, nn.Identity | nn.Dropout | nn.Flatten) or operation(node) in _PASS

    def _dependencies(self) -> None:
        """Which layers lack trained weights, and what lies behind them; asked only where some do."""
        if self.trained is None:
            return
        ours = ("InputLayer", "Output", "AttentionConcat", "AttentionHeads")
        rows = {n: row for n, row in self.layers.items() if row.kind not in ours}
        holes = {n for n in rows if n.partition("#")[0] not in self.trained}
        first = {node: names[0] for node, names in self.made_by.items()}
        before: dict[fx.Node, dict[str, None]] = {}
        for node in self.traced.graph.nodes:
            found: dict[str, None] = {}
            for source in node.all_input_nodes:
                found |= before[source]
                found |= {first[source]: None} if source in first else {}
            before[node] = found
        by_name = {node.name: node for node in self.traced.graph.nodes}
        for table in (self.layers, self.tokens):
            for name, row in table.items():
                behind = tuple(n for n in before[by_name[row.output]] if n != name)
                owner = name.partition("@")[0]
                table[name] = replace(row, trained=owner not in holes, depends_on=behind)


def read_traced(traced: Traced, *, trained: Collection[str] | None = None, classes: int = 0) -> TorchGraph:
    """The layer table of a traced network for pictures of the size that it was traced at, and the graph with what it names.

    trained: the modules that have trained weights, None where all have. classes: how many classes the network
    is known to tell apart, 0 where that is not known.
    """
    _own_constants(traced)
    _own_calls(traced)
    return _Reader(traced, trained, classes).read()


def _own_constants(traced: Traced) -> None:
    """The tracer's own constants as buffers of a submodule, which move and convert with the rest."""
    for node in traced.graph.nodes:
        if node.op == "get_attr" and "." not in str(node.target):
            if not hasattr(traced.holder, "constants"):
                traced.holder.add_module("constants", nn.Module())
            value = getattr(traced.holder, str(node.target))
            traced.holder.get_submodule("constants").register_buffer(
                str(node.target), value, persistent=False
            )
            node.target = f"constants.{node.target}"


def _own_calls(traced: Traced) -> None:
    """Every further call of a module with weights under a name of its own: one call can be narrowed alone."""
    seen: set[str] = set()
    for node in traced.graph.nodes:
        if node.op != "call_module" or not list(traced.holder.get_submodule(str(node.target)).parameters()):
            continue
        if str(node.target) in seen:
            module = traced.holder.get_submodule(str(node.target))
            again = f"again_{safe_attribute(node.name)}"
            traced.holder.add_module(again, module)
            node.meta["path"] = node.target
            node.target = again
        seen.add(str(node.target))


def _path(node: fx.Node) -> str:
    return str(node.meta.get("path", node.target)).removeprefix("net.")


def _is_activation(module: nn.Module | None) -> bool:
    # of the others GLU halves channels and PReLU may have a slope for each, so that none stands for itself
    softmax = (
        nn.Softmax | nn.LogSoftmax | nn.Softmin | nn.Softmax2d | nn.MultiheadAttention | nn.GLU | nn.PReLU
    )
    return type(module).__module__ == "torch.nn.modules.activation" and not isinstance(module, softmax)
