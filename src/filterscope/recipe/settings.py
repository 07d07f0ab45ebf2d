"""Settings of a recipe by dotted key, from a command line, a PNG or Python; what is wrong is said in words."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from filterscope.errors import RecipeError, did_you_mean
from filterscope.recipe.parts import KINDS, Facets, Pixels

# what an image of kind "cppn" is optimised with unless that is set too: its weights are no coefficients of a picture, and a
# step that suits these leaves a picture of one colour. lucid's notebooks have Adam at 0.005, and more steps.
CPPN: dict[str, Any] = {
    "optimizer": {"name": "Adam", "lr": 0.01, "decay": 1.0, "options": {}},
    "gradient": "plain",
}


def change_settings(data: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's data with dotted keys set; see `Recipe.changed`."""
    data, before = copy.deepcopy(data), data
    if _becomes_cppn(settings) and before["image"]["kind"] != "cppn":
        data |= json.loads(json.dumps(CPPN))
    for key, value in sorted(settings.items(), key=lambda item: _rank(item[0])):
        if key == "name" and value != before["name"]:
            raise RecipeError("a recipe's name cannot be set; it says which preset the others began from")
        _assign(data, key, value, before)
    return data


def _becomes_cppn(settings: Mapping[str, Any]) -> bool:
    """Whether settings make an image a network of coordinates."""
    image = settings.get("image", settings.get("image.kind"))
    return (image.get("kind") if isinstance(image, dict) else image) == "cppn"


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
            raise RecipeError(f"a setting is KEY=VALUE, as in optimizer.lr=0.1 (got {text!r})")
        try:
            settings[key.strip()] = json.loads(value)
        except (ValueError, RecursionError):
            settings[key.strip()] = value.strip()
    return settings


def setting_keys(data: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys of a recipe's data, members of lists by their kind (numbered where it is there twice) or place."""
    members = _members(data)
    for name, value in members.items():
        yield prefix + name
        yield from setting_keys(value, f"{prefix}{name}.")


def _members(data: Any) -> dict[str, Any]:
    """What lies in a part or a list, by the names that settings have: a list's members by their kind where that is there
    once, by kind and number (`jitter1`, `jitter2`) where it is there more often, by their place where they have none."""
    if isinstance(data, dict):
        return data
    if not isinstance(data, list):
        return {}
    kinds = [member.get("kind") if isinstance(member, dict) else None for member in data]
    counts, met = Counter(map(str, kinds)), Counter[str]()
    found = {}
    for i, (kind, member) in enumerate(zip(kinds, data, strict=True)):
        met[str(kind)] += 1
        number = met[str(kind)] if counts[str(kind)] > 1 else ""
        found[str(i) if kind is None else f"{kind}{number}"] = member
    return found


def _assign(data: dict[str, Any], key: str, value: Any, before: Mapping[str, Any]) -> None:
    """Set one key. `before`: the recipe as it was, by whose names a member goes too while others change their kind."""
    place, was, so_far = data, before, ""
    *path, last = key.split(".")
    for i, name in enumerate([*path, last]):
        final = i == len(path)
        index = _index(place, name, was)
        if index is None and isinstance(place, dict) and final and path[-1:] == ["options"]:
            index = name
        if index is None:
            raise RecipeError(_unknown(data, key, str(before["name"]), place, so_far, name))
        if final:
            _put(place, index, value, data["feed"] == "network" and data["start"] == "noise")
        else:
            if index == "facets" and place[index] is None:
                place[index] = Facets().model_dump()  # facets.count=3 where there were none
            place, was, so_far = place[index], _within(was, index), f"{so_far}{name}."


def _index(place: Any, name: str, before: Any) -> Any:
    """Where in a part or a list the member of that name stands; None where there is none."""
    if isinstance(place, list):
        if name.isdecimal() and int(name) < len(place):
            return int(name)
        for names in (list(_members(place)), list(_members(before)) if isinstance(before, list) else []):
            if name in names and names.index(name) < len(place):
                return names.index(name)
    if not isinstance(place, dict):
        return None
    kind = KINDS.get(str(place.get("kind")))  # of a kind just set, what has no default is not there yet
    return name if name in place or (kind is not None and name in kind.model_fields) else None


def _within(data: Any, index: Any) -> Any:
    try:
        return data[index]
    except (KeyError, IndexError, TypeError):
        return None


def _unknown(data: Any, key: str, recipe: str, place: Any, so_far: str, name: str) -> str:
    """What to say of a key that a recipe has not: where a kind is there more than once its numbers, else the nearest key
    and all that are there."""
    rest = key.removeprefix(f"{so_far}{name}")
    numbered = [
        f"{so_far}{own}{rest}" for own in _members(place) if re.fullmatch(rf"{re.escape(name)}\d+", own)
    ]
    if isinstance(place, list) and numbered:
        return (
            f"recipe {recipe!r} has no setting {key!r}: {name} is there {len(numbered)} times; "
            f"name one of them: {', '.join(numbered)}"
        )
    near = did_you_mean(key, setting_keys(data))
    known = [one for one in setting_keys(place, so_far) if so_far] or list(data)
    return f"recipe {recipe!r} has no setting {key!r}{near} (known: {', '.join(known)})"


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
