"""Settings of a recipe by dotted key, from a command line, a PNG or Python; what is wrong is said in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
    Pad,
    Phase,
    Pixels,
    Rotate,
    Scale,
    TotalVariation,
)
from filterscope.recipe.recipe import Recipe

_KINDS: tuple[Any, ...] = (
    Pixels,
    Fourier,
    Phase,
    LpNorm,
    TotalVariation,
    NaturalSpectrum,
    Pad,
    Jitter,
    Scale,
    Rotate,
    Crop,
    Noise,
)


def apply_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with dotted keys set; see `Recipe.changed`."""
    data = json.loads(recipe.model_dump_json())
    for key, value in settings.items():
        if key == "name" and value != recipe.name:
            raise RecipeError("a recipe's name cannot be set; it says which preset the others began from")
        _assign(data, key, value, recipe.name)
    return _validated(data)


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
            _put(place, index, value)
        else:
            if index == "facets" and place[index] is None:
                place[index] = Facets().model_dump()  # facets.count=3 where there were none
            place = place[index]


def _put(place: Any, index: Any, value: Any) -> None:
    """Set a value; another kind of image, regularizer or transform begins at its own defaults."""
    if index == "kind" and place.get("kind", value) != value:
        place.clear()
        place.update(_defaults(value))
        return
    if index == "name" and "options" in place and value != place["name"]:
        place["options"] = {}  # of another optimiser
    old = place.get(index) if isinstance(place, dict) else place[index]
    if isinstance(value, str) and isinstance(old, dict) and "kind" in old:
        value = _defaults(value)  # image=pixels
    place[index] = value


def _defaults(kind: Any) -> dict[str, Any]:
    """A part of that kind at its defaults, or the kind alone where there is none or it has values to be given."""
    found = next((k for k in _KINDS if k.model_fields["kind"].default == kind), None)
    try:
        return {"kind": kind} if found is None else json.loads(found().model_dump_json())
    except ValidationError:
        return {"kind": kind}


def _validated(data: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(_explain(error)) from None


def read_recipe(text: str | bytes | dict[str, Any]) -> Recipe:
    """A recipe from JSON (of a file or a PNG); RecipeError says which setting is wrong."""
    try:
        return _validated(text if isinstance(text, dict) else json.loads(text))
    except ValueError as error:
        raise RecipeError(f"this is no recipe: {error}") from None


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    known = {*LpNorm.model_fields, *Recipe.model_fields}
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"a recipe has no setting {key!r}{did_you_mean(str(first['loc'][-1]), known)}"
    message = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    return f"setting {key!r} {message} (got {_short(first['input'])})"


def _short(value: Any) -> str:
    """A value in a message; of parts their kinds or scales, which is what their order is judged by."""
    if not isinstance(value, list | tuple) or not value:
        return repr(value)
    data = [part.model_dump() if isinstance(part, BaseModel) else part for part in value]
    named = [part.get("kind", part.get("scale")) if isinstance(part, dict) else part for part in data]
    return ", ".join(f"{name:g}" if isinstance(name, float) else str(name) for name in named)
