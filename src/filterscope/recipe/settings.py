"""Settings of a recipe by dotted key, from a command line, a PNG or Python; what is wrong is said in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from filterscope.errors import RecipeError, did_you_mean
from filterscope.recipe.parts import (
    Crop,
    Facets,
    Fourier,
    Jitter,
    LpNorm,
    NaturalSpectrum,
    Noise,
    Optimizer,
    Pad,
    Part,
    Phase,
    Pixels,
    Rotate,
    Scale,
    Stage,
    TotalVariation,
)
from filterscope.recipe.recipe import Recipe

_FIELDS: dict[str, tuple[type[Part], ...]] = {
    "image": (Pixels, Fourier, Phase),
    "regularizers": (LpNorm, TotalVariation, NaturalSpectrum),
    "transforms": (Pad, Jitter, Scale, Rotate, Crop, Noise),
}
_KINDS = {kind.model_fields["kind"].default: kind for kinds in _FIELDS.values() for kind in kinds}
_PARTS: dict[str, type[Part]] = {"optimizer": Optimizer, "stages": Stage, "facets": Facets}


def apply_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with dotted keys set; see `Recipe.changed`."""
    data = json.loads(recipe.model_dump_json())
    for key, value in sorted(settings.items(), key=lambda item: _rank(item[0])):
        if key == "name" and value != recipe.name:
            raise RecipeError("a recipe's name cannot be set; it says which preset the others began from")
        _assign(data, key, value, recipe.name)
    return _validated(data)


def _rank(key: str) -> tuple[bool, int, bool]:
    """What takes others' values away is set before them, in whatever order they were given: feed and start, which
    say what pixels begin as; wholes before their parts; an optimiser's name and a part's kind before their settings."""
    *path, last = key.split(".")
    return (key not in ("feed", "start"), len(path), last not in ("kind", "name"))


def parse_settings(texts: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """Command-line settings KEY=VALUE, values read as JSON where they are JSON and as text elsewhere.

    >>> parse_settings(["optimizer.lr=0.1", "regularizers.lp_norm.p=inf"])
    {'optimizer.lr': 0.1, 'regularizers.lp_norm.p': 'inf'}
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise RecipeError(f"--set takes KEY=VALUE, as in optimizer.lr=0.1 (got {text!r})")
        try:
            settings[key.strip()] = json.loads(value)
        except ValueError:
            settings[key.strip()] = value.strip()
    return settings


def setting_keys(data: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys of a recipe's data, members of lists by their kind or place."""
    members = _members(data)
    for name, value in members.items():
        yield prefix + name
        yield from setting_keys(value, f"{prefix}{name}.")


def _members(data: Any) -> dict[str, Any]:
    if isinstance(data, dict):
        return data
    if isinstance(data, list):
        kinds = [m.get("kind") for m in data if isinstance(m, dict)]
        named = len(kinds) == len(data) and None not in kinds and len(set(kinds)) == len(kinds)
        return {
            str(kind if named else i): m
            for i, (kind, m) in enumerate(zip(kinds or range(len(data)), data, strict=False))
        }
    return {}


def _assign(data: dict[str, Any], key: str, value: Any, recipe: str) -> None:
    place: Any = data
    *path, last = key.split(".")
    for i, name in enumerate([*path, last]):
        final = i == len(path)
        if isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            index: Any = int(name)
        elif isinstance(place, list) and name in _members(place):
            index = list(_members(place)).index(name)
        elif isinstance(place, dict) and (name in place or (final and path[-1:] == ["options"])):
            index = name
        else:
            near = did_you_mean(key, setting_keys(data))
            raise RecipeError(f"recipe {recipe!r} has no setting {key!r}{near} (known: {', '.join(data)})")
        if final:
            _put(place, index, value, data["feed"] == "network" and data["start"] == "noise")
        else:
            if index == "facets" and place[index] is None:
                place[index] = Facets().model_dump()  # facets.count=3 where there were none
            place = place[index]


def _put(place: Any, index: Any, value: Any, ours: bool) -> None:
    """Set a value; another kind of image, regularizer or transform begins at its own defaults."""
    if index == "kind" and place.get("kind", value) != value:
        place.clear()
        place.update(_defaults(value, ours))
        return
    if index == "name" and "options" in place and value != place["name"]:
        place["options"] = {}  # of another optimiser
    old = place.get(index) if isinstance(place, dict) else place[index]
    if isinstance(value, str) and isinstance(old, dict) and "kind" in old:
        value = _defaults(value, ours)  # image=pixels
    place[index] = value


def _defaults(kind: Any, ours: bool) -> dict[str, Any]:
    """A part of that kind at its defaults, or the kind alone where there is none or it has values to be given.

    Pixels are bounded and of decorrelated colour, unless fed as the blog fed them or begun from a
    photograph (where they are neither): a rate that suits another canvas
    would hardly move values of 0 to 255.
    """
    if kind == "pixels" and ours:
        return Pixels(bounded=True, decorrelate=True).model_dump(mode="json")
    found = _KINDS.get(kind) if isinstance(kind, str) else None
    try:
        return {"kind": kind} if found is None else json.loads(found().model_dump_json())
    except ValidationError:
        return {"kind": kind}


def _validated(data: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(_explain(error, data)) from None


def read_recipe(text: str | bytes | dict[str, Any]) -> Recipe:
    """A recipe from JSON (of a file or a PNG); RecipeError says which setting is wrong."""
    try:
        return _validated(text if isinstance(text, dict) else json.loads(text))
    except ValueError as error:
        raise RecipeError(f"this is no recipe: {error}") from None


def _explain(error: ValidationError, data: Any) -> str:
    """The first thing that is wrong, by the key that --set takes."""
    first = error.errors(include_url=False)[0]
    key, kinds, part = _where(first["loc"], data)
    got = f"(got {_short(first['input'])})"
    if first["type"] == "extra_forbidden":
        name = key.rpartition(".")[2]
        return f"a recipe has no setting {key!r}{did_you_mean(name, part.model_fields)}"
    if first["type"].startswith("union_tag"):
        tags = [kind.model_fields["kind"].default for kind in kinds]
        if first["type"] == "union_tag_not_found":
            return f"setting {key!r} needs a kind: one of {', '.join(tags)} {got}"
        tag = first["ctx"]["tag"]
        return f"setting {key!r} has no kind {tag!r}{did_you_mean(tag, tags)} (known: {', '.join(tags)})"
    if key.startswith("optimizer.options."):
        return f"setting {key!r} must be a number, true or false, or a pair of numbers {got}"
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"setting {key!r} {message} {got}"


def _where(loc: Sequence[str | int], data: Any) -> tuple[str, tuple[type[Part], ...], type[Part]]:
    """The dotted key of a place in a recipe's data, the kinds that may stand there, the part that it belongs to.

    Pydantic names the kind that it took, or the type that it tried, as if it were one step more on the way.
    """
    key: list[str] = []
    part: type[Part] = Recipe
    node = data
    for step in loc:
        if isinstance(node, dict) and step == node.get("kind") and step not in node:
            part = _KINDS[str(step)]
        elif isinstance(node, list) == isinstance(step, int) and isinstance(node, dict | list):
            key.append(str(step))
            missing = isinstance(node, dict) and step not in node
            node = None if missing else node[step]  # type: ignore[index]
            part = _PARTS.get(str(step), part)
    return ".".join(key), _FIELDS.get(key[0] if key else "", ()), part


def _short(value: Any) -> str:
    """A value in a message; of parts their kinds or scales, which is what their order is judged by."""
    if not isinstance(value, list | tuple) or not value:
        return repr(value)
    data = [part.model_dump() if isinstance(part, BaseModel) else part for part in value]
    named = [part.get("kind", part.get("scale")) if isinstance(part, dict) else part for part in data]
    return ", ".join(f"{name:g}" if isinstance(name, float) else str(name) for name in named)
