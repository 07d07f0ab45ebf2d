"""A torch module that no graph can hold, as a Network: it runs as it is, and hooks capture its activations.

Right but slower: nothing is pruned or fused. The forward pass is left as soon as all that was asked for is captured.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from filterscope.errors import FilterscopeError, NetworkError, first_line, is_out_of_memory
from filterscope.networks.known_shapes import KnownShapes
from filterscope.networks.layer import Layer
from filterscope.networks.network import Network
from filterscope.networks.patches import Patches, grid, is_map
from filterscope.networks.pytorch.copying import on_meta
from filterscope.networks.pytorch.layout import (
    Layout,
    Token,
    View,
    layout_of,
    prefix_of,
    shape_of,
    token_axis,
)
from filterscope.networks.pytorch.outputs import first_tensor, tensors_of
from filterscope.networks.pytorch.single import Singly
from filterscope.networks.pytorch.trace import INPUT
from filterscope.networks.subgraph import RUN_AT_MOST, Shapes
from filterscope.networks.torch_state import WithoutAutocast, in_our_torch
from filterscope.sides import Size, sides_of

log = logging.getLogger("filterscope")

LEAST = 16  # patches: fewer, and one token more, may be anything
FEW = 64  # numbers
CHANNELS_FIRST = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, nn.GroupNorm, nn.InstanceNorm2d, nn.Upsample, nn.PixelShuffle,
)  # fmt: skip


Spot: TypeAlias = tuple[str, int, str]
"""A module's path, which call of it, and where in what it gives."""


@dataclass(frozen=True)
class Capture:
    """One value to capture: of the `count`-th call of the module at `path` ("" is the whole network) what goes in
    or comes out, looked at as `layout` says; `token` takes one token, `softmax` the probabilities. `way` is "in" or "out",
    of the whole network with the place in what it gives: "out.logits". `ndim`: axes of the value, with the batch."""

    path: str
    count: int
    way: str
    layout: Layout
    token: int | None = None
    softmax: bool = False
    sigmoid: bool = False  # which makes the probabilities, each by itself
    ndim: int = 4

    @property
    def key(self) -> Spot:
        """What `capture_activations` calls it."""
        return self.path, self.count, self.way


class _HeardAllError(Exception):
    pass


class Turn:
    """Whose turn it is with a network: one thread at a time, since hooks would capture each other's passes. A copy of
    the network has a turn of its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __deepcopy__(self, memo: object) -> Turn:
        return Turn()


class Capturing(nn.Module):
    """A network run until all of `wanted` is captured: (B, C, H, W), preprocessed, to a tuple."""

    def __init__(self, net: nn.Module, wanted: Sequence[Capture], turn: Turn):
        super().__init__()
        self.net = net
        self.wanted = tuple(wanted)
        self.turn = turn

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        picture, keys = picture.contiguous(), [h.key for h in self.wanted]
        with self.turn.lock, WithoutAutocast():
            raw = (
                self._of_one(picture, keys)
                if len(picture) == 1
                else capture_activations(self.net, picture, keys)
            )
        return tuple(_shaped(raw[h.key], h, picture) for h in self.wanted)

    def _of_one(self, picture: Tensor, keys: Sequence[Spot]) -> dict[Spot, Tensor]:
        """What is captured of a single picture, also where the forward pass drops a batch of one, as `squeeze()` does."""
        try:
            raw = capture_activations(self.net, picture, keys)
            if all(raw[h.key].ndim == h.ndim for h in self.wanted):
                return raw
        except Exception as error:  # what a person's code raises on a value that lacks its batch
            if is_out_of_memory(error):
                raise
            log.debug("one picture alone does not go through: %s", error)
        pair = capture_activations(self.net, picture.expand(2, -1, -1, -1).contiguous(), keys)
        return {h.key: _first_half(pair[h.key], 1 if h.layout.kind == "sequence" else 0) for h in self.wanted}


def _first_half(value: Tensor, axis: int) -> Tensor:
    return value.narrow(axis, 0, value.shape[axis] // 2)


def _shaped(value: Tensor, capture: Capture, picture: Tensor) -> Tensor:
    if capture.sigmoid:
        return View(capture.layout).forward(value, picture).sigmoid()
    if capture.softmax:
        return value.softmax(1)
    if capture.token is not None:
        return Token(capture.layout, capture.token).forward(value)
    return View(capture.layout).forward(value, picture)


def capture_activations(
    net: nn.Module, picture: Tensor, wanted: Sequence[tuple[str, int, str]]
) -> dict[tuple[str, int, str], Tensor]:
    """What the modules' calls take in or give out, cloned at once: what works in place later changes nothing."""
    found: dict[tuple[str, int, str], Tensor] = {}
    counts: dict[str, int] = {}
    handles = []

    def attach(path: str, module: nn.Module) -> None:
        def before(_: nn.Module, args: Any) -> None:
            counts[path] = counts.get(path, 0) + 1
            note((path, counts[path], "in"), args)

        def after(_: nn.Module, __: Any, result: Any) -> None:
            note((path, counts[path], "out"), result)

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))

    def note(key: tuple[str, int, str], value: Any) -> None:
        path, count, way = key
        for place, tensor in _places(value, whole=not path and way == "out"):
            named = (path, count, way + place)
            if named in wanted:
                found[named] = tensor.clone()
        if len(found) == len(set(wanted)):
            raise _HeardAllError

    try:
        for path in dict.fromkeys(path for path, _, _ in wanted):
            attach(path, net.get_submodule(path))
        net(picture)
    except _HeardAllError:
        pass
    except FilterscopeError:
        raise
    except Exception as error:  # whatever a person's own code raises, at a size that it does not take say
        if is_out_of_memory(error):
            raise
        raise NetworkError(
            f"the forward pass of {type(net).__name__} failed: {type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return found


def _places(value: Any, *, whole: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a value by place: its first, and of the whole network's output each."""
    tensors = tensors_of(value)
    if tensors:
        yield "", next(iter(tensors.values()))
    if whole:
        yield from ((place, tensor) for place, tensor in tensors.items() if place)


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
        self.shapes = _HeardShapes(self)

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


class _HeardShapes(Shapes):
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


@dataclass(frozen=True)
class _Call:
    out: Tensor
    into: Tensor | None
    module: nn.Module


def read_untraced(
    net: nn.Module, example: Tensor, *, classes: int
) -> tuple[fx.GraphModule, dict[str, Layer], dict[str, Layer], dict[str, Capture]]:
    """The layer table of a module found by running it once on `example` (B, C, H, W) with hooks, and what
    to capture for each name in it."""
    calls = _calls(net, example)
    prefix = prefix_of(net)
    graph = fx.Graph()
    graph.output((graph.placeholder(INPUT),))
    captures: dict[str, Capture] = {}
    layers = {"input": Layer("input", "InputLayer", tuple(example.shape[1:]), 0, 1, True, "input", "input")}
    tokens: dict[str, Layer] = {}
    squashed = _call_before_sigmoid(calls)
    ending = _class_call(calls, classes) if squashed is None else None
    axes: dict[torch.Size, int] = {}
    guess = _Patches((example.shape[-2], example.shape[-1]), len(prefix.names))
    for (path, count, way), call in calls.items():
        axis = axes[call.out.shape] = _axis(call, axes)
        patches = guess.of(call.out, axis, len(example))
        layout = layout_of(call.out, axis, len(example), patches, guess.sides)
        name = (path or f"output{way.removeprefix('out')}") + (f"#{count}" if count > 1 else "")
        if layout is None or name in layers or (name == "output" and ending is not None and ending[0]):
            continue
        captures[name] = Capture(path, count, way, layout, ndim=call.out.ndim)
        linear, softmax = name, None
        if type(call.module).__module__ == "torch.nn.modules.activation" and call.into is not None:
            linear = f"{name} before"
            captures[linear] = Capture(path, count, "in", layout, ndim=call.into.ndim)
        if (path, count, way) == ending:
            softmax = f"{name} softmax"
            captures[softmax] = replace(captures[name], softmax=True)
        logits = name if softmax else None
        if squashed is not None and _gives(call, calls, squashed):
            softmax, logits = f"{name} sigmoid", f"{name} logits"
            captures[logits] = Capture(*squashed, layout)
            captures[softmax] = replace(captures[logits], sigmoid=True)
        shape = shape_of(View(layout)(call.out, example), layout)
        parameters = sum(p.numel() for p in call.module.parameters()) if path else 0
        kind = type(call.module).__name__ if path else "Output"
        row = layers[name] = Layer(
            name, kind, shape, parameters, None, True, name, linear, softmax, logits,
            sigmoid=bool(softmax and squashed),
        )  # fmt: skip
        for i, token in enumerate(prefix.of(layout.extra + layout.back)):
            own = f"{name}@{token}"
            captures[own] = replace(captures[name], token=i)
            tokens[own] = replace(row, name=own, output_shape=shape[:1], parameters=0, output=own, linear=own)
    return fx.GraphModule(nn.Module(), graph), layers, tokens, captures


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


def _calls(net: nn.Module, example: Tensor) -> dict[Spot, _Call]:
    found: dict[Spot, _Call] = {}
    counts: dict[str, int] = {}
    handles = []

    def attach(path: str, module: nn.Module) -> None:
        def after(m: nn.Module, args: Any, result: Any) -> None:
            counts[path] = counts.get(path, 0) + 1
            tensors = tensors_of(result)
            if path:
                tensors = dict(_places(result, whole=False))
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


def _call_before_sigmoid(calls: dict[Spot, _Call]) -> Spot | None:
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


def _gives(call: _Call, calls: dict[Spot, _Call], squashed: Spot) -> bool:
    """Whether a call gives what goes into the sigmoid at the end, or what comes out of it."""
    before = calls[squashed].out
    end = next(c.out for (path, *_), c in calls.items() if not path)
    return call.out.shape == before.shape and (torch.equal(call.out, before) or torch.equal(call.out, end))


def _class_call(calls: dict[Spot, _Call], classes: int) -> Spot | None:
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
