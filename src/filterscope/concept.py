"""A concept of a file as what a picture is for: a direction that somebody found, or a latent of a sparse autoencoder.

    concept(block4_conv3, nmf.npy, 17)             row 17 of the file as a direction among the layer's channels
    concept(block4_conv3, nmf.npy, 17, cosine)     the angle to that direction alone
    concept(blocks.8, sae, 17, latent)             the latent itself: its encoder, before its activation
    concept(*, sae, 0-15)                          several, at the layer that the file names
    concept(mixed4c, 'my cavs, 2.pt', striped)     by the name that the file gives it
    concept(blocks.8, sae, 17)@3,4                 at one place; behind @ also a token, as @cls

Which files are read, and how, docs/concepts.md lists. Free of torch and NumPy: `networks.concepts` reads the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Literal, TypeAlias, get_args

from filterscope.errors import TargetError, did_you_mean
from filterscope.files import safe_name
from filterscope.selection import Selection, Units, name_key, read_unit
from filterscope.target import Algebra, At, apart

How: TypeAlias = Literal["dot", "cosine", "latent"]
HOWS: tuple[str, ...] = get_args(How)
ANY_LAYER = "*"  # in the layer's stead: the one that the file names
ADVICE = "write concept(LAYER, FILE, 17), or behind the number cosine or latent; LAYER is * where the file names it"
# in quotes a doubled quote is one: here, the end of one text in quotes and the beginning of another
CALL = re.compile(r"""(?<![\w.])concept\((?:'[^']*'|"[^"]*"|[^'"()])*\)""")
_PART = re.compile(r"""\s*(?:'((?:[^']|'')*)'|"((?:[^"]|"")*)"|([^,'"]*?))\s*(,|$)""")
_NEEDS_QUOTES = re.compile(r"""[,()'"]|^\s|\s$|^$""")


@dataclass(frozen=True)
class Numbers:
    """What a concept is computed by, read from its file: of a layer's values x, (channels,), at each place
    `x' . values + bias`, where x' is x, or x rescaled as the autoencoder rescales its input.

    values: (channels,). rescale: "layer_norm" is (x - mean) / (std + 1e-5) over the channels, the standard deviation
    with n - 1; "norm" is x times the square root of the number of channels over its length.
    """

    values: tuple[float, ...]
    bias: float = 0.0
    rescale: Literal["none", "layer_norm", "norm"] = "none"


@dataclass(frozen=True)
class Concept(Algebra):
    """A concept of a file, at a layer: the mean over space of the product with its direction (`dot`), of the cosine to it
    (`cosine`), or of its latent's value before the activation (`latent`), so that an inactive latent has a gradient too.

    layer: a layer's name, or "*" for the one that the file names. file: the path, until a network has read it
    (`Network.objectives`); then the file's or folder's name without the folder it lies in, with `sha256`, `name`,
    `numbers` and `place`, its path on this machine. at: row and column, or a step; a token such as cls is part of the
    layer's name, LAYER@cls.

    >>> str(Concept("block4_conv3", "nmf.npy", 17))
    'concept(block4_conv3, nmf.npy, 17)'
    >>> str(Concept("blocks.8@cls", "a, b", 3, "latent"))
    "concept(blocks.8, 'a, b', 3, latent)@cls"
    """

    layer: str
    file: str
    number: int
    how: How = "dot"
    at: At | None = None
    sha256: str = ""
    name: str | None = field(default=None, compare=False)
    numbers: Numbers | None = field(default=None, compare=False, repr=False)
    place: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise TargetError(f"a concept is drawn by {', '.join(HOWS)} (got {self.how!r})")

    def __str__(self) -> str:
        return _text(self.layer, self.file, str(self.number), self.how, self.at)

    @property
    def stem(self) -> str:
        """The file name without its ending: `block4_conv3-nmf-0017`, a cosine's `...-0017-cosine`.

        >>> Concept("blocks.8", "runs/sae", 17, "latent", at=(1, 2)).stem
        'blocks.8-sae-0017-latent@1,2'
        """
        layer, place = apart(self.layer, self.at)
        file = PurePath(self.file)
        name = file.name if file.suffix not in ENDINGS else file.stem
        how = "" if self.how == "dot" else f"-{self.how}"
        layer = "any" if layer == ANY_LAYER else safe_name(layer)
        name = safe_name(name).removeprefix(f"{layer}.")  # of a file that `filterscope concepts` wrote
        return f"{layer}-{name[:60]}-{self.number:04d}{how}{place}"

    @property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers that it is of."""
        return (self.layer,)

    @property
    def cosine(self) -> bool:
        """Whether the angle alone counts."""
        return self.how == "cosine"

    @property
    def vector(self) -> tuple[tuple[int, float], ...]:
        """The direction as (channel, weight) pairs, as `Direction` has it; TargetError of a file that was not read."""
        return tuple((i, v) for i, v in enumerate(self.read_numbers.values) if v)

    @property
    def read_numbers(self) -> Numbers:
        """The numbers; TargetError where no network has read them."""
        if self.numbers is None:
            raise TargetError(f"{self} was not read: pass it through Network.objectives")
        return self.numbers


ENDINGS = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".pkl", ".bin", ".ckpt")  # of files of concepts


@dataclass(frozen=True)
class ConceptSelection:
    """A parsed text: a layer, a file and which of its concepts; `Network.objectives` makes Concepts of it.

    units: as in `Selection`: indices, (first, last) ranges and names, or "*" for all.

    >>> str(ConceptSelection.parse("concept(blocks.8, sae, 3, 7-9, latent) @ cls"))
    'concept(blocks.8, sae, 3,7-9, latent)@cls'
    """

    layer: str
    file: str
    units: Units
    how: How = "dot"
    at: At | None = None

    @classmethod
    def parse(cls, text: str) -> ConceptSelection:
        """Read concept(...), and what stands behind it; TargetError where it cannot be read."""
        found = CALL.match(text)
        if not found:
            raise TargetError(f"{text!r} is no concept; {ADVICE}")
        rest = text[found.end() :].strip()
        parts = _parts(found[0][len("concept(") : -1], text)
        how: str = "dot"
        if len(parts) > 3 and parts[-1] in HOWS:
            how = parts.pop()
        if len(parts) < 3 or not all(parts):
            raise TargetError(f"{text!r}: {ADVICE}")
        layer, file, *units = parts
        if rest and not rest.startswith("@"):
            raise TargetError(
                f"{text!r}: behind concept(...) comes @ROW,COLUMN or a token as @cls (got {rest!r})"
            )
        place = Selection.parse(f"x:0{rest}") if rest else Selection("x")
        layer += place.layer[1:]  # @cls
        chosen: Units = "*" if units == ["*"] else tuple(read_unit(unit, text) for unit in units)
        return cls(layer, file, chosen, how, place.at)  # type: ignore[arg-type]

    def __str__(self) -> str:
        listed = self.units if isinstance(self.units, str) else ",".join(map(_unit_text, self.units))
        return _text(self.layer, self.file, listed, self.how, self.at)

    def resolve(self, count: int, names: Sequence[str] = ()) -> list[int]:
        """The numbers meant, in order and without repeats, of a file of `count` concepts; TargetError for others."""
        items: Iterable[int | tuple[int, int] | str] = (
            [(0, count - 1)] if isinstance(self.units, str) else self.units
        )
        return list(dict.fromkeys(i for item in items for i in self._indices(item, count, names)))

    def _indices(self, item: int | tuple[int, int] | str, count: int, names: Sequence[str]) -> Iterable[int]:
        file = PurePath(self.file).name
        if isinstance(item, str):
            found = [i for i, name in enumerate(names) if name_key(name) == name_key(item)]
            if not found:
                has = "" if names else "; it names none: use their numbers"
                raise TargetError(f"{file} has no concept {item!r}{has}{did_you_mean(item, [*names, *HOWS])}")
            return found[:1]
        first, last = item if isinstance(item, tuple) else (item, item)
        if first > last or last >= count:
            got = f"{first}-{last}" if isinstance(item, tuple) else f"{item}"
            raise TargetError(f"{file} has concepts 0 to {count - 1} (got {got})")
        return range(first, last + 1)


def one_of(text: str, number: int) -> str:
    """The text of one of the concepts that a text means.

    >>> one_of("concept(blocks.8, sae, *, latent)", 17)
    'concept(blocks.8, sae, 17, latent)'
    """
    return str(replace(ConceptSelection.parse(text), units=(number,)))


def is_concept(text: str) -> bool:
    """Whether a text is of concepts.

    >>> is_concept("concept(blocks.8, sae, *)"), is_concept("blocks.8:3")
    (True, False)
    """
    return CALL.match(text) is not None


def require_read(text: str) -> None:
    """TargetError for a text that begins a concept and does not end it."""
    if re.search(r"(?<![\w.])concept\(", text):
        raise TargetError(
            f"{text!r}: {ADVICE}; a FILE with commas, quotes or brackets in its name stands in quotes, 'my file, 2.npy'"
        )


def _parts(inner: str, text: str) -> list[str]:
    """What stands between the commas, without its quotes; in quotes a doubled quote is one."""
    parts, place = [], 0
    while True:
        found = _PART.match(inner, place)
        if not found:
            raise TargetError(f"{text!r}: {ADVICE}")
        single, double, plain, comma = found.groups()
        parts.append(
            single.replace("''", "'")
            if single is not None
            else double.replace('""', '"')
            if double is not None
            else plain
        )
        if not comma:
            return parts
        place = found.end()


def _text(layer: str, file: str, units: str, how: str, at: At | None) -> str:
    layer, place = apart(layer, at)
    manner = "" if how == "dot" else f", {how}"
    return f"concept({_quoted(layer)}, {_quoted(file)}, {units}{manner}){place}"


def _quoted(part: str) -> str:
    return "'" + part.replace("'", "''") + "'" if _NEEDS_QUOTES.search(part) else part


def _unit_text(unit: int | tuple[int, int] | str) -> str:
    return f"{unit[0]}-{unit[1]}" if isinstance(unit, tuple) else _quoted(str(unit))
