"""The layer table of a Keras graph: what each layer is, what it hangs on, and where in the graph its activations are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any, Protocol

from torch import Tensor, fx, nn

from filterscope.networks.keras.config import MODELS
from filterscope.networks.keras.layers.base import Built, Shape
from filterscope.networks.layer import Layer
from filterscope.networks.patches import Patches, grid


@dataclass
class Value:
    """One tensor of the graph: the fx node that makes it, the row it belongs to, its shape without the batch at
    the network's own size, and one value's receptive field.

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


def layer_table(
    graph: Rows, outputs: Sequence[str] = (), patches: Mapping[str, Patches] | None = None
) -> Iterator[Layer]:
    """The layer table; `outputs` names the nodes that the model gives, `patches` the rows whose tokens are patches."""
    patches = patches or {}
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
        own = patches.get(name)
        before = graph.shapes[row.linear]
        yield Layer(
            name=name,
            kind=row.kind,
            output_shape=_shown_shape(row.value.shape, own),
            parameters=_parameters(graph, name),
            receptive_field=None if row.value.field is None else ceil(row.value.field),
            trained=True,
            output=_tap(graph, row.value.node, row.value.shape, own),
            linear=_tap(graph, row.linear, before, own if before[1:] == row.value.shape[1:] else None),
            softmax=softmax,
            logits=logits,
            sigmoid=sigmoid is not None,
            depends_on=tuple(sorted(found, key=position.__getitem__)),
        )


def _tap(graph: Rows, node: str, shape: Shape, patches: Patches | None) -> str:
    """A node that gives the value as a map (B, C, H, W) or vector (B, C), the node itself where it is one."""
    if len(shape) in (1, 3):
        return node
    name = f"{'patches' if patches else 'places'}_of_{node}"
    if name not in graph.nodes:
        entry = next(row.value for row in graph.rows.values() if row.kind == "InputLayer")
        made = PatchMap(patches, entry.shape[1:]) if patches else Places(shape)
        graph.add_node(name, made, [node, entry.node] if patches else [node])
    return name


def token_table(graph: Rows, layers: Mapping[str, Layer], patches: Mapping[str, Patches]) -> Iterator[Layer]:
    """Of layers of patches, each token beside them as a vector: `LAYER@cls`, `LAYER@reg1` ..."""
    for name, known in patches.items():
        shape, row = graph.rows[name].value.shape, graph.rows[name]
        for i in range(known.front + known.back):
            place = i if i < known.front else i - known.front - known.back
            picked = []
            for source in (row.value.node, row.linear):
                fitting = source if graph.shapes[source] == shape else row.value.node
                node = f"token_{i}_of_{fitting}"
                if node not in graph.nodes:
                    graph.add_node(node, Token(place), [fitting])
                picked.append(node)
            yield replace(
                layers[name], name=f"{name}@{f'reg{i}' if i else 'cls'}", output_shape=shape[:1], parameters=0,
                output=picked[0], linear=picked[1],
            )  # fmt: skip


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
    """(B, C, places) or more axes to (B, C, 1, places), for looking at."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.channels = prod(shape[:1])

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], self.channels, 1, -1)


class PatchMap(nn.Module):
    """Tokens (B, C, N) of a picture's patches to (B, C, H, W), without those that stand for none."""

    def __init__(self, patches: Patches, sides: Shape):
        super().__init__()
        self.front, self.back = patches.front, patches.back
        self.rates = patches.rows / sides[0], patches.columns / sides[1]

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        x = x[:, :, self.front : x.shape[2] - self.back]
        sides = (side * rate for side, rate in zip(picture.shape[2:], self.rates, strict=True))
        return x.reshape(*x.shape[:2], *(grid(x.shape[2], *sides) or (1, x.shape[2])))


class Token(nn.Module):
    """One token of (B, C, tokens), as (B, C)."""

    def __init__(self, index: int):
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.index]


def _shown_shape(shape: Shape, patches: Patches | None) -> Shape:
    """The shape of a layer's output as the table says it: patches as a map, other sequences as (C, steps)."""
    if patches:
        return (shape[0], patches.rows, patches.columns)
    if len(shape) <= 3:
        return shape or (1, 1, 1)
    return (shape[0], 1, prod(shape[1:]))
