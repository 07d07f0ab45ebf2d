"""What a visitor asks the viewer to draw: checked, and within bounds that keep the machine usable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from filterscope.atlas.storage.manifest import NetworkManifest
from filterscope.errors import ArgumentError, RecipeError, TargetError, checked_seed, shortened
from filterscope.recipe import AUTO, AutoRecipe, Recipe, ask_recipe, parse_settings, read_recipe
from filterscope.sides import sides_of
from filterscope.target import Target

MAX_STEPS, MAX_SIDE, MAX_PAD, MAX_PARTS = 2048, 512, 128, 16  # of a recipe
MAX_IMAGES = 32  # that go through the network at once


@dataclass(frozen=True)
class DrawRequest:
    """What to draw: a unit of a network of the atlas, with a recipe and a seed."""

    network: str
    target: Target
    recipe: Recipe | AutoRecipe
    seed: int = 0


class _Body(BaseModel):
    """The body of a request; `recipe` is a preset's name or a whole recipe, `settings` are KEY=VALUE texts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    network: object = None
    layer: object = None
    unit: object = None
    recipe: str | dict[str, Any] = AUTO
    settings: list[str] = []
    steps: int | None = None
    size: int | None = None
    seed: object = 0


_ALLOWED = {
    "settings": "settings are a list of KEY=VALUE texts",
    "recipe": "a recipe is a preset's name or an object",
    "steps": "steps is a whole number",
    "size": "size is a whole number",
}


def parse_request(body: object, networks: Mapping[str, NetworkManifest]) -> DrawRequest:
    """What a visitor asks for, checked: network, layer and unit are in the atlas, the recipe is within bounds.

    body: {"network", "layer", "unit", "recipe", "settings", "steps", "size", "seed"}; the first three must be there.

    Raises ArgumentError with what is allowed.
    """
    try:
        asked = _Body.model_validate(body)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        key = str(wrong["loc"][0]) if wrong["loc"] else ""
        if key in _ALLOWED:
            raise RecipeError(f"{_ALLOWED[key]} (got {shortened(wrong['input'], 60)})") from None
        keys = ", ".join(sorted(_Body.model_fields))
        raise ArgumentError(f"a drawing is asked for as an object of {keys}") from None
    network, layer, unit = asked.network, asked.layer, asked.unit
    if not isinstance(network, str) or network not in networks:
        raise ArgumentError(
            f"this atlas has no network {shortened(network, 60)}; it has {', '.join(networks)}"
        )
    entry = networks[network].layer(layer) if isinstance(layer, str) else None
    if entry is None:
        raise TargetError(f"{network} has no layer {shortened(layer, 60)} in this atlas")
    if entry.concepts is not None:
        raise ArgumentError(
            f"the viewer draws units, not the concepts of a file (got {shortened(layer, 60)}); filterscope show draws them"
        )
    if type(unit) is not int or not 0 <= unit < entry.units:
        raise TargetError(
            f"{shortened(layer, 60)} has units 0 to {entry.units - 1} (got {shortened(unit, 60)})"
        )
    return DrawRequest(network, Target(entry.name, unit), _bounded(_recipe(asked)), checked_seed(asked.seed))


def count_units(manifest: NetworkManifest) -> dict[str, int]:
    """How many units each layer of a network has."""
    return {entry.name: entry.units for entry in manifest.layers}


def _recipe(asked: _Body) -> Recipe | AutoRecipe:
    recipe = read_recipe(asked.recipe) if isinstance(asked.recipe, dict) else asked.recipe[:200]
    return ask_recipe(recipe, steps=asked.steps, size=asked.size, settings=parse_settings(asked.settings))


def _bounded(recipe: Recipe | AutoRecipe) -> Recipe | AutoRecipe:
    """The recipe, if it and all that "auto" may choose are within the viewer's bounds."""
    for one in [recipe] if isinstance(recipe, Recipe) else recipe.choices():
        _require_bounds(one)
    return recipe


def _require_bounds(recipe: Recipe) -> None:
    allowed: list[tuple[str, Callable[[Recipe], float], int]] = [
        ("steps", lambda r: r.steps, MAX_STEPS),
        ("size", lambda r: max(*sides_of(r.size or 0), _number(r.usual_size)), MAX_SIDE),
        ("pad", lambda r: sum(t.pixels for t in r.transforms if t.kind == "pad"), MAX_PAD),
        ("transforms", lambda r: len(r.transforms), MAX_PARTS),
        ("regularizers", lambda r: len(r.regularizers), MAX_PARTS),
        ("stages", lambda r: len(r.stages), MAX_PARTS),
        ("facets times crops", _count_images, MAX_IMAGES),
    ]
    for name, value, most in allowed:
        if value(recipe) > most:
            raise RecipeError(f"the viewer draws with at most {most} {name} (got {value(recipe):g})")


def _number(size: int | str | None) -> int:
    return size if isinstance(size, int) else 0


def _count_images(recipe: Recipe) -> int:
    """How many pictures go through the network at once."""
    return recipe.facet_count * recipe.views
