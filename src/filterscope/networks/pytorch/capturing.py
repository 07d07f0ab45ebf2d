"""Hooks that capture what modules' calls take in and give out; the forward pass ends as soon as all of it is captured."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from filterscope.errors import FilterscopeError, NetworkError, first_line, is_out_of_memory
from filterscope.networks.pytorch.layout import (
    Layout,
    Token,
    View,
)
from filterscope.networks.pytorch.outputs import tensors_of
from filterscope.networks.torch_state import WithoutAutocast

log = logging.getLogger("filterscope")


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


class _AllCapturedError(Exception):
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
        for place, tensor in tensors_by_place(value, whole=not path and way == "out"):
            named = (path, count, way + place)
            if named in wanted:
                found[named] = tensor.clone()
        if len(found) == len(set(wanted)):
            raise _AllCapturedError

    try:
        for path in dict.fromkeys(path for path, _, _ in wanted):
            attach(path, net.get_submodule(path))
        net(picture)
    except _AllCapturedError:
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


def tensors_by_place(value: Any, *, whole: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a value by place: its first, and of the whole network's output each."""
    tensors = tensors_of(value)
    if tensors:
        yield "", next(iter(tensors.values()))
    if whole:
        yield from ((place, tensor) for place, tensor in tensors.items() if place)
