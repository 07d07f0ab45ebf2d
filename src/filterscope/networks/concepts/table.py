"""What a file of concepts holds, whatever its form: arrays, and what it says of itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from filterscope.concept import Concept, How, Numbers
from filterscope.errors import TargetError, WeightsError
from filterscope.notices import log_once
from filterscope.target import At

Rescale = Literal["none", "layer_norm", "norm"]
MOST = 2**31  # values of an array, as of every tensor that is read
NAMED = 8  # damaged concepts that an error names


@dataclass(frozen=True, eq=False)
class Encoder:
    """A sparse autoencoder's encoder as one affine map a latent: its value before the activation is
    `rescaled(x) . weights[i] + bias[i]`. weights: (latents, channels), bias: (latents,), float32."""

    weights: np.ndarray
    bias: np.ndarray
    rescale: Rescale = "none"


@dataclass(frozen=True, eq=False)
class ConceptTable:
    """A file's concepts. form: what the file is, for a person. directions: (concepts, channels), float32, finite.

    encoder: of an autoencoder; None where there is none, or it is no affine map, which `no_latent` says. layer: as the file
    names it, a hook's name of TransformerLens or a layer's. token: the only token that it was trained on. names: of each
    concept, or none. notes: what a person should know of the reading. flat: whether a row may be of a whole map, channels
    x places, as Captum flattens it. examples: what the file says of each concept's images.
    """

    form: str
    directions: np.ndarray
    encoder: Encoder | None = None
    no_latent: str = "it holds directions alone, and no encoder"
    layer: str | None = None
    token: str | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    flat: bool = False

    @property
    def count(self) -> int:
        """How many concepts there are."""
        return int(self.directions.shape[0])

    @property
    def width(self) -> int:
        """Of how many channels each is."""
        return int(self.directions.shape[1])


@dataclass(frozen=True, eq=False)
class ConceptFile:
    """A file, or a folder, of concepts that was read. name: without the folder it lies in. sha256: of the file, of a
    folder that of its weights file."""

    path: Path
    name: str
    sha256: str
    table: ConceptTable = field(repr=False)

    def say(self, where: str, *, loudly: bool) -> None:
        """Log once what the file is, where its concepts are drawn, and what a person should know of it."""
        known = f"{self.table.count} concepts of {self.table.width} channels"
        level = logging.WARNING if loudly else logging.INFO
        log_once(level, "%s (%s): %s, %s", self.name, self.table.form, known, where)
        for note in self.table.notes:
            log_once(logging.WARNING, "%s %s", self.name, note)

    def concept(self, number: int, how: How, layer: str, at: At | None = None) -> Concept:
        """A concept with its numbers; TargetError for a latent of a file that has none."""
        weights, bias, rescale = self.arrays(how)
        name = self.table.names[number] if self.table.names else None
        numbers = Numbers(tuple(map(float, weights[number])), float(bias[number]), rescale)
        if not any(numbers.values):
            raise TargetError(f"concept {number} of {self.name} has no direction: every value is 0")
        return Concept(layer, self.name, number, how, at, self.sha256, name, numbers, str(self.path))

    def arrays(self, how: How) -> tuple[np.ndarray, np.ndarray, Rescale]:
        """What all concepts are computed by: weights (concepts, channels), biases (concepts,), and how a layer's values
        are rescaled before."""
        table = self.table
        if how != "latent":
            return table.directions, np.zeros(table.count, np.float32), "none"
        if table.encoder is None:
            raise TargetError(f"{self.name} ({table.form}) has no latents to draw: {table.no_latent}")
        return table.encoder.weights, table.encoder.bias, table.encoder.rescale


def numbers_of(
    array: object, name: str, file: str, shape: Sequence[int | None], *, axis: int | None = 0
) -> np.ndarray:
    """An array as float32, checked: as many axes and as long as `shape` says (None: any length), all finite; WeightsError
    that says what was expected and what is there. axis: along which the concepts are counted, None where none is."""
    values = np.asarray(array)
    wanted = " x ".join("any" if n is None else str(n) for n in shape)
    fits = values.ndim == len(shape) and all(
        n is None or n == own for n, own in zip(shape, values.shape, strict=True)
    )
    if not fits or not values.size:
        got = " x ".join(map(str, values.shape)) or "a single number"
        raise WeightsError(f"{file}: {name} has shape {got}, expected {wanted}")
    if values.dtype.kind not in "fiub":
        raise WeightsError(f"{file}: {name} holds {values.dtype} values, expected real numbers")
    found = values.astype(np.float32)
    finite = np.isfinite(found)
    if not finite.all():
        bad = int(found.size - finite.sum())
        some = "1 value that is" if bad == 1 else f"{bad} values that are"
        where = "" if axis is None else f", {_in_which(finite, axis)}"
        raise WeightsError(f"{file} is damaged: {name} holds {some} NaN or infinite{where}")
    return found


def _in_which(finite: np.ndarray, axis: int) -> str:
    """In which concepts a value is not finite, in a few words."""
    others = tuple(i for i in range(finite.ndim) if i != axis)
    numbers = np.flatnonzero(~finite.all(others))
    if len(numbers) == finite.shape[axis] > 1:
        return f"in each of its {len(numbers)} concepts"
    named = ", ".join(map(str, numbers[:NAMED].tolist()))
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"in concept{'s' if len(numbers) > 1 else ''} {named}{more}"
