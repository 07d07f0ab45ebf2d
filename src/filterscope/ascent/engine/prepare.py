"""A part of a network made ready for one batch: only the target's own channels, precision, memory layout, fused."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from filterscope.ascent.engine.attention import attended
from filterscope.ascent.engine.cuda_graph import Captured
from filterscope.ascent.engine.device import PRECISIONS, choose_device, choose_precision, keep_freed_memory
from filterscope.ascent.engine.narrowing import narrowed
from filterscope.ascent.engine.operations import plain
from filterscope.ascent.engine.passes import expanded, folded, fused, is_untraced, left_over
from filterscope.ascent.engine.rerouting import rerouted
from filterscope.errors import ArgumentError, NetworkError, first_line
from filterscope.networks.keras.layers.operations import Operation
from filterscope.networks.layer import Parts, Taps
from filterscope.networks.network import Network
from filterscope.networks.pytorch.copying import duplicate
from filterscope.objective import Objective
from filterscope.openmp import note_spinning
from filterscope.recipe import Backward
from filterscope.sides import sides_of
from filterscope.target import Target

__all__ = ["PRECISIONS", "Prepared", "choose_device", "choose_precision", "precision_for", "prepare"]

log = logging.getLogger("filterscope")
EXACT = Backward()


class Prepared(nn.Module):
    """A network's part for a batch of objectives: pixel values (B, C, H, W) in float32 to each layer's Taps.

    `units` holds where each target's channel stands in the taps, where all goals are units of one layer: these
    may have only the targets' own channels. Elsewhere it is None. `features` is the layer captured last.
    """

    def __init__(
        self, network: Network, parts: Parts, units: Tensor | None, dtype: torch.dtype, device: torch.device
    ):
        super().__init__()
        self.network = network
        self.input = network.input
        self.parts = parts
        self.units = units
        self.dtype = dtype
        self.device = device
        self.features = parts.layers[-1]
        self.captured = Captured(parts.graph.forward)  # a graph that is called prints what it raises

    def forward(self, pixels: Tensor, *, raw: bool = False) -> dict[str, Taps]:
        x = pixels if raw else self.input.preprocess(pixels)
        return self.parts.named(self.captured(x.to(self.dtype, memory_format=torch.channels_last)))


def prepare(
    network: Network,
    goals: Sequence[Objective],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    softmax: bool = False,
    narrow: bool = True,
    features: str | None = None,
    backward: Backward = EXACT,
) -> Prepared:
    """Ready the part of the network that `goals`, which are of the same layers, need.

    For units of one layer that layer's last convolution or matrix product computes of each picture its own unit
    alone (unless `narrow` is off); but where there is a softmax and `softmax` asks for it every unit of the layer,
    since a softmax mixes them. `features` names a layer to capture besides, whole. `backward` says where the gradient
    takes another way than the network's derivative.
    """
    device = device or torch.device("cpu")
    if device.type == "cpu":
        keep_freed_memory()
        note_spinning()
    layers = _layers_of(goals)
    captured = [name for name in layers if name != features] + ([features] if features else [])
    parts = network.parts(captured, softmax=softmax)
    own = expanded(parts.graph)
    untraced = is_untraced(own)
    graph = _as_it_is(own, dtype, device) if untraced else _converted(folded(plain(own)), dtype, device)
    wanted = [goal.unit for goal in goals if isinstance(goal, Target)]
    units = None
    if len(layers) == 1 and len(wanted) == len(goals):
        flat = len(network.layer(layers[0]).output_shape) == 1
        alone = narrow and features is None and not parts.with_softmax and narrowed(graph, wanted, flat=flat)
        units = torch.tensor([0] * len(wanted) if alone else wanted, device=device)
    graph = fused(attended(graph if backward == EXACT else rerouted(graph, backward)))
    graph.delete_all_unused_submodules()
    _log_once(network, captured, graph, f"{str(dtype).removeprefix('torch.')} on {device.type}", untraced)
    # a graph and its module know one another: left so, the weights would outlive their use
    own.graph.owning_module = graph.graph.owning_module = None
    ready = Parts(graph, captured, parts.with_softmax, parts.sigmoids)
    return Prepared(network, ready.eval(), units, dtype, device)


def precision_for(
    network: Network, goals: Sequence[Objective], precision: str, device: torch.device
) -> torch.dtype:
    """`choose_precision` for objectives of a network: where a network's own code mixes in numbers of another type, so
    that it does not run in bfloat16, "auto" takes float32, and "bfloat16" is an ArgumentError."""
    dtype = choose_precision(precision, device)
    complaint = None if dtype == torch.float32 else why_not_in(network, goals, dtype, device)
    if complaint is None:
        return dtype
    if precision != "auto":
        raise ArgumentError(
            f"{network.name} does not run in {precision} ({complaint}); use precision='float32'"
        )
    log.info("%s runs in float32, since in bfloat16 it does not: %s", network.name, complaint)
    return torch.float32


def why_not_in(
    network: Network, goals: Sequence[Objective], dtype: torch.dtype, device: torch.device
) -> str | None:
    """Why a network's own code does not run in a number type, None where it does; tried once for the same layers."""
    known = _tried.setdefault(network.graph, {})
    key = (*_layers_of(goals), dtype, device.type)
    if key not in known:
        known[key] = _complaint(network, goals, dtype, device)
    return known[key]


_tried: WeakKeyDictionary[fx.GraphModule, dict[tuple[Any, ...], str | None]] = WeakKeyDictionary()


def _complaint(
    network: Network, goals: Sequence[Objective], dtype: torch.dtype, device: torch.device
) -> str | None:
    if not _has_own_code(network, goals):
        return None
    sides = sides_of(network.input.size)
    try:
        prepared = prepare(network, goals, dtype=dtype, device=device, narrow=False)
        with torch.no_grad():
            prepared(torch.zeros(1, network.input.channels, *sides, device=device))
    except MemoryError:
        raise
    except Exception as error:  # a person's own code: NumPy, say, has no bfloat16
        return first_line(error.__cause__ if isinstance(error, NetworkError) and error.__cause__ else error)
    return None


def _layers_of(goals: Sequence[Objective]) -> list[str]:
    """The layers of the goals, each once."""
    return list(dict.fromkeys(name for goal in goals for name in goal.layers))


def _has_own_code(network: Network, goals: Sequence[Objective]) -> bool:
    """Whether more than layers is called: functions and methods, bare operations of Keras (a cast say), or a whole
    network that is not traced."""
    graph = network.parts(_layers_of(goals)).graph
    called = any(n.op in ("call_function", "call_method") for n in graph.graph.nodes)
    return called or is_untraced(graph) or any(isinstance(m, Operation) for m in graph.modules())


_logged: set[str] = set()


def _log_once(
    network: Network, layers: Sequence[str], graph: fx.GraphModule, where: str, untraced: bool
) -> None:
    """Log, the first time, how the part was prepared."""
    whose = f"{network.name}, {', '.join(layers)}"
    if untraced:
        message = f"{whose}: this network cannot be traced, so it runs unprepared: right but slower ({where})"
    else:
        called = [graph.get_submodule(str(n.target)) for n in graph.graph.nodes if n.op == "call_module"]
        counts = Counter(type(module).__name__ for module in called)
        message = f"{whose}: prepared as {_counted(counts)} ({where})"
        if left := left_over(graph):
            message += f"; left as they are: {_counted(left)}"
    if message not in _logged:
        _logged.add(message)
        log.info(message)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in counts.items())


def _converted(graph: fx.GraphModule, dtype: torch.dtype, device: torch.device) -> fx.GraphModule:
    """The same graph over copies of its modules whose tensors are shared where nothing changes."""
    return fx.GraphModule(_copied(graph, dtype, device), graph.graph)


def _as_it_is(graph: fx.GraphModule, dtype: torch.dtype, device: torch.device) -> fx.GraphModule:
    """The same for a network that is one module, whose parts may know one another by other ways than by name."""
    root = nn.Module()
    for name, module in graph.named_children():
        root.add_module(name, duplicate(module, lambda t: _tensor(t, dtype, device, as_it_lies=True)))
    return fx.GraphModule(root, graph.graph)


def _copied(module: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    twin = copy.copy(module) if not isinstance(module, fx.GraphModule) else nn.Module()
    twin._modules = {n: _copied(m, dtype, device) for n, m in module._modules.items() if m is not None}
    twin._buffers = {n: None if b is None else _tensor(b, dtype, device) for n, b in module._buffers.items()}
    twin._parameters = {
        n: None if p is None else nn.Parameter(_tensor(p.detach(), dtype, device), requires_grad=False)
        for n, p in module._parameters.items()
    }
    return twin


def _tensor(tensor: Tensor, dtype: torch.dtype, device: torch.device, *, as_it_lies: bool = False) -> Tensor:
    """Numbers in the network's type, on its device, kernels channels last (unless `as_it_lies`: a person's own code may
    need its maps in their usual order); indices and counts stay whole numbers."""
    if not tensor.is_floating_point():
        return tensor.to(device)
    layout = torch.channels_last if tensor.ndim == 4 and not as_it_lies else torch.preserve_format
    return tensor.to(device, dtype, memory_format=layout)
