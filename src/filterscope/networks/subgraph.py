"""A graph's parts, and the shapes that they give at other sizes of the picture, found by running them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx, nn

from filterscope.networks.known_shapes import KnownShapes
from filterscope.networks.torch_state import in_our_torch
from filterscope.sides import Size, sides_of

# Shapes are found by running numbers up to this side, by running shapes alone beyond it and where weights are on
# another device: torch imports its compiler for the latter, which takes longer than a small picture's numbers.
RUN_AT_MOST = 128


class Shapes:
    """The shapes of nodes by the size of the picture, each found once; `cut` gives the part up to some nodes."""

    def __init__(self, cut: Callable[[Sequence[str]], fx.GraphModule]):
        self.cut = cut
        self.known: dict[tuple[str, int, Size], tuple[int, ...] | None] = {}
        self.parts: dict[tuple[str, ...], fx.GraphModule] = {}

    def of(self, node: str, channels: int, size: Size) -> tuple[int, ...] | None:
        """The shape of a node's output, without the batch; None where the graph does not run at that size."""
        key = (node, channels, size)
        if key not in self.known:
            found = self._run((node,), channels, size)
            self.known[key] = None if found is None else found[0]
        return self.known[key]

    def of_all(self, nodes: Sequence[str], channels: int, size: Size) -> list[tuple[int, ...] | None]:
        """The shapes of many nodes, found in one run where they all run at that size."""
        found = self._run(tuple(nodes), channels, size)
        self.known |= {(n, channels, size): s for n, s in zip(nodes, found or (), strict=False)}
        return [self.of(n, channels, size) for n in nodes]

    @in_our_torch
    def _run(self, nodes: tuple[str, ...], channels: int, size: Size) -> list[tuple[int, ...] | None] | None:
        if nodes not in self.parts:
            self.parts[nodes] = self.cut(nodes)
        part = self.parts[nodes]
        here = all(map(_computes_here, [*part.parameters(), *part.buffers()]))
        small = max(sides_of(size)) <= RUN_AT_MOST
        found = None if here and small else _shapes(part, torch.device("meta"), channels, size)
        # what makes numbers on a device of its own, as rotary positions do, does not run on shapes alone
        return _shapes(part, torch.device("cpu"), channels, size) if found is None and here else found


def _shapes(
    part: fx.GraphModule, place: torch.device, channels: int, size: Size
) -> list[tuple[int, ...] | None] | None:
    image = torch.zeros(1, channels, *sides_of(size), device=place)
    try:
        with (
            torch.no_grad(),
            KnownShapes(),
        ):  # the forward itself: a graph that is called prints what it raises
            outs = _standing(part, place, {}).forward(image)
    except Exception:  # whatever operations and a person's own code raise at a size they do not take
        return None
    return [tuple(out.shape[1:]) if all(out.shape) else None for out in outs]


def _standing(module: nn.Module, place: torch.device, done: dict[int, nn.Module]) -> nn.Module:
    """The same modules over zeros, or shapes alone: another thread may draw with the network meanwhile."""
    if id(module) not in done:
        twin = done[id(module)] = object.__new__(type(module))
        twin.__dict__ = dict(module.__dict__)
        for tensors in ("_parameters", "_buffers"):
            twin.__dict__[tensors] = {
                name: t if t is None else torch.zeros(t.shape, dtype=t.dtype, device=place)
                for name, t in module.__dict__[tensors].items()
            }
        children = module._modules.items()
        twin.__dict__["_modules"] = {n: m and _standing(m, place, done) for n, m in children}
    return done[id(module)]


def cut(graph: fx.GraphModule, ends: Sequence[str]) -> fx.GraphModule:
    """The graph that computes the named nodes and nothing else, sharing its modules; returns a tuple."""
    wanted, todo = set(), [n for n in graph.graph.nodes if n.name in ends]
    while todo:
        node = todo.pop()
        if node not in wanted:
            wanted.add(node)
            todo.extend(node.all_input_nodes)
    smaller = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node in wanted:
            copies[node] = smaller.node_copy(node, lambda n: copies[n])
    by_name = {n.name: c for n, c in copies.items()}
    smaller.output(tuple(by_name[e] for e in ends))
    return fx.GraphModule(graph, smaller)


def _computes_here(tensor: Tensor) -> bool:
    return tensor.device.type in ("cpu", "meta") and (
        tensor.dtype == torch.float32 or not tensor.is_floating_point()
    )
