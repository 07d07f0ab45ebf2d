"""The text of what a picture is for: one unit, whole layers, directions, sums of them, and what lies between two.

    block3_conv1:30                           a Target: one unit (see selection.py)
    layer(block4_conv2)                       a whole layer, as Deep Dream excites it
    direction(block4_conv2, 3:1 7:-0.5)       a direction among its channels, as channel:weight
    cosine(block4_conv2, 3:1 7:-0.5)          the angle to that direction alone
    aligned(block4_conv2, 3:1 7:-0.5)         the direction times the squared cosine to it (Carter et al. 2019)
    concept(block4_conv2, nmf.npy, 17)        a concept of a file (see concept.py)
    match(block4_conv2)                       to say there what the photograph says (see Likeness)
    caricature(block4_conv2)                  to say what the photograph says, and more of it
    guide(block4_conv2)                       to say at each place what the guide says somewhere
    block3_conv1:30 + 0.5 * layer(block4_conv2) - predictions:lion      a weighted sum
    block3_conv1:3,4 + block4_conv2:7,9       a grid of pairs: the sum of each with each
    block4_conv2:7 -> block4_conv2:30 [24]    what lies between two targets, in 24 frames (8 where no number stands)
    block4_conv2:7 -> block4_conv2:30 [6/24]  the sixth of them

Free of torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

from filterscope.concept import CALL, Concept, ConceptSelection, require_read
from filterscope.errors import TargetError
from filterscope.objective import FRAMES, Between, Direction, Likeness, Objective, Term, WholeLayer
from filterscope.selection import Selection
from filterscope.target import Sum, Target

MOST_PAIRS = 400  # sums of a grid
EXAMPLE = "write LAYER:UNIT, as in block3_conv1:30"
_CALL = re.compile(
    r"\s*(layer|direction|cosine|aligned|match|caricature|guide)\(\s*([^,()]+?)\s*(?:,\s*([^()]*?)\s*)?\)\s*(?:@\s*(.+))?"
)
_BETWEEN = re.compile(r"(.+?)\s+->\s+(.+?)\s*(?:\[\s*(?:(\d{1,6})\s*/\s*)?(\d{1,6})\s*\])?\s*", re.DOTALL)
# an end is missing, or the blanks around the arrow
_NOT_BETWEEN = re.compile(r"^\s*->|->\s*$|:[^:]*->[^:]*:")
_SPLIT = re.compile(r"\s+([+-])\s+(?![^()]*\))")
_FACTOR = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*\*\s*(?=\S)(.+)", re.IGNORECASE)
_WEIGHT = re.compile(r"(\d{1,9}):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE)


UnitsOf: TypeAlias = Callable[[Selection | ConceptSelection], Sequence[Target | Concept]]
"""Gives the targets or concepts that a selection means."""


@dataclass(frozen=True)
class Expression:
    """A parsed text of several terms, or of other than units; `resolve` asks a network what its names mean."""

    terms: tuple[tuple[float, WholeLayer | Direction | Likeness | Selection | ConceptSelection], ...]

    def resolve(self, units_of: UnitsOf) -> list[Objective]:
        """The objectives meant; `units_of` gives a selection's targets. Of terms with several units there is one for each
        choice of one unit a term, those of the last term side by side."""
        choices: list[list[tuple[float, Term]]] = []
        for weight, term in self.terms:
            if isinstance(term, Selection) and term.units is None:
                raise TargetError(f"a sum names its units (got {term}, of which no unit is named)")
            several = isinstance(term, Selection | ConceptSelection)
            meant: Sequence[Term] = units_of(term) if several else [term]  # type: ignore[arg-type, list-item]
            choices.append([(weight, one) for one in meant])
        if len(choices) > 1 and len(list(product(*choices))) > MOST_PAIRS:
            raise TargetError(
                f"a grid of sums has at most {MOST_PAIRS} (got {' x '.join(str(len(c)) for c in choices)})"
            )
        return [
            found[0][1] if len(found) == 1 and found[0][0] == 1 else Sum(found) for found in product(*choices)
        ]


@dataclass(frozen=True)
class Interpolation:
    """A parsed text of what lies between targets; `resolve` asks a network what its names mean.

    frames: how many, None where the text does not say. frame: the only one that is meant, None of all.
    """

    first: Selection | Expression
    second: Selection | Expression
    frames: int | None = None
    frame: int | None = None

    def with_frames(self, frames: int) -> Interpolation:
        """The same in so many frames, unless its text has a number."""
        return self if self.frames is not None else replace(self, frames=frames)

    def resolve(self, units_of: UnitsOf) -> list[Objective]:
        """The frames, in order; of several targets on one side or both, those of each first to each second, one after the
        other."""
        ends = [
            units_of(end) if isinstance(end, Selection) else end.resolve(units_of)
            for end in (self.first, self.second)
        ]
        frames = FRAMES if self.frames is None else self.frames
        found: list[Objective] = []
        pairs = [(first, second) for first, second in product(*ends) if first != second]
        if not pairs:
            raise TargetError(f"nothing lies between {ends[0][0]} and itself")
        for first, second in pairs:
            if self.frame is None:
                found += Between.frames_of(first, second, frames)
            else:
                found.append(Between.at_frame(first, second, self.frame, frames))
        return found


def read_objective(text: str) -> Objective:
    """The objective that a text is of, as `str` wrote it: units by number, whatever the network has; TargetError for
    anything else.

    >>> read_objective("conv1:3 + 0.5 * conv1:4 -> conv1:7 [2/3]").share
    0.5
    """
    parsed = parse(text)
    found: Sequence[Objective]
    if isinstance(parsed, Selection):
        found = _numbered(parsed)
    else:
        found = parsed.resolve(_numbered)
    if len(found) != 1:
        raise TargetError(f"{text!r} is no one objective")
    return found[0]


def _numbered(selection: Selection | ConceptSelection) -> list[Target]:
    if isinstance(selection, ConceptSelection):
        raise TargetError(f"{selection} is of a file, which has to be read first")
    units = selection.units
    if not isinstance(units, tuple) or not all(isinstance(unit, int) for unit in units):
        raise TargetError(f"{selection} is no units by number")
    return [Target(selection.layer, unit, selection.at) for unit in units if isinstance(unit, int)]


def parse(text: str) -> Selection | Expression | Interpolation:
    """Read what a picture is for; TargetError where it cannot be read.

    >>> parse("layer(block4_conv2)").terms
    ((1.0, WholeLayer(layer='block4_conv2')),)
    """
    if found := _BETWEEN.fullmatch(text):
        first, second = parse(found[1]), parse(found[2])
        if isinstance(first, Interpolation) or isinstance(second, Interpolation):
            raise TargetError(f"{text!r}: what lies between two targets has one -> (got several)")
        return Interpolation(first, second, *(None if n is None else int(n) for n in (found[4], found[3])))
    concepts = CALL.findall(text)  # whose file names may hold what else means something: read by themselves
    plain = text if not concepts else CALL.sub("concept()", text)
    pieces = _SPLIT.split(plain)
    if _NOT_BETWEEN.search(plain):
        raise TargetError(
            f"{text!r}: what lies between two targets is written A -> B, with blanks around ->, as in "
            "block4_conv2:7 -> block4_conv2:30"
        )
    if not concepts:
        require_read(text)
    if len(pieces) == 1 and not concepts and not _FACTOR.fullmatch(text) and not _CALL.fullmatch(text):
        return Selection.parse(text)
    signs = [1.0, *(-1.0 if sign == "-" else 1.0 for sign in pieces[1::2])]
    terms: list[tuple[float, WholeLayer | Direction | Likeness | Selection | ConceptSelection]] = []
    for sign, piece in zip(signs, pieces[::2], strict=True):
        found = _FACTOR.fullmatch(piece)
        weight, rest = (float(found[1]), found[2]) if found else (1.0, piece)
        if not math.isfinite(weight):
            raise TargetError(f"a term's factor is a finite number (got {piece})")
        rest = rest.strip()
        if rest.startswith("concept()"):
            selection = ConceptSelection.parse(concepts.pop(0) + rest[len("concept()") :])
            terms.append((sign * weight, selection))
        else:
            terms.append((sign * weight, _term(rest, text)))
    if concepts:
        raise TargetError(f"{text!r}: a term is concept(...) alone, or a number * concept(...)")
    return Expression(tuple(terms))


def _term(text: str, whole: str) -> WholeLayer | Direction | Likeness | Selection:
    found = _CALL.fullmatch(text)
    if not found:
        return Selection.parse(text)
    name, layer, vector, place = found.groups()
    if name not in ("direction", "cosine", "aligned"):
        if vector or place:
            raise TargetError(f"{whole!r}: {name}(NAME) takes a layer's name alone (got {text!r})")
        return WholeLayer(layer) if name == "layer" else Likeness(name, layer)  # type: ignore[arg-type]
    items = (vector or "").split()
    pairs = [_WEIGHT.fullmatch(item) for item in items]
    if not items or None in pairs:
        raise TargetError(
            f"{whole!r}: {name}(LAYER, CHANNEL:WEIGHT ...) as in {name}({layer}, 3:1 7:-0.5) (got {text!r})"
        )
    where = Selection.parse(f"{layer}:0@{place}") if place else Selection(layer)
    weights = tuple((int(p[1]), float(p[2])) for p in pairs if p)
    if len({i for i, _ in weights}) < len(weights):
        raise TargetError(f"{whole!r} names a channel twice in {text!r}")
    return Direction(where.layer, weights, name == "cosine", where.at, name == "aligned")
