"""The layer table of a torch module that no graph can hold, read from one run of it with hooks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from filterscope.networks.layer import Layer
from filterscope.networks.patches import Patches, grid, is_map
from filterscope.networks.pytorch.capturing import Capture, Spot, tensors_by_place
from filterscope.networks.pytorch.layout import (
    Layout,
    Prefix,
    View,
    layout_of,
    prefix_of,
    shape_of,
    token_axis,
)
from filterscope.networks.pytorch.outputs import first_tensor, tensors_of
from filterscope.networks.pytorch.trace import INPUT

LEAST = 16  # patches: fewer, and one token more, may be anything
FEW = 64  # numbers
CHANNELS_FIRST = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, nn.GroupNorm, nn.InstanceNorm2d, nn.Upsample, nn.PixelShuffle,
)  # fmt: skip


@dataclass(frozen=True)
class _Call:
    out: Tensor
    into: Tensor | None
    module: nn.Module


Calls: TypeAlias = dict[Spot, _Call]


@dataclass
class UntracedTable:
    """The layer table of a module that is not traced, the tokens that stand for no patch, and what is captured for each
    name in both; `graph` gives the picture alone."""

    graph: fx.GraphModule
    layers: dict[str, Layer]
    tokens: dict[str, Layer] = field(default_factory=dict)
    captures: dict[str, Capture] = field(default_factory=dict)


def read_untraced(net: nn.Module, example: Tensor, *, classes: int) -> UntracedTable:
    """The layer table of a module found by running it once on `example` (B, C, H, W) with hooks. classes: how many it is
    known to tell apart, 0 where that is not known."""
    graph = fx.Graph()
    graph.output((graph.placeholder(INPUT),))
    picture = Layer("input", "InputLayer", tuple(example.shape[1:]), 0, 1, True, "input", "input")
    table = UntracedTable(fx.GraphModule(nn.Module(), graph), {"input": picture})
    _Reader(example, prefix_of(net), _calls(net, example), classes, table).read()
    return table


@dataclass
class _Reader:
    example: Tensor
    prefix: Prefix
    calls: Calls
    classes: int
    table: UntracedTable
    squashed: Spot | None = field(init=False)  # what goes into the sigmoid at the end, where there is one
    ending: Spot | None = field(init=False)  # the classes, where there are any

    def read(self) -> None:
        """Fill the table, call by call."""
        self.squashed = _call_before_sigmoid(self.calls)
        self.ending = _class_call(self.calls, self.classes) if self.squashed is None else None
        axes: dict[torch.Size, int] = {}
        batch, sides = len(self.example), (self.example.shape[-2], self.example.shape[-1])
        guess = _Patches(sides, len(self.prefix.names))
        for spot, call in self.calls.items():
            axis = axes[call.out.shape] = _axis(call, axes)
            layout = layout_of(call.out, axis, batch, guess.of(call.out, axis, batch), sides)
            name = _name_of(spot)
            ends = name == "output" and self.ending is not None and bool(self.ending[0])
            if layout is not None and name not in self.table.layers and not ends:
                self._row(name, spot, call, layout)

    def _row(self, name: str, spot: Spot, call: _Call, layout: Layout) -> None:
        path, count, way = spot
        captures = self.table.captures
        captures[name] = Capture(path, count, way, layout, ndim=call.out.ndim)
        linear = name
        if type(call.module).__module__ == "torch.nn.modules.activation" and call.into is not None:
            linear = f"{name} before"
            captures[linear] = Capture(path, count, "in", layout, ndim=call.into.ndim)
        softmax, logits = self._probabilities(name, spot, call, layout)
        shape = shape_of(View(layout)(call.out, self.example), layout)
        parameters = sum(p.numel() for p in call.module.parameters()) if path else 0
        kind = type(call.module).__name__ if path else "Output"
        row = self.table.layers[name] = Layer(
            name, kind, shape, parameters, None, True, name, linear, softmax, logits,
            sigmoid=bool(softmax and self.squashed),
        )  # fmt: skip
        for i, token in enumerate(self.prefix.of(layout.extra + layout.back)):
            own = f"{name}@{token}"
            captures[own] = replace(captures[name], token=i)
            self.table.tokens[own] = replace(
                row, name=own, output_shape=shape[:1], parameters=0, output=own, linear=own
            )

    def _probabilities(
        self, name: str, spot: Spot, call: _Call, layout: Layout
    ) -> tuple[str | None, str | None]:
        """What is captured for a layer's probabilities and for what goes into their softmax or sigmoid, by name."""
        captures = self.table.captures
        if spot == self.ending:
            captures[f"{name} softmax"] = replace(captures[name], softmax=True)
            return f"{name} softmax", name
        if self.squashed is not None and _gives(call, self.calls, self.squashed):
            captures[f"{name} logits"] = Capture(*self.squashed, layout)
            captures[f"{name} sigmoid"] = replace(captures[f"{name} logits"], sigmoid=True)
            return f"{name} sigmoid", f"{name} logits"
        return None, None


def _name_of(spot: Spot) -> str:
    path, count, way = spot
    return (path or f"output{way.removeprefix('out')}") + (f"#{count}" if count > 1 else "")


class _Patches:
    """Which tokens are a picture's patches, where no graph tells: as many as a map before them has places, behind the
    tokens that the network is known to put in front (or one); where there was no map, those that came first."""

    def __init__(self, sides: tuple[int, int], front: int):
        self.sides, self.front = sides, front
        self.maps: dict[tuple[int, int], None] = {}

    def of(self, value: Tensor, channel: int, batch: int) -> Patches | None:
        """What the tokens of the next value are; None for steps of a sequence."""
        if value.ndim == 4 and value.shape[0] == batch:
            rows, columns = value.shape[-2:] if channel == 1 else value.shape[1:3]
            if is_map(rows, columns, *self.sides):
                self.maps[rows, columns] = None
        if value.ndim != 3 or batch not in value.shape[:2]:
            return None
        count = value.shape[token_axis(value, channel, batch)]
        if not self.maps and (found := grid(count - self.front, *self.sides)) and count - self.front > 1:
            self.maps[found] = None
        for front in dict.fromkeys((self.front, 0, 1)):
            for rows, columns in reversed(self.maps):
                if count - front == rows * columns and (front in (0, self.front) or rows * columns >= LEAST):
                    return Patches(rows, columns, front)
        return None


def _calls(net: nn.Module, example: Tensor) -> Calls:
    found: Calls = {}
    counts: dict[str, int] = {}
    handles = []

    def attach(path: str, module: nn.Module) -> None:
        def after(m: nn.Module, args: Any, result: Any) -> None:
            counts[path] = counts.get(path, 0) + 1
            tensors = tensors_of(result)
            if path:
                tensors = dict(tensors_by_place(result, whole=False))
            for place, out in tensors.items():
                # cloned: what works in place behind it changes nothing here
                found[path, counts[path], f"out{place}"] = _Call(out.clone(), first_tensor(args), m)

        handles.append(module.register_forward_hook(after))

    try:
        for path, module in net.named_modules():
            attach(path, module)
        with torch.no_grad():
            net(example)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _call_before_sigmoid(calls: Calls) -> Spot | None:
    """The call whose outputs go through a sigmoid at the network's end; None where it ends otherwise."""
    end = next((c.out for (path, *_), c in calls.items() if not path), None)
    if end is None or end.ndim < 2 or not end.is_floating_point() or end.min() < 0 or end.max() > 1:
        return None
    made = [
        k
        for k, c in calls.items()
        if c.out.shape == end.shape
        and c.out.is_floating_point()
        and _is_sigmoid(c.out.flatten()[:FEW], end.flatten()[:FEW])  # of a whole map only where these agree
        and not torch.equal(c.out, end)
        and _is_sigmoid(c.out, end)
    ]
    return made[-1] if made else None


def _is_sigmoid(value: Tensor, end: Tensor) -> bool:
    return torch.allclose(value.sigmoid(), end, atol=1e-6)


def _gives(call: _Call, calls: Calls, squashed: Spot) -> bool:
    """Whether a call gives what goes into the sigmoid at the end, or what comes out of it."""
    before = calls[squashed].out
    end = next(c.out for (path, *_), c in calls.items() if not path)
    return call.out.shape == before.shape and (torch.equal(call.out, before) or torch.equal(call.out, end))


def _class_call(calls: Calls, classes: int) -> Spot | None:
    """The call whose outputs are the classes: the matrix product that the network's own output, or its logits, is.
    Of several such where it is none (the mean of two heads) the output itself; the last one where that is
    probabilities; the only one whatever comes behind it."""
    whole = next((k for k in calls if not k[0]), None)
    end = calls[whole] if whole else None
    if whole is None or end is None or end.out.ndim != 2 or end.out.shape[1] < 2:
        return None
    products = [
        k for k, c in calls.items() if isinstance(c.module, nn.Linear) and c.out.shape == end.out.shape
    ]
    if not products:
        return whole if end.out.shape[1] == classes else None
    made = [k for k in products if _ends_in(calls[k].out, end.out)]
    sums = end.out.sum(1)
    mixed = len(products) > 1 and not made and not torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
    return whole if mixed else (made or products)[-1]


def _ends_in(logits: Tensor, end: Tensor) -> bool:
    """Whether a network's output is these logits or their softmax."""
    return any(torch.allclose(v, end, atol=1e-6) for v in (logits, logits.softmax(1), logits.log_softmax(1)))


def _axis(call: _Call, known: dict[torch.Size, int]) -> int:
    """The axis that counts channels: by the module's kind, else as in the last value of that shape."""
    last = call.out.ndim - 1
    if isinstance(call.module, CHANNELS_FIRST):
        return min(1, last)
    if isinstance(call.module, nn.Linear | nn.Embedding) or type(call.module) is nn.LayerNorm:
        return last
    return known.get(call.out.shape, 1 if call.out.ndim == 4 else last)
