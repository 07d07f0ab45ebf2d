"""A picture's row, as a chunk's journal holds it and, with what natural images and the whole layer add, the index."""

from __future__ import annotations

import base64

import numpy as np
from pydantic import BaseModel, ConfigDict

FAILED = "failed"
STATUSES = ("ok", "no-gain", "dead", FAILED)


class Example(BaseModel):
    """A natural image: its name, its thumbnail's file, the unit's activation and where it is largest, as fractions of
    the thumbnail's height and width."""

    image: str | None = None
    file: str | None = None
    activation: float | None = None
    row: float | None = None
    column: float | None = None


class ClassExamples(BaseModel):
    """A class of the natural images, the unit's mean activation on it (of its positive part), and its best images."""

    name: str
    mean: float | None = None
    examples: list[Example] | None = None


class Alike(BaseModel):
    """Another unit of the layer and its likeness, -1 to 1."""

    unit: int
    likeness: float | None = None


class Row(BaseModel):
    """One picture. The columns are explained in docs/atlas-format.md; `response` is of journals alone."""

    model_config = ConfigDict(extra="ignore")

    network: str | None = None
    layer: str | None = None
    unit: int
    facet: int = 0
    class_name: str | None = None
    status: str = "ok"
    reason: str | None = None
    activation: float | None = None
    excitation: float | None = None
    probability: float | None = None
    start: float | None = None
    legibility: float | None = None
    legibility_ceiling: float | None = None
    attempt: int | None = None
    seconds: float | None = None
    seed: int | None = None
    recipe: str | None = None
    file: str | None = None
    bytes: int | None = None
    alpha: str | None = None
    curve: list[float | None] | None = None
    natural_mean: float | None = None
    natural_p99: float | None = None
    natural_best: float | None = None
    histogram: list[int | None] | None = None
    histogram_low: float | None = None
    histogram_high: float | None = None
    examples: list[Example] | None = None
    crops: str | None = None
    classes: list[ClassExamples] | None = None
    best_class: str | None = None
    selectivity: float | None = None
    sparsity: float | None = None
    clarity: float | None = None
    polysemanticity: float | None = None
    label: str | None = None
    label_similarity: float | None = None
    alike: list[Alike] | None = None
    rank: int | None = None
    top_unit: int | None = None
    response: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no picture, since drawing it raised an error."""
        return self.status == FAILED


class Journal(BaseModel):
    """A chunk's journal file."""

    chunk: int
    rows: list[Row]


def encode_response(response: np.ndarray) -> str:
    """The activations of a layer's units, (units,), as a row holds them: little-endian float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(response, "<f4").tobytes()).decode()


def decode_response(text: str) -> np.ndarray:
    """The activations in a row, (units,)."""
    return np.frombuffer(base64.b64decode(text), "<f4")
