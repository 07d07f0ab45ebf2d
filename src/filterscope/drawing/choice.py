"""Which recipe suits a target: the rules behind `--recipe auto`, in one table of questions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from filterscope.networks.network import Network
from filterscope.notices import log_once
from filterscope.objective import Between, Objective, has_place
from filterscope.recipe import AutoRecipe, Recipe
from filterscope.sides import sides_of, size_text

FAR = 0.5  # of the network's own side: a unit whose receptive field is larger responds to whole things, not textures
SMALL = 96  # pixels: networks made for pictures up to that get more and larger steps, which cost little there
MORE = {"steps": 256, "optimizer.lr": 0.1}
TINY = 48  # pixels: in pictures up to that the preset's noise hides much of what is there
LITTLE_NOISE = {"transforms.noise.sd": 6.0}
# what one small grey picture holds, a digit or a letter, fills it and has few strokes: crops that keep most of it, and noise
# that drowns all but what it is, leave one stroke where there would be several
GREY = {
    "optimizer.lr": 0.05,
    "transforms.random_resized_crop.low": 0.8,
    "transforms.random_resized_crop.count": 8,
    "transforms.noise.sd": 60.0,
}
# of a transformer every layer is a block with a shortcut: half of the gradient in each leaves too little of the deep ones
TRANSFORMER = {"steps": 64, "optimizer.lr": 0.1, "backward.branch": 1.0}


@dataclass(frozen=True)
class Choice:
    """A preset, the settings that network and target change in it, and why."""

    preset: str
    why: str
    settings: dict[str, Any] = field(default_factory=dict)


def recipe_for(net: Network, goal: Objective, asked: Recipe | AutoRecipe) -> Recipe:
    """The recipe that a goal is drawn with: the one that was asked for, or the one that suits it."""
    if isinstance(asked, Recipe):
        return asked
    choice = choose_recipe(net, goal)
    log_once(
        logging.INFO, "%s, %s: %s, since %s", net.name, ", ".join(goal.layers), choice.preset, choice.why
    )
    return asked.of(choice.preset, choice.settings)


def count_pictures(net: Network, goals: Sequence[Objective], asked: Recipe | AutoRecipe) -> int:
    """How many pictures of the goals there will be, with all their facets."""
    return sum(1 if isinstance(goal, Between) else recipe_for(net, goal, asked).facet_count for goal in goals)


def choose_recipe(net: Network, goal: Objective) -> Choice:
    """The recipe that suits a goal of a network.

    A neuron at one place and what responds to a small part of the picture are drawn by `sharp`: they show colours,
    edges, textures, which it draws best and quickest. Classes and units that respond to whole things are drawn by
    `robust`, from several views of the picture in each step.
    """
    if has_place(goal):
        return Choice("sharp", "a neuron responds to one place of the picture")
    own = min(sides_of(net.input.size))
    more = TRANSFORMER if net.tokens else MORE if own <= SMALL else {}
    if any(net.class_names(layer) or net.layer(layer).softmax for layer in goal.layers):
        if net.input.channels == 1 and own <= SMALL and not net.tokens:
            return Choice("robust", "a class of small grey pictures is recognised by few strokes", GREY)
        if own <= TINY and not net.tokens:
            why = "a class is recognised by whole things, which in so small a picture much noise would hide"
            return Choice("robust", why, more | LITTLE_NOISE)
        return Choice("robust", "a class is recognised by whole things", more)
    fields = [net.layer(layer).receptive_field for layer in goal.layers]
    widest = None if None in fields else max(f for f in fields if f is not None)
    if widest is None or widest > FAR * own:
        seen = "all of the picture" if widest is None else f"{widest} px"
        return Choice("robust", f"its units respond to {seen}, of {size_text(net.input.size)} px", more)
    return Choice("sharp", f"its units respond to {widest} px, of {size_text(net.input.size)} px")
