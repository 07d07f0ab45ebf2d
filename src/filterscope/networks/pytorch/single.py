"""Networks that run for one picture at a time: each goes through by itself."""

from __future__ import annotations

import contextlib
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from filterscope.networks.network import Network
from filterscope.networks.pytorch.random_numbers import same_numbers
from filterscope.networks.pytorch.trace import INPUT


@dataclass(repr=False)
class SingleNetwork(Network):
    """A network that runs for one number of pictures alone: each picture goes through by itself."""

    batch: int = 1

    def cut(self, ends: Any) -> fx.GraphModule:
        root = nn.Module()
        root.add_module("program", Singly(super().cut(ends), self.batch))
        graph = fx.Graph()
        run = graph.call_module("program", (graph.placeholder(INPUT),))
        graph.output(tuple(graph.call_function(operator.getitem, (run, i)) for i in range(len(ends))))
        return fx.GraphModule(root, graph)


class Singly(nn.Module):
    """Runs a graph for each picture, as many of it at a time as the graph takes, and keeps the first; where it is to be
    `steady`, each with the same random numbers."""

    def __init__(self, graph: nn.Module, batch: int, *, steady: bool = False):
        super().__init__()
        self.graph, self.batch, self.steady = graph, batch, steady

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        each = []
        for picture in pictures.contiguous():
            with same_numbers(self) if self.steady else contextlib.nullcontext():
                each.append(self.graph.forward(picture[None].expand(self.batch, -1, -1, -1)))
        return tuple(torch.cat([values[i][:1] for values in each]) for i in range(len(each[0])))
