"""A torch module that no graph can hold, as a Network: it runs as it is, and hooks capture its activations.

Right but slower: nothing is pruned or fused. The forward pass is left as soon as all that was asked for is captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, fx, nn

from filterscope.networks.known_shapes import KnownShapes
from filterscope.networks.network import Network
from filterscope.networks.pytorch.capturing import Capture, Capturing, Turn
from filterscope.networks.pytorch.copying import on_meta
from filterscope.networks.pytorch.single import Singly
from filterscope.networks.pytorch.trace import INPUT
from filterscope.networks.subgraph import RUN_AT_MOST, Shapes
from filterscope.networks.torch_state import in_our_torch
from filterscope.sides import Size, sides_of


@dataclass(repr=False)
class UntracedNetwork(Network):
    """A Network whose activations are captured by hooks; `captures` says for each name in the table what to capture.

    single: it runs for one picture at a time alone. steady: it draws random numbers, which are to be the same each time.
    """

    net: nn.Module = field(default_factory=nn.Module)  # the private copy of the module
    captures: dict[str, Capture] = field(default_factory=dict)
    turn: Turn = field(default_factory=Turn, repr=False)
    single: bool = False
    steady: bool = False

    def __post_init__(self) -> None:
        self.shapes = _CapturedShapes(self)

    def cut(self, ends: Sequence[str]) -> fx.GraphModule:
        """One run of the network that captures all the ends."""
        names = list(dict.fromkeys(ends))
        root = nn.Module()
        capturing = Capturing(self.net, [self.captures[n] for n in names], self.turn)
        root.add_module("capturing", Singly(capturing, 1, steady=self.steady) if self.single else capturing)
        graph = fx.Graph()
        run = graph.call_module("capturing", (graph.placeholder(INPUT),))
        outputs = {n: graph.call_function(_item, (run, i)) for i, n in enumerate(names)}
        graph.output(tuple(outputs[n] for n in ends))
        return fx.GraphModule(root, graph)

    def kernel_module(self, layer: str) -> nn.Module | None:
        return self.net.get_submodule(self.captures[self.layer(layer).output].path)


class _CapturedShapes(Shapes):
    """Shapes of what is captured: small pictures run as they are, larger ones as shapes alone where that is possible."""

    def __init__(self, net: UntracedNetwork):
        super().__init__(net.cut)
        self.net = net
        self.meta: UntracedNetwork | None = None
        self.asks_values = False

    @in_our_torch
    def _run(self, nodes: tuple[str, ...], channels: int, size: Size) -> list[tuple[int, ...] | None] | None:
        large = max(sides_of(size)) > RUN_AT_MOST
        if large and not self.asks_values:
            self.meta = self.meta or replace(self.net, net=on_meta(self.net.net), turn=Turn())
            found = _shapes(self.meta.cut(nodes), torch.empty(1, channels, *sides_of(size), device="meta"))
            if found is not None:
                return found
        found = _shapes(self.net.cut(nodes), torch.zeros(1, channels, *sides_of(size)))
        self.asks_values |= large and found is not None
        return found


def _shapes(part: fx.GraphModule, picture: Tensor) -> list[tuple[int, ...] | None] | None:
    try:
        with torch.no_grad(), KnownShapes():
            outs = part.forward(picture)
    except Exception:  # whatever a person's own code raises at a size that it does not take
        return None
    return [tuple(out.shape[1:]) if all(out.shape) else None for out in outs]


def _item(values: tuple[Tensor, ...], index: int) -> Tensor:
    return values[index]
