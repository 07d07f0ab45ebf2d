"""Which units of a layer a text names: the target grammar, both ways.

    block3_conv1                 16 units of the layer, chosen by the seed
    block3_conv1:30              one unit (a channel: its mean over space)
    block3_conv1:3,7,0-15        several, in this order, without repeats
    block3_conv1:*               all
    block3_conv1:30@14,14        one neuron of the channel: row 14, column 14 (of a transformer, one patch's token);
                                 drawn without the transforms that move the picture, since it is for one place
    blocks.3:30@cls              the channel of a token that stands for no patch: cls, dist, reg1
    head:3@7                     one step of a sequence whose steps are no places of the picture
    predictions:sea_snake        a class by name

A layer's name may hold colons: the last one stands before the units. Where that would be read otherwise (a name with a
colon alone, a class's name with one) the text has a backslash before it.

Free of torch, so that the command line can refuse a target at once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from filterscope.errors import TargetError, did_you_mean
from filterscope.target import At, Target, apart, escaped

SAMPLE = 16  # units that a bare LAYER stands for: the 4 x 4 sheet of the blog
_INDEX = re.compile(r"\d{1,18}")
_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})")
_PLACE = re.compile(r"\s*(\d{1,18})\s*(?:,\s*(\d{1,18})\s*)?")
_SUM = re.compile(r":\s*\d+\s*[-+*]|[+*]")  # a sum without spaces, which no layer's name is
_TOKEN = re.compile(r"\s*([A-Za-z_]\w*)\s*")


Units: TypeAlias = tuple[int | tuple[int, int] | str, ...] | str
"""Which units of a layer a text names: indices, (first, last) ranges and names, or "*" for all."""


@dataclass(frozen=True)
class Selection:
    """A parsed target text: a layer and which of its units; `resolve` makes targets of it.

    `units` holds indices, (first, last) ranges, names, or is "*" (all) or None (a sample).

    >>> str(Selection.parse("block3_conv1: 3, 7-9 @ 1,2"))
    'block3_conv1:3,7-9@1,2'
    """

    layer: str
    units: Units | None = None
    at: At | None = None

    @classmethod
    def parse(cls, text: str, layers: Collection[str] = ()) -> Selection:
        """Read a target text; TargetError where it cannot be read.

        layers: the names that there are. The longest of them that the text begins with is the layer; where there is
        none, or none are given, all before the last colon is.

        >>> Selection.parse("a:b:3"), Selection.parse("a:b:3", ["a"]).layer
        (Selection(layer='a:b', units=(3,), at=None), 'a')
        """
        plain = _unescaped(text).strip()
        known = [
            n for n in layers if plain == n or (plain.startswith(n) and plain[len(n) :].lstrip()[:1] == ":")
        ]
        if known:
            layer = max(known, key=len)
            colon, rest = (":", plain[len(layer) :].lstrip()[1:].strip()) if plain != layer else ("", "")
        else:
            layer, colon, rest = (_unescaped(part).strip() for part in _split(text))
        if not layer or (colon and not rest):
            raise TargetError(
                f"{text!r} is no target; write LAYER, LAYER:3,7,9, LAYER:0-15, LAYER:* or LAYER:NAME"
            )
        if not colon:
            return cls(layer)
        units, sign, place = rest.partition("@")
        at = None
        if sign:
            if token := _TOKEN.fullmatch(place):
                layer = f"{layer}@{token[1]}"
            elif found := _PLACE.fullmatch(place):
                at = (int(found[1]),) if found[2] is None else (int(found[1]), int(found[2]))
            else:
                raise TargetError(
                    f"{text!r}: after @ comes ROW,COLUMN, as in {layer}:30@14,14, a step's number, or a token as @cls "
                    f"(got {place!r})"
                )
        if units.strip() == "*":
            return cls(layer, "*", at)
        return cls(layer, tuple(read_unit(part.strip(), text) for part in units.split(",")), at)

    def __str__(self) -> str:
        if self.units is None:
            return escaped(self.layer, ":")
        layer, place = apart(self.layer, self.at)
        return f"{escaped(layer, '')}:{self._listed(':')}{place}"

    def _listed(self, signs: str) -> str:
        if not isinstance(self.units, tuple):
            return self.units or ""
        parts = [f"{u[0]}-{u[1]}" if isinstance(u, tuple) else escaped(str(u), signs) for u in self.units]
        return ",".join(parts)

    def among(self, layers: Collection[str]) -> Selection:
        """The same text read by one who knows the layers' names, which may hold colons."""
        if self.layer in layers and not any(":" in name for name in layers):
            return self
        layer, place = apart(self.layer, self.at)
        text = f"{layer}:{self._listed(':')}{place}" if self.units is not None else self.layer
        return Selection.parse(text, layers)

    def resolve(self, units: int, *, seed: int = 0, names: Sequence[Sequence[str]] = ()) -> list[Target]:
        """The targets meant, in order and without repeats, for a layer of `units` units.

        `names` holds for each unit the names it answers to (a class's name, its WordNet id).
        """
        if self.units is None:
            chosen: Iterable[int] = _sample(self.layer, units, seed)
        elif self.units == "*":
            chosen = range(units)
        else:
            chosen = dict.fromkeys(i for item in self.units for i in self._indices(item, units, names))
        return [Target(self.layer, i, self.at) for i in chosen]

    def _indices(
        self, item: int | tuple[int, int] | str, units: int, names: Sequence[Sequence[str]]
    ) -> Iterable[int]:
        if isinstance(item, str):
            return [_by_name(self.layer, item, names)]
        first, last = item if isinstance(item, tuple) else (item, item)
        got = f"{first}-{last}" if isinstance(item, tuple) else f"{item}"
        if first > last:
            raise TargetError(
                f"{self.layer} has units 0 to {units - 1}, and a range goes upwards (got {got})"
            )
        if last >= units:
            raise TargetError(f"{self.layer} has units 0 to {units - 1} (got {got})")
        return range(first, last + 1)


def sum_advice(name: str) -> str:
    """How a sum is written, where an unknown layer's or class's name looks like part of one; else nothing.

    >>> sum_advice("0+0.5*block1_conv2:1")
    '; a sum has spaces around its + and -: LAYER:1 + 0.5 * LAYER:2'
    """
    if name.startswith(("-", "+")):
        return "; a term's own sign is a factor: -1 * LAYER:UNIT"
    looks_so = re.search(r"[+:]|\d\s*\*|\*\s*\d", name)
    return "; a sum has spaces around its + and -: LAYER:1 + 0.5 * LAYER:2" if looks_so else ""


def _split(text: str) -> tuple[str, str, str]:
    """Before and behind the last colon that has no backslash before it."""
    found = [m.start() for m in re.finditer(r"\\.|(:)", text, re.DOTALL) if m[1]]
    if not found:
        return text, "", ""
    place = found[0] if _SUM.search(text[: found[-1]]) else found[-1]
    return text[:place], ":", text[place + 1 :]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def read_unit(part: str, text: str) -> int | tuple[int, int] | str:
    """A unit as a target's text names it: its number, the first and last of a range, or a name; TargetError where it is
    none. text: the whole, for the message.

    >>> read_unit("0-15", ""), read_unit("goldfish", "")
    ((0, 15), 'goldfish')
    """
    if not part:
        raise TargetError(f"{text!r} has an empty place between its commas")
    if _INDEX.fullmatch(part):
        return int(part)
    if found := _RANGE.fullmatch(part):
        return int(found[1]), int(found[2])
    if re.fullmatch(r"-\d+", part):
        raise TargetError(f"units are counted from 0 (got {part})")
    return part


def _sample(layer: str, units: int, seed: int) -> list[int]:
    return sorted(random.Random(f"{seed}/{layer}").sample(range(units), min(SAMPLE, units)))


def name_key(name: str) -> str:
    """A class's name as names are compared: case, spaces, `_` and `-` tell none apart.

    >>> name_key(" Sea_Snake"), name_key("sea-snake")
    ('sea_snake', 'sea_snake')
    """
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def _by_name(layer: str, name: str, names: Sequence[Sequence[str]]) -> int:
    if not names and re.fullmatch(r"[\d-]+", name):
        raise TargetError(
            f"{name!r} is no unit of {layer}: write a number, as {layer}:3, or a range, as {layer}:0-15"
        )
    if not names:
        advice = sum_advice(name)
        raise TargetError(
            f"the units of {layer} have no names (got {name!r})" + (advice or "; use their numbers")
        )
    found = [i for i, own in enumerate(names) if name_key(name) in {name_key(n) for n in own}]
    if not found:
        near = sum_advice(name) or did_you_mean(name_key(name), [n for own in names for n in own])
        raise TargetError(f"{layer} has no class {name!r}{near}")
    if len(found) > 1:
        which = " and ".join(f"{i} ({'/'.join(names[i])})" for i in found)
        raise TargetError(f"{layer} has several classes {name!r}: {which}; use the number")
    return found[0]
