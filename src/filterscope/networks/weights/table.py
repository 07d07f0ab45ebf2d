"""Where weights come from: read only when a layer is first needed, checked before they are used.

A source knows for each layer the names and shapes of its tensors, without reading them, and reads one layer
at a time, so that a 553 MB file costs no more memory than the layers that a target needs.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from filterscope.errors import WeightsError

log = logging.getLogger("filterscope")

Array = np.ndarray
Table = dict[str, list[tuple[str, tuple[int, ...], Callable[[], Array]]]]  # layer -> (tensor, shape, read)
RANDOM = "random"  # in place of a weights file: numbers that nothing trained


@dataclass(frozen=True)
class Slot:
    """A tensor that a layer wants: its Keras name and shape, and the torch parameter it becomes.

    `axes` permutes the Keras layout into torch's; () keeps it. The result takes the parameter's own shape.
    `store` is the tensor's path in a `.weights.h5` file of Keras 3.
    """

    name: str
    shape: tuple[int, ...]
    parameter: str
    axes: tuple[int, ...] = ()
    store: str = field(default="", compare=False)

    def fill(self, module: nn.Module, array: Array) -> None:
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
        if self.axes:
            tensor = tensor.permute(self.axes).contiguous()
        owner, _, name = self.parameter.rpartition(".")
        place = module.get_submodule(owner)
        wanted = getattr(place, name, None)
        if isinstance(wanted, Tensor) and wanted.shape != tensor.shape:
            tensor = tensor.reshape(wanted.shape)
        if name in place._buffers:
            place._buffers[name] = tensor
        else:
            setattr(place, name, nn.Parameter(tensor, requires_grad=False))


Slots = Mapping[str, tuple[str, tuple[Slot, ...]]]  # layer -> (submodule of the graph, its tensors)


class WeightSource(Protocol):
    """Trained weights, layer by layer."""

    label: str
    path: Path | None

    @property
    def sha256(self) -> str:
        """Identifies the weights: of the file where there is one, else of the tensors."""

    def covers(self, layer: str) -> bool:
        """Whether the source holds the layer's weights."""

    def load(self, module: nn.Module, layer: str) -> None:
        """Fill the layer's parameters."""


@dataclass
class WeightTable:
    """Weights given as a table: layer -> [(tensor name, shape, a function that reads it)].

    The one implementation behind files, live models and downloads: `check` compares every tensor with what
    the network wants before anything is read.
    """

    label: str
    slots: Slots
    table: Table
    digest: Callable[[], str]
    path: Path | None = None

    @cached_property
    def sha256(self) -> str:
        return self.digest()

    def covers(self, layer: str) -> bool:
        wanted = self.slots.get(layer)
        return wanted is None or not wanted[1] or layer in self.table

    def tensors(self, layer: str) -> list[Array] | None:
        """A layer's tensors as they are; None where the source does not hold them."""
        return [read() for _, _, read in self.table[layer]] if layer in self.table else None

    def check(self) -> None:
        """WeightsError that names the first tensor which does not fit."""
        for layer, tensors in self.table.items():
            wanted = self.slots[layer][1] if layer in self.slots else ()
            for position, (name, shape, _) in enumerate(tensors):
                if position >= len(wanted):
                    raise WeightsError(
                        f"{self.label} is of another architecture: {layer}/{name} {list(shape)} is not in this network"
                    )
                if shape != wanted[position].shape:
                    raise WeightsError(
                        f"{self.label} is of another architecture: {layer}/{name} has shape {list(shape)}, "
                        f"expected {list(wanted[position].shape)}"
                    )
            if len(tensors) < len(wanted):
                absent = wanted[len(tensors)]
                raise WeightsError(
                    f"{self.label} lacks {layer}/{absent.name}, expected with shape {list(absent.shape)}"
                )
        wanting = [layer for layer, (_, slots) in self.slots.items() if slots]
        if wanting and not any(layer in self.table for layer in wanting):
            raise WeightsError(f"{self.label} holds no weights for any layer of this network")

    def load(self, module: nn.Module, layer: str) -> None:
        if layer not in self.slots:
            return
        child, slots = self.slots[layer]
        for slot, (name, _, read) in zip(slots, self.table[layer] if slots else (), strict=True):
            try:
                array = np.asarray(read(), dtype=np.float32)
            except (OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
                raise WeightsError(
                    f"{self.label} is damaged: {layer}/{name} cannot be read ({error})"
                ) from error
            if not np.isfinite(array).all():
                bad = int(np.size(array) - np.isfinite(array).sum())
                raise WeightsError(
                    f"{self.label} is damaged: {layer}/{name} holds {bad} values that are NaN or infinite"
                )
            slot.fill(module.get_submodule(child), array)


def random_weights(
    slots: Slots, known: Mapping[str, Mapping[str, Sequence[float]]] | None = None
) -> WeightTable:
    """Numbers that nothing trained, the same every time: kernels as He et al. (2015) draw them, every other tensor
    as if it were not there (scales and variances 1, offsets and means 0). `known`: tensors that are given, by layer
    and name."""

    def reader(layer: str, slot: Slot) -> Callable[[], Array]:
        given = (known or {}).get(layer, {}).get(slot.name)
        return partial(_random, layer, slot) if given is None else partial(np.asarray, given, np.float32)

    table: Table = {
        layer: [(slot.name, slot.shape, reader(layer, slot)) for slot in wanted]
        for layer, (_, wanted) in slots.items()
    }
    shapes = [(layer, [(name, shape) for name, shape, _ in row]) for layer, row in table.items()]
    digest = hashlib.sha256(f"random weights {shapes}".encode()).hexdigest()
    return WeightTable("random weights", slots, table, lambda: digest)


def _random(layer: str, slot: Slot) -> Array:
    name = slot.name.rpartition("/")[2]
    if "kernel" in name or "embeddings" in name:
        seed = hashlib.sha256(f"{layer}/{slot.name}".encode()).digest()[:8]
        values = np.random.default_rng(int.from_bytes(seed, "big")).standard_normal(slot.shape, np.float32)
        depthwise = slot.axes == (2, 3, 0, 1)  # each kernel is of one channel
        fan = math.prod(slot.shape[:2] if depthwise else slot.shape[:-1])
        values *= np.float32((2 / max(1, fan)) ** 0.5)
        return values
    ones = "variance" in name or name in ("gamma", "scale")
    return np.full(slot.shape, 1.0 if ones else 0.0, np.float32)


def warn_of_random(name: str) -> None:
    """Say loudly that pictures of the network show no learning."""
    log.warning("%s has RANDOM weights: nothing trained it, and its pictures show no learning", name)


def absurd_size(claimed: int, stored: int) -> bool:
    """Whether a tensor or file claims far more bytes than are stored for it; weights hardly pack at all."""
    return claimed > 10_000_000 and claimed > 50 * stored


def sha256_file(path: Path) -> str:
    """The sha256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def part_of(path: Path) -> tuple[Path, str | None]:
    """A weights file and the part of it that is meant, written `FILE#PART`, as a checkpoint's `ema` or `teacher`."""
    name, sign, part = path.name.rpartition("#")
    return (path.with_name(name), part) if sign and name and part and not path.exists() else (path, None)


def sha256_weights(path: Path) -> str:
    """What identifies a weights file, or a part of one: the file's sha256, of a part that with the part's name."""
    file, part = part_of(path)
    whole = sha256_file(file)
    return whole if part is None else hashlib.sha256(f"{whole}#{part}".encode()).hexdigest()


def sha256_arrays(arrays: Mapping[str, Array]) -> str:
    """One sha256 over named arrays: names, shapes and float32 (or complex64) values in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{list(arrays[name].shape)}".encode())
        array = np.asarray(arrays[name])
        kind = np.complex64 if np.iscomplexobj(array) else np.float32
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()
