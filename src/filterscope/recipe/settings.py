"""Settings of a recipe by dotted key, from a command line, a PNG or Python; what is wrong is said in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from filterscope.errors import RecipeError, did_you_mean
from filterscope.recipe.explain import KINDS
from filterscope.recipe.parts import Facets, Pixels
from filterscope.recipe.recipe import Recipe


def apply_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with dotted keys set; see `Recipe.changed`."""
    data = json.loads(recipe.model_dump_json())
    for key, value in sorted(settings.items(), key=lambda item: _rank(item[0])):
        if key == "name" and value != recipe.name:
            raise RecipeError("a recipe's name cannot be set; it says which preset the others began from")
        _assign(data, key, value, recipe.name)
    return Recipe.model_validate(data)


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
        except (ValueError, RecursionError):
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
    found = KINDS.get(kind) if isinstance(kind, str) else None
    try:
        return {"kind": kind} if found is None else json.loads(found().model_dump_json())
    except RecipeError:
        return {"kind": kind}


def read_recipe(text: str | bytes | dict[str, Any]) -> Recipe:
    """A recipe from JSON (of a file or a PNG); RecipeError says which setting is wrong."""
    try:
        data = text if isinstance(text, dict) else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"this is no recipe: {error}") from None
    return Recipe.model_validate(data)
