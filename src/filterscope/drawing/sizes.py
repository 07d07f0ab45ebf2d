"""How large a picture is; what cannot be drawn at its size is refused before any work."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from filterscope.ascent.tiles import window_shape
from filterscope.concept import Concept
from filterscope.errors import ArgumentError, TargetError
from filterscope.networks.network import Network
from filterscope.notices import log_once
from filterscope.objective import Direction, Objective
from filterscope.pictures.reading import Photograph
from filterscope.recipe import Recipe
from filterscope.sides import LARGEST, Sides, Size, largest_of, pixels_text, sides_of, size_text
from filterscope.target import Target, place_text, terms_of


def fitted(
    net: Network, goal: Objective, recipe: Recipe, photograph: Photograph | None
) -> tuple[Recipe, Sides]:
    """The recipe with the size that a goal's picture is drawn at, and that picture's height and width.

    Of a photograph the picture has the proportions, and the size is its longer side. Raises ArgumentError or
    TargetError for what cannot be drawn so.
    """
    if photograph is not None:
        return _of_photograph(net, goal, recipe, photograph)
    size = recipe.size or largest_of(net.picture_size(layer, recipe.usual_size) for layer in goal.layers)
    if size != net.input.size and all(map(net.takes_one_size, goal.layers)):
        only, asked = pixels_text(net.input.size), size_text(size)
        log_once(logging.WARNING, "%s runs at %s only: drawn at that size, not at %s", net.name, only, asked)
        size = net.input.size
    shapes = {layer: net.output_shape(layer, size) for layer in goal.layers}
    for term in _placed(goal):
        _check_inside(term, shapes[term.layer][1:], size)
    return recipe.model_copy(update={"size": size}), sides_of(size)


def smallest_stage(net: Network, goal: Objective, recipe: Recipe) -> Sides:
    """The least height and width of a stage: what the goal's layers need."""
    return sides_of(largest_of(map(net.smallest_size, goal.layers)) if len(recipe.stages) > 1 else 1)


def _of_photograph(
    net: Network, goal: Objective, recipe: Recipe, photograph: Photograph
) -> tuple[Recipe, Sides]:
    width, height = photograph.image.size
    if isinstance(recipe.size, tuple):
        raise ArgumentError(
            f"the picture has the photograph's proportions: size is its longer side (got {size_text(recipe.size)})"
        )
    usual = max(sides_of(net.input.size)) if recipe.usual_size == "own" else recipe.usual_size
    longest = recipe.size or min(usual or max(width, height), max(width, height))
    scale = longest / max(width, height)
    fixed = [layer for layer in goal.layers if net.takes_one_size(layer)]
    if fixed:  # a class behind a Flatten: windows of the only size that the network takes
        high, wide = sides_of(net.input.size)
        scale = max(scale, high / height, wide / width)
        recipe = recipe.model_copy(update={"tile": net.input.size})
    sides = (max(1, round(height * scale)), max(1, round(width * scale)))
    if max(sides) > LARGEST:
        raise ArgumentError(
            f"pictures have at most {LARGEST} px a side (got {sides[1]} x {sides[0]}); make it smaller with size="
        )
    shortest = min(*sides, *sides_of(recipe.tile or min(sides)))
    for layer in goal.layers:
        net.output_shape(layer, net.input.size if layer in fixed else shortest)
    _check_places(goal, recipe, sides)
    return recipe.model_copy(update={"size": max(sides)}), sides


def _check_inside(term: Target | Direction | Concept, ends: tuple[int, ...], size: Size) -> None:
    """A place is on its layer's map, which ends there, (H, W), or in its sequence, (steps,)."""
    assert term.at is not None
    if any(place >= end for place, end in zip(term.at, ends, strict=True)):
        names = ("rows", "columns") if len(ends) == 2 else ("steps",)
        has = " and ".join(f"{name} 0 to {end - 1}" for name, end in zip(names, ends, strict=True))
        raise TargetError(f"{term.layer} has {has} at {size_text(size)} px (got {place_text(term.at)})")


def _check_places(goal: Objective, recipe: Recipe, sides: Sides) -> None:
    """One place of a picture is not to be found in windows over it."""
    placed = next(_placed(goal), None)
    if placed is not None and recipe.tile is not None and window_shape(sides, recipe.tile) != sides:
        raise TargetError(
            f"{placed} is one place of a picture of at most {size_text(recipe.tile)} px, its recipe's tile "
            f"(got {max(sides)})"
        )


def _placed(goal: Objective) -> Iterator[Target | Direction | Concept]:
    """The terms of a goal that are for one place of a layer's map."""
    for _, term in terms_of(goal):
        if isinstance(term, Target | Direction | Concept) and term.at is not None:
            yield term
