"""The layer table of a Keras graph: what each layer is, what it hangs on, and where in the graph its activations are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isqrt, prod
from typing import Any, Protocol

from torch import Tensor, fx, nn

from filterscope.networks.keras.config import MODELS
from filterscope.networks.keras.layers.base import Built, Shape
from filterscope.networks.layer import Layer

MOST_EXTRA = 16  # tokens in front of those of a picture's patches: of its class, registers


@dataclass
class Value:
    """One tensor of the graph: the fx node that makes it, the row it belongs to, its shape without the batch at
    the network's own size, and what one value of it sees.

    `before` is the node before the activation that made it, `node` itself where there is none. `other` is its
    shape at a larger size, None where the layers up to here do not run at that size.
    """

    row: str
    node: str
    before: str
    shape: Shape
    other: Shape | None
    field: int | None = 1
    jump: Any = 1
    first: bool = False  # of a model with channels first: (C, H, W) as it is, for Keras' (B, C, H, W)


@dataclass
class Row:
    """One call of a layer."""

    kind: str
    value: Value
    built: Built
    inputs: list[str]
    linear: str
    owner: str  # the row whose weights the layer uses: its own name but for further calls


class Rows(Protocol):
    """A graph as its reader has built it."""

    rows: dict[str, Row]
    nodes: dict[str, fx.Node]
    shapes: dict[str, Shape]  # of nodes, without the batch

    def add_node(self, attribute: str, module: nn.Module | None, sources: Sequence[str]) -> str:
        """A call of a module, new or under that attribute already; the node's name."""


def layer_table(graph: Rows, outputs: Sequence[str] = ()) -> Iterator[Layer]:
    """The layer table; `outputs` names the nodes that the model gives."""
    position = {name: i for i, name in enumerate(graph.rows)}
    ancestors: dict[str, set[str]] = {}
    softmaxes = {
        row.inputs[0]: row.value.node
        for row in reversed(graph.rows.values())
        if isinstance(row.built.module, nn.Softmax) and len(row.value.shape) == 1
    }
    sigmoids = _final_sigmoids(graph, outputs)
    for name, row in graph.rows.items():
        found: set[str] = {row.owner} - {name}
        for parent in row.inputs:
            found |= ancestors.get(parent) or _above(graph, parent, ancestors)
            found.add(parent)
        ancestors[name] = found
        softmax, logits = _softmax(graph, name, softmaxes)
        sigmoid = None
        if softmax is None and (sigmoid := sigmoids.get(row.value.node)) is not None:
            softmax, logits = sigmoid
        shape = _map_shape(row.value.shape)
        yield Layer(
            name=name,
            kind=row.kind,
            output_shape=shape,
            parameters=_parameters(graph, name),
            receptive_field=None if row.value.field is None else ceil(row.value.field),
            trained=True,
            output=_tap(graph, row.value.node, row.value.shape),
            linear=_tap(graph, row.linear, graph.shapes[row.linear]),
            softmax=softmax,
            logits=logits,
            sigmoid=sigmoid is not None,
            depends_on=tuple(sorted(found, key=position.__getitem__)),
        )


def _tap(graph: Rows, node: str, shape: Shape) -> str:
    """A node that gives the value as a map (B, C, H, W) or vector (B, C), the node itself where it is one."""
    if len(shape) in (1, 3):
        return node
    name = f"places_of_{node}"
    if name not in graph.nodes:
        graph.add_node(name, Places(_map_shape(shape)), [node])
    return name


def token_table(graph: Rows, layers: Mapping[str, Layer]) -> Iterator[Layer]:
    """Of layers of a square of patches, each token in front of them as a vector: `LAYER@cls`, `LAYER@reg1` ..."""
    for name, layer in layers.items():
        row = graph.rows[name]
        shape = row.value.shape
        extra = shape[1] - prod(layer.output_shape[1:]) if len(shape) == 2 else 0
        for i in range(extra):
            own = f"{name}@{f'reg{i}' if i else 'cls'}"
            picked = []
            for source in (row.value.node, row.linear):
                fitting = source if graph.shapes[source] == shape else row.value.node
                node = f"token_{i}_of_{fitting}"
                if node not in graph.nodes:
                    graph.add_node(node, Token(i), [fitting])
                picked.append(node)
            yield replace(
                layer, name=own, output_shape=shape[:1], parameters=0, output=picked[0], linear=picked[1]
            )


def _above(graph: Rows, name: str, known: dict[str, set[str]]) -> set[str]:
    """All that a row is made of; a model's own row stands before its layers' rows."""
    found: set[str] = set()
    todo = [name]
    while todo:
        row = graph.rows[todo.pop()]
        for parent in {*row.inputs, row.owner} - found:
            found.add(parent)
            todo.append(parent)
    return found - {name}


def _parameters(graph: Rows, name: str) -> int:
    row = graph.rows[name]
    if row.kind in MODELS and row.owner == name:
        inner = f"{name.partition('#')[0]}/"
        return sum(
            _parameters(graph, n) for n in graph.rows if n.startswith(inner) and "/" not in n[len(inner) :]
        )
    return (
        sum(prod(slot.shape) for slot in row.built.slots if slot.name != "count") if row.owner == name else 0
    )


def _softmax(graph: Rows, name: str, softmaxes: dict[str, str]) -> tuple[str | None, str | None]:
    """The node of the softmax that is the layer's activation, is the layer, or follows it directly, and the
    node that goes into it."""
    row = graph.rows[name]
    if len(row.value.shape) != 1:
        return None, None
    if row.kind in MODELS:
        return _softmax(graph, row.inputs[0], softmaxes)
    if isinstance(row.built.activation, nn.Softmax):
        return row.value.node, row.linear
    if isinstance(row.built.module, nn.Softmax):
        return row.value.node, graph.rows[row.inputs[0]].value.node
    return (softmaxes[name], row.value.node) if name in softmaxes else (None, None)


def _final_sigmoids(graph: Rows, outputs: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Where the model ends in sigmoids: for a row's node the sigmoid's and the one that goes into it. Those within the
    model, gates say, are activations like others."""
    found: dict[str, tuple[str, str]] = {}
    for row in graph.rows.values():
        own = isinstance(row.built.activation, nn.Sigmoid)
        if row.value.node not in outputs or len(row.value.shape) not in (1, 3):
            continue
        if own or isinstance(row.built.module, nn.Sigmoid):
            before = row.linear if own else graph.rows[row.inputs[0]].value.node
            found[row.value.node] = found[before] = (row.value.node, before)
    return found


class Places(nn.Module):
    """(B, C, places) or more axes to (B, C, H, W), for looking at: tokens of a square of patches as that square,
    whatever stands before them left out; others in one row."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.channels, self.square = shape[0], len(shape) == 3 and shape[1] > 1

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], self.channels, -1)
        side = isqrt(x.shape[2]) if self.square else 0
        if not self.square or x.shape[2] - side**2 > MOST_EXTRA:
            return x[:, :, None]
        return x[:, :, x.shape[2] - side**2 :].reshape(*x.shape[:2], side, side)


class Token(nn.Module):
    """One token of (B, C, tokens), as (B, C)."""

    def __init__(self, index: int):
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.index]


def _map_shape(shape: Shape) -> Shape:
    if len(shape) in (1, 3):
        return shape
    if not shape:
        return (1, 1, 1)
    places = prod(shape[1:])
    side = isqrt(places)
    square = len(shape) == 2 and side > 1 and places - side**2 <= MOST_EXTRA
    return (shape[0], side, side) if square else (shape[0], 1, places)
