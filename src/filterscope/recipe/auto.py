"""AutoRecipe: what to draw with where no recipe is named; which preset that is follows from network and target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from filterscope.errors import RecipeError
from filterscope.recipe.presets import PRESETS, changes_of, get_recipe
from filterscope.recipe.recipe import Recipe
from filterscope.sides import Size

AUTO = "auto"
SUITED = ("sharp", "robust")  # the presets of which "auto" chooses one


@dataclass(frozen=True)
class AutoRecipe:
    """The recipe that suits each target, with changes to it; `drawing.choice` has the rules.

    changes: settings by dotted key, as `Recipe.changed` takes them.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)

    def of(self, preset: str, settings: Mapping[str, Any]) -> Recipe:
        """A preset with the rules' settings, then with the changes that were asked for."""
        return PRESETS[preset].changed(settings).changed(self.changes)


def ask_recipe(
    recipe: str | Recipe = AUTO,
    *,
    steps: int | None = None,
    size: Size | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Recipe | AutoRecipe:
    """As `get_recipe`, and "auto" for the recipe that suits each target.

    >>> ask_recipe("auto", steps=100).changes
    {'steps': 100}
    """
    if recipe != AUTO:
        return get_recipe(recipe, steps=steps, size=size, settings=settings)
    asked = AutoRecipe(changes_of(steps, size, settings))
    if not any(_is_taken(asked, preset) for preset in SUITED):
        asked.of(SUITED[0], {})  # which raises: what no preset takes is refused before a network is opened
    return asked


def _is_taken(asked: AutoRecipe, preset: str) -> bool:
    try:
        asked.of(preset, {})
    except RecipeError:
        return False
    return True
