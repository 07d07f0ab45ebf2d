"""A torch module traced, and its graph compared with the module itself at several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.errors import first_line
from filterscope.networks.input_spec import InputSpec
from filterscope.networks.pytorch.attention import open_attention
from filterscope.networks.pytorch.outputs import tensors_of
from filterscope.networks.pytorch.own_hooks import has_hooks
from filterscope.networks.pytorch.random_numbers import watched
from filterscope.networks.pytorch.sizes import Trials
from filterscope.networks.pytorch.trace import Traced, UntraceableError, trace
from filterscope.sides import Size, as_size, pixels_text, sides_of, times

TOLERANCE = 1e-4  # of the largest output: float32 sums in another order


def trace_checked(net: nn.Module, spec: InputSpec, trials: Trials, batch: int) -> Traced:
    """The network's graph, tried against the network itself; UntraceableError where they differ."""
    if has_hooks(net):
        raise UntraceableError("forward hooks of a person's own change what it computes")
    sizes: list[Size] = [spec.size]
    if not spec.fixed:
        runs = trials.runs if trials.asks_values else trials.runs_on_shapes
        other = next(filter(runs, _smaller(spec.size)), None)
        sizes = [other] if other else sizes
    tried = [_tried(net, replace(spec, size=s), batch) for s in sizes]
    replaced = open_attention(net)
    try:
        traced = trace(net, (batch, spec.channels, *sides_of(spec.size)))
        if traced.chosen and spec.size not in sizes:
            tried.append(_tried(net, spec, batch))
        for part in net.modules():
            if getattr(part, "inplace", False) is True:
                part.inplace = False  # type: ignore[assignment]
        for picture, before in tried:
            _compare(traced, picture, before)
    except UntraceableError:
        for owner, name, module in replaced:
            owner._modules[name] = module
        raise
    return traced


def _compare(traced: Traced, picture: Tensor, expected: Mapping[str, Tensor]) -> None:
    if not expected or set(expected) != set(traced.outputs):
        raise UntraceableError("its output is no tensor, and nothing that holds tensors alone")
    graph = torch.fx.Graph()
    copies: dict[torch.fx.Node, Any] = {}
    graph.graph_copy(traced.graph, copies)
    graph.output(tuple(copies[traced.outputs[place]] for place in expected))
    try:
        with torch.no_grad():
            outs = torch.fx.Interpreter(traced.holder, graph=graph).run(picture)
    except Exception as error:
        raise UntraceableError(f"its graph does not run at {_px(picture)}: {first_line(error)}") from error
    for found, own in zip(outs, expected.values(), strict=True):
        if not isinstance(found, Tensor) or found.shape != own.shape or not is_close(found, own):
            raise UntraceableError(f"its graph gives other numbers at {_px(picture)}")


def is_close(found: Tensor, own: Tensor) -> bool:
    """Whether two results are equal but for float32 sums in another order."""
    if not own.is_floating_point():
        return torch.equal(found, own)
    scale = float(own.abs().max()) + 1e-12 if own.numel() else 1.0
    return torch.allclose(found / scale, own / scale, rtol=0, atol=TOLERANCE, equal_nan=True)


def _tried(net: nn.Module, spec: InputSpec, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
    """A picture, and what the network gives for it; two where it drops the batch of one, as `squeeze()` does."""
    picture = example_of(spec, 1)
    try:
        found = outputs_of(net, picture)
        if batch == 1 or all(t.ndim and len(t) == 1 for t in found.values()):
            return picture, found
    except Exception:  # what a person's code raises on a value that lacks its batch
        if batch == 1:
            raise
    pair = picture.expand(2, -1, -1, -1).contiguous()
    return pair, outputs_of(net, pair)


def outputs_of(net: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """What a network gives, by place; UntraceableError where it draws random numbers for it."""
    with torch.no_grad(), watched(net) as numbers:
        found = {place: out.clone() for place, out in tensors_of(net(picture.clone())).items()}
        if numbers.changed():
            raise UntraceableError("it draws random numbers when it runs")
        return found


def example_of(spec: InputSpec, batch: int) -> Tensor:
    """Pictures of noise, preprocessed: always the same."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(batch, spec.channels, *sides_of(spec.size), generator=generator) * 255
    return spec.preprocess(pixels)


def _px(picture: Tensor) -> str:
    return pixels_text((picture.shape[-2], picture.shape[-1]))


def _smaller(size: Size) -> Iterator[Size]:
    """Sizes to try a graph at, beside the network's own: cheap ones first."""
    height, width = sides_of(size)
    yield from (s for s in (64, 96, 128, 160, 192, 56, 112) if s < min(height, width))
    for more in (-32, 32):
        if min(height, width) + more > 0:
            yield as_size(height + more, width + more)
    yield times(size, 2)
