"""AutoRecipe: what to draw with where no recipe is named; which preset that is follows from network and target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from filterscope.errors import RecipeError
from filterscope.recipe.presets import ALIASES, PRESETS, changes_of, get_recipe, unknown_recipe
from filterscope.recipe.recipe import Recipe, read_recipe
from filterscope.sides import Size

AUTO = "auto"
SUITED = ("sharp", "robust")  # the presets of which "auto" chooses one


@dataclass(frozen=True)
class AutoRecipe:
    """The recipe that suits each target, with changes to it; `drawing.choice` has the rules.

    changes: settings by dotted key, as `Recipe.changed` takes them. named: whether "auto" was asked for by name, so that
    what was begun with another recipe does not go on with that one.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True

    def of(self, preset: str, settings: Mapping[str, Any]) -> Recipe:
        """A preset with the rules' settings, then with the changes that were asked for."""
        return PRESETS[preset].changed(settings).changed(self.changes)

    def choices(self) -> list[Recipe]:
        """The presets that it may choose, with the changes, which one of them at least takes."""
        return [self.of(preset, {}) for preset in SUITED if _is_taken(self, preset)]

    def record(self) -> dict[str, Any]:
        """As data for JSON, which `read_asked` reads."""
        plain = json.dumps(dict(self.changes), default=lambda part: part.model_dump(mode="json"))
        return {"name": AUTO, "changes": json.loads(plain)}


def record_asked(asked: Recipe | AutoRecipe) -> dict[str, Any]:
    """What was asked for, as data for JSON."""
    data: dict[str, Any] = (
        asked.record() if isinstance(asked, AutoRecipe) else json.loads(asked.model_dump_json())
    )
    return data


def read_asked(data: dict[str, Any]) -> Recipe | AutoRecipe:
    """What `record_asked` gave; RecipeError says which setting is wrong.

    >>> read_asked(AutoRecipe({"steps": 100}).record())
    AutoRecipe(changes={'steps': 100}, named=True)
    """
    if data.get("name") != AUTO:
        return read_recipe(data)
    changes = data.get("changes", {})
    return ask_recipe(AUTO, settings=changes)


def ask_recipe(
    recipe: str | Recipe | None = AUTO,
    *,
    steps: int | None = None,
    size: Size | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Recipe | AutoRecipe:
    """As `get_recipe`, and "auto" for the recipe that suits each target; None where none is named, which is "auto" too.

    >>> ask_recipe("auto", steps=100).changes
    {'steps': 100}
    """
    known = [AUTO, *PRESETS, *ALIASES]
    if isinstance(recipe, str) and recipe not in known:
        raise unknown_recipe(recipe, known)
    if recipe is not None and recipe != AUTO:
        return get_recipe(recipe, steps=steps, size=size, settings=settings)
    asked = AutoRecipe(changes_of(steps, size, settings), named=recipe is not None)
    if not asked.choices():
        asked.of(SUITED[0], {})  # which raises: what no preset takes is refused before a network is opened
    return asked


def _is_taken(asked: AutoRecipe, preset: str) -> bool:
    try:
        asked.of(preset, {})
    except RecipeError:
        return False
    return True
