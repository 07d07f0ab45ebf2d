"""A part of a network made ready for one batch: only the target's own channels, precision, memory layout."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from filterscope.errors import ArgumentError
from filterscope.networks.network import Network, Parts, Taps
from filterscope.objective import Objective
from filterscope.target import Target

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(device: str = "auto") -> torch.device:
    """The device to run on: "auto" takes CUDA, then Apple's MPS, then the processor."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(
            f"device {device!r} is not to be had here ({reason}); auto, cpu, cuda or mps"
        ) from None
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The network's number type: "auto" takes bfloat16 where the processor has instructions for it."""
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision must be one of {', '.join(PRECISIONS)} (got {precision!r})")
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


class Prepared(nn.Module):
    """A network's part for a batch of objectives: pixel values (B, C, H, W) in float32 to each layer's Taps.

    `units` holds where each target's channel stands in the taps, where all goals are units of one layer: these
    may have only the targets' own channels. Elsewhere it is None. `features` names the layer by which facets
    of one unit are kept apart.
    """

    def __init__(
        self, network: Network, parts: Parts, units: Tensor | None, dtype: torch.dtype, device: torch.device
    ):
        super().__init__()
        self.input = network.input
        self.parts = parts
        self.units = units
        self.dtype = dtype
        self.device = device
        self.features = parts.layers[-1]

    def forward(self, pixels: Tensor, *, raw: bool = False) -> dict[str, Taps]:
        x = pixels if raw else self.input.preprocess(pixels)
        taps: dict[str, Taps] = self.parts(x.to(self.dtype, memory_format=torch.channels_last))
        return taps


def prepare(
    network: Network,
    goals: Sequence[Objective],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    softmax: bool = False,
    narrow: bool = True,
    features: str | None = None,
) -> Prepared:
    """Ready the part of the network that `goals`, which listen to the same layers, need.

    For units of one layer that layer's last convolution or matrix product computes the units' channels alone
    (unless `narrow` is off); but where there is a softmax and `softmax` asks for it every unit of the layer,
    since a softmax mixes them. `features` names a layer to listen to besides, whole.
    """
    device = device or torch.device("cpu")
    layers = list(dict.fromkeys(name for goal in goals for name in goal.layers))
    heard = [name for name in layers if name != features] + ([features] if features else [])
    parts = network.parts(heard, softmax=softmax)
    graph = _converted(parts.graph, dtype, device)
    wanted = [goal.unit for goal in goals if isinstance(goal, Target)]
    units = None
    if len(layers) == 1 and len(wanted) == len(goals):
        alone = (
            narrow
            and features is None
            and not parts.with_softmax
            and _narrow(graph, network.layer(layers[0]).linear, wanted)
        )
        units = torch.tensor([*range(len(wanted))] if alone else wanted, device=device)
    ready = Parts(graph, heard, parts.with_softmax)
    return Prepared(network, ready.eval(), units, dtype, device)


def _converted(graph: fx.GraphModule, dtype: torch.dtype, device: torch.device) -> fx.GraphModule:
    """The same graph over copies of its modules whose tensors are shared where nothing changes."""
    root = nn.Module()
    for name, module in graph.named_children():
        root.add_module(name, _copied(module, dtype, device))
    return fx.GraphModule(root, graph.graph)


def _copied(module: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    twin = copy.copy(module)
    twin._modules = {n: _copied(m, dtype, device) for n, m in module._modules.items() if m is not None}
    twin._buffers = {  # indices and counts stay whole numbers
        n: b if b is None else b.to(device, dtype if b.is_floating_point() else b.dtype)
        for n, b in module._buffers.items()
    }
    twin._parameters = {}
    for name, p in module._parameters.items():
        layout = torch.channels_last if p is not None and p.ndim == 4 else torch.preserve_format
        value = None if p is None else p.detach().to(device, dtype, memory_format=layout)
        twin._parameters[name] = None if value is None else nn.Parameter(value, requires_grad=False)
    return twin


def _narrow(graph: fx.GraphModule, node: str, units: Sequence[int]) -> bool:
    """Leave only `units` in the layer's last product, in that order; False where there is none to narrow."""
    target = next((n.target for n in graph.graph.nodes if n.name == node and n.op == "call_module"), None)
    last = list(graph.get_submodule(str(target)).children())[-1:] if target else []
    if not last or not isinstance(last[0], nn.Conv2d | nn.Linear) or getattr(last[0], "groups", 1) != 1:
        return False
    module = last[0]
    rows = torch.tensor(list(units), device=module.weight.device)
    module.weight = nn.Parameter(module.weight[rows], requires_grad=False)
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias[rows], requires_grad=False)
    return True
