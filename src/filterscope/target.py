"""What a picture is for: one unit of a layer; and the algebra of objectives, their file names and their random seeds.

The text of a target is read in selection.py. Free of torch, so that the command line can refuse a target at once.
"""

from __future__ import annotations

import hashlib
import operator
import re
from dataclasses import dataclass
from typing import TypeAlias

from filterscope.files import safe_name

_WITH_TOKEN = re.compile(r"(.+)@([A-Za-z_]\w*)")  # a layer's token is a layer of its own, LAYER@cls


At: TypeAlias = tuple[int, int] | tuple[int]
"""A place of a layer: row and column, or the number of a step."""


def row_and_column(at: At) -> tuple[int, int]:
    """Where on a map (rows, columns) a place is: steps stand in one row.

    >>> row_and_column((2, 3)), row_and_column((7,))
    ((2, 3), (0, 7))
    """
    return at if len(at) == 2 else (0, at[0])


def place_text(at: At) -> str:
    """A place as it stands behind @.

    >>> place_text((2, 3)), place_text((7,))
    ('2,3', '7')
    """
    return ",".join(map(str, at))


class Algebra:
    """What every objective can do: add, subtract, scale, name a file, seed its own random numbers."""

    layers: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The file name without its ending: the text in letters that every file system takes."""
        stem = re.sub(r"[^\w.+@,-]+", ".", str(self)).strip(".")
        return (
            stem if len(stem) <= 80 else f"{stem[:64]}.{hashlib.sha256(str(self).encode()).hexdigest()[:12]}"
        )

    def seed(self, seed: int, attempt: int = 0, facet: int = 0) -> int:
        """A 63-bit seed that belongs to this objective alone, so that no batch or order can change its picture."""
        words = f"{seed}|{self}" + (f"|{attempt}" if attempt else "") + (f"~{facet}" if facet else "")
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1

    def __add__(self, other: Algebra) -> Sum:
        return Sum((*terms_of(self), *terms_of(other))) if isinstance(other, Algebra) else NotImplemented

    def __sub__(self, other: Algebra) -> Sum:
        return self + other * -1.0 if isinstance(other, Algebra) else NotImplemented

    def __mul__(self, factor: float) -> Sum:
        if not isinstance(factor, int | float):
            return NotImplemented
        return Sum(tuple((factor * weight, term) for weight, term in terms_of(self)))

    __rmul__ = __mul__

    def __neg__(self) -> Sum:
        return self * -1.0


@dataclass(frozen=True)
class Sum(Algebra):
    """A weighted sum of objectives, (weight, term) each; sums of sums are flattened.

    >>> str(Target("a", 1) + 0.5 * Target("b", 2) - Target("a", 3))
    'a:1 + 0.5 * b:2 - a:3'
    """

    terms: tuple[tuple[float, Algebra], ...]

    def __str__(self) -> str:
        text = ""
        for weight, term in self.terms:
            size = abs(weight) if text else weight
            factor = "" if size == 1 else f"{number(size)} * "
            text += ((" - " if weight < 0 else " + ") if text else "") + f"{factor}{term}"
        return text

    @property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers of its terms, each once."""
        return tuple(dict.fromkeys(name for _, term in self.terms for name in term.layers))


def terms_of(objective: Algebra) -> tuple[tuple[float, Algebra], ...]:
    """Any objective as weighted terms."""
    return objective.terms if isinstance(objective, Sum) else ((1.0, objective),)


def number(value: float) -> str:
    """The shortest text that reads back as the same number.

    >>> number(0.5), number(3.0)
    ('0.5', '3')
    """
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


@dataclass(frozen=True)
class Target(Algebra):
    """One unit of one layer, at every place of its map or at one (row, column).

    >>> str(Target("block3_conv1", 30, at=(14, 14)))
    'block3_conv1:30@14,14'
    >>> str(Target("blocks.3@cls", 30))
    'blocks.3:30@cls'
    """

    layer: str
    unit: int
    at: At | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.unit, bool) and hasattr(self.unit, "__index__"):  # NumPy's, as argmax gives
            object.__setattr__(self, "unit", operator.index(self.unit))

    def __str__(self) -> str:
        layer, place = apart(self.layer, self.at)
        return f"{escaped(layer, '')}:{self.unit}{place}"

    @property
    def stem(self) -> str:
        """The file name without its ending: `block3_conv1-0034`, separators in the layer's name as dots.

        >>> Target("features/0", 7, at=(1, 2)).stem
        'features.0-0007@1,2'
        """
        layer, place = apart(self.layer, self.at)
        return f"{safe_name(layer)}-{self.unit:04d}{place}"

    @property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers whose activations it takes."""
        return (self.layer,)


def apart(layer: str, at: At | None) -> tuple[str, str]:
    """The layer, and what stands behind @: a place, or the token that is part of the layer's name."""
    if at is not None:
        return layer, f"@{place_text(at)}"
    found = _WITH_TOKEN.fullmatch(layer)
    return (found[1], f"@{found[2]}") if found else (layer, "")


def escaped(text: str, signs: str) -> str:
    """With a backslash before backslashes and the given signs."""
    return re.sub(rf"([\\{signs}])", r"\\\1", text)
