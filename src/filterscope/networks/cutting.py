"""A graph's parts, and the shapes that they give at other sizes of the picture, found by running them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx

from filterscope.sides import Size, sides_of

# Shapes are found by running numbers up to this side, by running shapes alone beyond it and where weights are on
# another device: torch imports its compiler for the latter, which takes longer than a small picture's numbers.
RUN_AT_MOST = 128


class Shapes:
    """The shapes of nodes by the size of the picture, each found once; `cut` gives the part up to some nodes."""

    def __init__(self, cut: Callable[[Sequence[str]], fx.GraphModule]):
        self.cut = cut
        self.known: dict[tuple[str, int, Size], tuple[int, ...] | None] = {}
        self.parts: dict[tuple[str, ...], tuple[fx.GraphModule, dict[str, Tensor]]] = {}

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

    def _run(self, nodes: tuple[str, ...], channels: int, size: Size) -> list[tuple[int, ...] | None] | None:
        part, tensors = self._part(nodes)
        here = max(sides_of(size)) <= RUN_AT_MOST and all(map(_computes_here, tensors.values()))
        place = torch.device("cpu" if here else "meta")
        image = torch.zeros(1, channels, *sides_of(size), device=place)
        stands = {n: torch.zeros(t.shape, dtype=t.dtype, device=place) for n, t in tensors.items()}
        try:
            # a traced graph prints what it raises
            with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
                outs = torch.func.functional_call(part, stands, (image,), tie_weights=False)
        except Exception:  # whatever operations and a person's own code raise at a size they do not take
            return None
        return [tuple(out.shape[1:]) if all(out.shape) else None for out in outs]

    def _part(self, nodes: tuple[str, ...]) -> tuple[fx.GraphModule, dict[str, Tensor]]:
        """The graph up to some nodes, and its tensors by name: one name a module, where one is called twice."""
        if nodes not in self.parts:
            part = self.cut(nodes)
            self.parts[nodes] = (
                part,
                {
                    f"{path}.{name}" if path else name: tensor
                    for path, module in part.named_modules()
                    for name, tensor in (*module._parameters.items(), *module._buffers.items())
                    if tensor is not None
                },
            )
        return self.parts[nodes]


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
