"""A graph cut at a layer: what lies before and beside it, what lies behind it, and the layer's view of its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import fx

_COUNTS = ("size", "dim", "numel")  # methods that give numbers of a tensor


@dataclass(frozen=True)
class Halves:
    """before: the picture to the layer's source, then `sides` values that lie beside it, then what the view needs besides.
    behind: the source and the sides to the ends. dependent: which of the sides are computed from the picture. view: the
    source and what it needs besides to the layer as its table has it; None where the source is that already."""

    before: fx.GraphModule
    behind: fx.GraphModule
    view: fx.GraphModule | None
    sides: int
    dependent: tuple[bool, ...]


def split(whole: fx.GraphModule, ends: int) -> Halves | None:
    """A graph of the outputs (layer, end, ...) in two; None where no end depends on the layer."""
    (output,) = [n for n in whole.graph.nodes if n.op == "output"]
    layer, *targets = output.args[0][: 1 + ends]
    source = source_of(layer, targets)
    if source is None:
        return None
    after = descendants(source)
    needed = ancestors(targets)
    inner = [n for n in whole.graph.nodes if n in after and n in needed]
    sides = list(
        dict.fromkeys(
            n for node in [*inner, *targets]
            for n in (node.all_input_nodes if node in after else [node])
            if n not in after and n is not source and n.op != "get_attr"
        )
    )  # fmt: skip
    beside = [] if source is layer else [n for n in layer.all_input_nodes if n is not source]
    seeing = descendants(next(n for n in whole.graph.nodes if n.op == "placeholder"))
    return Halves(
        _part(whole, [source, *sides, *beside]),
        _behind(whole, source, sides, inner, targets),
        None if source is layer else _behind(whole, source, beside, [layer], [layer]),
        len(sides),
        tuple((n in seeing or n.op == "placeholder") and not is_count(n) for n in sides),
    )


def source_of(layer: fx.Node, targets: Iterable[fx.Node]) -> fx.Node | None:
    """The value that the targets are computed from: the layer's own node or, where that is a view made for the layer table
    beside the network's own way, what it is a view of. None where they depend on neither."""
    wanted = {*targets} - {layer}
    if wanted & descendants(layer):
        return layer
    return next((n for n in layer.all_input_nodes if n.op != "placeholder" and wanted & descendants(n)), None)


def is_passed_by_all(layer: fx.Node, targets: Iterable[fx.Node]) -> bool:
    """Whether all that is computed of the picture on the way to the targets passes through the layer's source."""
    targets = list(targets)
    source = source_of(layer, targets)
    if source is None:
        return False
    (picture,) = [n for n in layer.graph.nodes if n.op == "placeholder"]
    seen, todo = {picture}, [picture]
    while todo:
        for user in todo.pop().users:
            if user is not source and user not in seen and not is_count(user):
                seen.add(user)
                todo.append(user)
    return not seen & {*targets}


def descendants(node: fx.Node) -> set[fx.Node]:
    """All that is computed from a node, but for the graph's output."""
    return _reached(node, lambda n: (u for u in n.users if u.op != "output"))


def ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes and all that they are computed from."""
    nodes = list(nodes)
    found = set(nodes)
    for node in nodes:
        found |= _reached(node, lambda n: iter(n.all_input_nodes))
    return found


def is_count(node: fx.Node) -> bool:
    """Whether a node is a tensor's size, or computed of sizes alone: it does not depend on the picture's values."""
    if node.op == "call_method":
        return node.target in _COUNTS
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1:] in (("shape",), ("ndim",))
    whole = getattr(node.target, "__module__", "") in ("_operator", "math", "builtins")
    return whole and bool(node.all_input_nodes) and all(map(is_count, node.all_input_nodes))


def _reached(node: fx.Node, next_of: Callable[[fx.Node], Iterator[fx.Node]]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    todo = [node]
    while todo:
        for other in next_of(todo.pop()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def _part(whole: fx.GraphModule, ends: list[fx.Node]) -> fx.GraphModule:
    wanted, smaller = ancestors(ends), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in whole.graph.nodes:
        if node in wanted:
            copies[node] = smaller.node_copy(node, lambda n: copies[n])
    smaller.output(tuple(copies[n] for n in ends))
    return fx.GraphModule(whole, smaller)


def _behind(
    whole: fx.GraphModule, source: fx.Node, sides: list[fx.Node], inner: list[fx.Node], ends: list[fx.Node]
) -> fx.GraphModule:
    graph = fx.Graph()
    copies = {node: graph.placeholder(f"given_{i}") for i, node in enumerate([source, *sides])}
    constants = {n for node in inner for n in node.all_input_nodes if n.op == "get_attr"}
    for node in whole.graph.nodes:
        if node in constants or node in inner:
            copies[node] = graph.node_copy(node, lambda n: copies[n])
    graph.output(tuple(copies[n] for n in ends))
    return fx.GraphModule(whole, graph)
