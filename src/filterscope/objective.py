"""What a picture may be for beyond one unit: whole layers, directions, likeness to a photograph, and what lies between two.

Each is data with a text that reads back (see expression.py). Free of torch. In Python objectives add and scale:
`Target("conv1", 3) + 0.5 * WholeLayer("conv2")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, TypeAlias

from filterscope.concept import Concept
from filterscope.errors import TargetError
from filterscope.target import Algebra, At, Sum, Target, number, place_text, terms_of

FRAMES = 8  # of what lies between two targets, where nothing is said
MOST_FRAMES = 96  # which are drawn together


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
    cosine between the values and the vector, which no brightness can raise. With `aligned` the product times that cosine
    squared (at least 0.1 before it is squared): what raises the direction and little else (Carter et al. 2019).

    >>> str(Direction("block4_conv2", ((3, 1.0), (7, -0.5))))
    'direction(block4_conv2, 3:1 7:-0.5)'
    """

    layer: str
    vector: tuple[tuple[int, float], ...]
    cosine: bool = False
    at: At | None = None
    aligned: bool = False

    @classmethod
    def of(cls, layer: str, values: Sequence[float], *, cosine: bool = False) -> Direction:
        """From one value a channel, (units,)."""
        return cls(layer, tuple((i, float(v)) for i, v in enumerate(values) if v), cosine)

    def __str__(self) -> str:
        name = "cosine" if self.cosine else "aligned" if self.aligned else "direction"
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


@dataclass(frozen=True)
class Between(Sum):
    """One frame of an interpolation between two objectives: (1 - t) * first + t * second, t from 0 to 1 over the frames,
    which are counted from 1. All frames of one are drawn together, with a part of the canvas in common, so that they align
    (lucid's aligned interpolation; Mordvintsev et al. 2018, "Differentiable Image Parameterizations").

    >>> frames = Between.frames_of(Target("conv2", 7), Target("conv2", 30), 3)
    >>> str(frames[1]), frames[1].share, frames[0].terms
    ('conv2:7 -> conv2:30 [2/3]', 0.5, ((1.0, Target(layer='conv2', unit=7, at=None)),))
    """

    first: Algebra
    second: Algebra
    frame: int
    frames: int

    @classmethod
    def at_frame(cls, first: Algebra, second: Algebra, frame: int, frames: int) -> Between:
        """The frame of that number, from 1; TargetError for one that there is not."""
        if not 2 <= frames <= MOST_FRAMES:
            raise TargetError(f"what lies between two targets has 2 to {MOST_FRAMES} frames (got {frames})")
        if not 1 <= frame <= frames:
            raise TargetError(f"frames are numbered from 1 to {frames} (got {frame})")
        if isinstance(first, Between) or isinstance(second, Between):
            raise TargetError("what lies between two targets has one -> (got several)")
        share = (frame - 1) / (frames - 1)
        weighted = ((1 - share, first), (share, second))
        terms = tuple((by * weight, term) for by, goal in weighted if by for weight, term in terms_of(goal))
        return cls(terms, first, second, frame, frames)

    @classmethod
    def frames_of(cls, first: Algebra, second: Algebra, frames: int = FRAMES) -> list[Between]:
        """All frames, in order."""
        return [cls.at_frame(first, second, number, frames) for number in range(1, max(frames, 1) + 1)]

    @property
    def share(self) -> float:
        """How far it is from the first (0) to the second (1)."""
        return (self.frame - 1) / (self.frames - 1)

    @property
    def path(self) -> str:
        """What all frames have in common, as text."""
        return f"{self.first} -> {self.second} [{self.frames}]"

    @property
    def group(self) -> list[Between]:
        """All frames, this one among them."""
        return self.frames_of(self.first, self.second, self.frames)

    def __str__(self) -> str:
        return f"{self.first} -> {self.second} [{self.frame}/{self.frames}]"

    @property
    def path_stem(self) -> str:
        """The file name, without its ending, of what is of all frames."""
        stem = f"{self.first.stem}-to-{self.second.stem}"
        return stem if len(stem) <= 72 else f"{stem[:56]}.{sha256(self.path.encode()).hexdigest()[:12]}"

    @property
    def stem(self) -> str:
        """The file name without its ending: `conv2-0007-to-conv2-0030.02of24`."""
        return f"{self.path_stem}.{self.frame:0{len(str(self.frames))}d}of{self.frames}"

    @property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers of both ends, each once, whatever the frame."""
        return tuple(dict.fromkeys((*self.first.layers, *self.second.layers)))

    def seed(self, seed: int, attempt: int = 0, facet: int = 0) -> int:
        """The same for all frames: they begin alike, and what moves the picture moves all of them alike."""
        words = f"{seed}|{self.path}" + (f"|{attempt}" if attempt else "") + (f"~{facet}" if facet else "")
        return int.from_bytes(sha256(words.encode()).digest()[:8], "big") >> 1


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
    if isinstance(goal, Between):  # whichever frame it is
        return has_place(goal.first) or has_place(goal.second)
    return any(
        isinstance(term, Target | Direction | Concept) and term.at is not None and not _is_about(term)
        for _, term in terms_of(goal)
    )


def _is_about(term: Algebra) -> bool:
    """Whether a term is for about its place, which what moves the picture may move too: an activation atlas' cell."""
    return isinstance(term, Direction) and term.aligned


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
