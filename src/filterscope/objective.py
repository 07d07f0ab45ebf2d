"""What a picture may be for beyond one unit: whole layers, directions, sums of them; as data, both ways.

    block3_conv1:30                           a Target: one unit (see target.py)
    layer(block4_conv2)                       a whole layer, as Deep Dream excites it
    direction(block4_conv2, 3:1 7:-0.5)       a direction among its channels, as channel:weight
    cosine(block4_conv2, 3:1 7:-0.5)          the angle to that direction alone
    concept(block4_conv2, nmf.npy, 17)        a concept of a file (see concept.py)
    match(block4_conv2)                       to say there what the photograph says (see Likeness)
    caricature(block4_conv2)                  to say what the photograph says, and more of it
    guide(block4_conv2)                       to say at each place what the guide says somewhere
    block3_conv1:30 + 0.5 * layer(block4_conv2) - predictions:lion      a weighted sum

Free of torch. In Python objectives add and scale: `Target("conv1", 3) + 0.5 * WholeLayer("conv2")`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from filterscope.concept import CALL, Concept, ConceptSelection, require_read
from filterscope.errors import TargetError
from filterscope.target import Algebra, At, Selection, Sum, Target, number, place_text, terms_of

EXAMPLE = "write LAYER:UNIT, as in block3_conv1:30"
_CALL = re.compile(
    r"\s*(layer|direction|cosine|match|caricature|guide)\(\s*([^,()]+?)\s*(?:,\s*([^()]*?)\s*)?\)\s*(?:@\s*(.+))?"
)
_SPLIT = re.compile(r"\s+([+-])\s+(?![^()]*\))")
_FACTOR = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*\*\s*(?=\S)(.+)", re.IGNORECASE)
_WEIGHT = re.compile(r"(\d{1,9}):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class WholeLayer(Algebra):
    """All of a layer: the mean of its squared values, whose ascent is Deep Dream (Mordvintsev et al. 2015).

    >>> str(WholeLayer("block4_conv2"))
    'layer(block4_conv2)'
    """

    layer: str

    def __str__(self) -> str:
        return f"layer({self.layer})"

    @property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers that it is of."""
        return (self.layer,)


@dataclass(frozen=True)
class Direction(Algebra):
    """A direction among a layer's channels: the mean over space of the product with `vector`.

    vector: (channel, weight) pairs; every other channel weighs 0. With `cosine` the mean over space of the
    cosine between the values and the vector, which no brightness can raise.

    >>> str(Direction("block4_conv2", ((3, 1.0), (7, -0.5))))
    'direction(block4_conv2, 3:1 7:-0.5)'
    """

    layer: str
    vector: tuple[tuple[int, float], ...]
    cosine: bool = False
    at: At | None = None

    @classmethod
    def of(cls, layer: str, values: Sequence[float], *, cosine: bool = False) -> Direction:
        """From one value a channel, (units,)."""
        return cls(layer, tuple((i, float(v)) for i, v in enumerate(values) if v), cosine)

    def __str__(self) -> str:
        name = "cosine" if self.cosine else "direction"
        place = f"@{place_text(self.at)}" if self.at else ""
        return f"{name}({self.layer}, {' '.join(f'{i}:{number(v)}' for i, v in self.vector)}){place}"

    @property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers that it is of."""
        return (self.layer,)


Role = Literal["image", "guide"]


@dataclass(frozen=True)
class Likeness(Algebra):
    """Of a photograph, at a layer: what is said there of the picture beside what is said of the photograph.

    match: minus the squared distance over the photograph's own square: 0 where both say the same (Mahendran and
        Vedaldi 2015, "Understanding deep image representations by inverting them").
    caricature: the product of both at each place, times their cosine (lucid's `dot_compare`), over the
        photograph's own square: what the layer notices, exaggerated.
    guide: each place's product with whatever place of the guide it resembles most (guided Deep Dream).

    It names a role, no file: which photograph plays it stands beside the objective.

    >>> str(Likeness("match", "block4_conv2")), Likeness("guide", "block4_conv2").role
    ('match(block4_conv2)', 'guide')
    """

    how: Literal["match", "caricature", "guide"]
    layer: str

    def __str__(self) -> str:
        return f"{self.how}({self.layer})"

    @property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers that it is of."""
        return (self.layer,)

    @property
    def role(self) -> Role:
        """Which photograph it compares with: the one that the picture starts from, or the guide."""
        return "guide" if self.how == "guide" else "image"


Term: TypeAlias = Target | WholeLayer | Direction | Concept | Likeness
Objective: TypeAlias = Target | WholeLayer | Direction | Concept | Likeness | Sum


def roles(goal: Algebra) -> set[Role]:
    """The photographs that an objective compares with; empty for one that can be drawn from nothing.

    >>> roles(Likeness("match", "conv1") + Target("conv1", 3))
    {'image'}
    """
    return {term.role for _, term in terms_of(goal) if isinstance(term, Likeness)}


def has_place(goal: Algebra) -> bool:
    """Whether an objective, or a term of it, is for one place of a layer's map.

    >>> has_place(Target("conv1", 3) + Target("conv1", 4, at=(1, 2)))
    True
    """
    return any(
        isinstance(term, Target | Direction | Concept) and term.at is not None for _, term in terms_of(goal)
    )


def may_be_dead(goal: Algebra) -> bool:
    """Whether an objective that is 0 whatever is tried is of what nothing excites: units, layers and directions that
    are wanted more of. Less of a unit, or none, is 0 where the unit is silent, and that is what was asked for.

    >>> may_be_dead(Target("conv1", 3)), may_be_dead(-1 * Target("conv1", 3))
    (True, False)
    """

    def wanted(term: Algebra) -> bool:
        if isinstance(term, Direction | Concept):
            return all(value >= 0 for _, value in term.vector) and not is_latent(term)
        return isinstance(term, Target | WholeLayer)

    return all(weight > 0 and wanted(term) for weight, term in terms_of(goal))


def is_latent(term: Algebra) -> bool:
    """Whether a term is a latent of a sparse autoencoder, whose value before its activation may be negative."""
    return isinstance(term, Concept) and term.how == "latent"


@dataclass(frozen=True)
class Expression:
    """A parsed text of several terms, or of other than units; `resolve` asks a network what its names mean."""

    terms: tuple[tuple[float, WholeLayer | Direction | Likeness | Selection | ConceptSelection], ...]

    @property
    def concepts(self) -> ConceptSelection | None:
        """What a text that is nothing but concept(...) selects, which may be several."""
        ((weight, term), *more) = self.terms
        return term if isinstance(term, ConceptSelection) and weight == 1 and not more else None

    def resolve(
        self, units_of: Callable[[Selection | ConceptSelection], Sequence[Target | Concept]]
    ) -> Objective:
        """The objective meant; `units_of` gives a selection's targets, of which a sum takes one a term."""
        found: list[tuple[float, Term]] = []
        for weight, term in self.terms:
            if isinstance(term, Selection | ConceptSelection):
                targets = units_of(term)
                if len(targets) != 1:
                    raise TargetError(f"a sum takes one unit a term (got {term}, which is {len(targets)})")
                found.append((weight, targets[0]))
            else:
                found.append((weight, term))
        return found[0][1] if len(found) == 1 and found[0][0] == 1 else Sum(tuple(found))


def parse(text: str) -> Selection | Expression:
    """Read what a picture is for; TargetError where it cannot be read.

    >>> parse("layer(block4_conv2)").terms
    ((1.0, WholeLayer(layer='block4_conv2')),)
    """
    concepts = CALL.findall(text)  # whose file names may hold what else means something: read by themselves
    plain = text if not concepts else CALL.sub("concept()", text)
    pieces = _SPLIT.split(plain)
    if not concepts:
        require_read(text)
    if len(pieces) == 1 and not concepts and not _FACTOR.fullmatch(text) and not _CALL.fullmatch(text):
        return Selection.parse(text)
    signs = [1.0, *(-1.0 if sign == "-" else 1.0 for sign in pieces[1::2])]
    terms: list[tuple[float, WholeLayer | Direction | Likeness | Selection | ConceptSelection]] = []
    for sign, piece in zip(signs, pieces[::2], strict=True):
        found = _FACTOR.fullmatch(piece)
        weight, rest = (float(found[1]), found[2]) if found else (1.0, piece)
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
    if name not in ("direction", "cosine"):
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
    return Direction(where.layer, weights, name == "cosine", where.at)
