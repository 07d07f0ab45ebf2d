"""Recipes for pictures that start from a photograph, and the layers that each dreams of.

`bad-trip` and `dreamy` are the two settings of Keras' first Deep Dream example (`examples/deep_dream.py`, 2016,
`saved_settings`). That example names VGG16's layers, so its weights need no
translation there; `tiny-vgg16` has the same layers. What else it sets is put into this loop's words:

- L-BFGS on the sum of squares becomes steps along the normalised gradient, in which only the weights' ratio counts;
- its jitter is kept; one size of 600 px becomes octaves;
- "continuity", a total variation of 0.1 against gradients in the hundreds, is left out: the octaves and the resampled
  jitter do as much; "dream_l2", which pulls colours back to grey, becomes the mean colour that no dream can change.
"""

from __future__ import annotations

from collections.abc import Mapping

from filterscope.errors import ArgumentError, RecipeError, did_you_mean
from filterscope.networks.network import Network
from filterscope.recipe import (
    ALIASES,
    PRESETS,
    Fourier,
    Jitter,
    Optimizer,
    Pixels,
    Recipe,
    Rotate,
    Scale,
    Stage,
    get_recipe,
)

OCTAVE = 1.4  # from one octave to the next, as in Google's and Keras' examples
TILE = 512


def octaves(count: int) -> tuple[Stage, ...]:
    """Stages of equal length, each 1.4 times as large as the one before, the last at full size.

    >>> [round(stage.scale, 3) for stage in octaves(3)]
    [0.51, 0.714, 1.0]
    """
    if not isinstance(count, int) or count < 1:
        raise ArgumentError(f"a dream has 1 octave or more (got {count!r})")
    return tuple(Stage(scale=OCTAVE ** -(count - 1 - i), share=1 / count) for i in range(count))


def _dream(name: str, *, steps: int, jitter: float, strength: float) -> Recipe:
    return Recipe(
        name=name,
        steps=steps,
        start="photograph",
        image=Pixels(),
        tile=TILE,
        transforms=(Jitter(pixels=jitter),) if jitter else (),
        optimizer=Optimizer(name="SGD", lr=strength),
        gradient="local",
        stages=octaves(4),
    )


_NOISE = {"image": Fourier(), "usual_size": 224, "stages": (Stage(scale=0.5, share=0.5), Stage())}
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _dream("dream", steps=40, jitter=8, strength=1.5),
        _dream("dreamy", steps=60, jitter=0, strength=1.5),
        _dream("bad-trip", steps=80, jitter=5, strength=3),
        Recipe(
            name="invert", steps=256, optimizer=Optimizer(lr=0.05), transforms=(Jitter(pixels=2),), **_NOISE
        ),
        Recipe(
            name="caricature",
            steps=256,
            optimizer=Optimizer(lr=0.05),
            transforms=(Jitter(pixels=8), Scale(low=0.95, high=1.05), Rotate(degrees=3)),
            **_NOISE,
        ),
        Recipe(
            name="accentuate",
            steps=100,
            usual_size=224,
            start="photograph",
            image=Fourier(),
            optimizer=Optimizer(lr=0.05),
            transforms=(Jitter(pixels=8), Scale(low=0.95, high=1.05), Rotate(degrees=3)),
        ),
    )
}

LAYERS: dict[str, Mapping[str, float]] = {
    "dream": {"block4_conv3": 1.0},
    "dreamy": {"block5_conv1": 0.05, "block5_conv2": 0.02},
    "bad-trip": {"block4_conv1": 0.05, "block4_conv2": 0.01, "block4_conv3": 0.01},
}


def photograph_recipe(name: str | Recipe) -> Recipe:
    """A recipe of this page by name, or one of the others with its start set to the photograph."""
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str):
        raise RecipeError(f"a recipe is a name or a Recipe (got {name!r}; known: {', '.join(RECIPES)})")
    if name in RECIPES:
        return RECIPES[name]
    try:
        recipe = get_recipe(name)
    except RecipeError:
        near = did_you_mean(name, RECIPES)
        raise RecipeError(f"unknown recipe {name!r}{near} (known: {', '.join(RECIPES)})") from None
    return recipe.changed({"start": "photograph"})


def usual_layers(network: Network, recipe: str) -> Mapping[str, float]:
    """The layers that a recipe dreams of where none are named; ArgumentError where the network has others."""
    wanted = LAYERS.get(recipe, LAYERS["dream"])
    if all(layer in network.layers for layer in wanted):
        return wanted
    maps = [name for name, row in network.layers.items() if row.spatial and row.parameters]
    deep = maps[len(maps) // 2 :: max(1, len(maps) // 8)]
    raise ArgumentError(
        f"{network.name} has not the layers that {recipe!r} dreams of ({', '.join(wanted)}); name layers, as in "
        f"layers={deep[0] if deep else 'LAYER'!r} (others: {', '.join(deep[1:4])})"
    )


def named_recipe(recipe: str | Recipe) -> Recipe:
    """A recipe by name, of a photograph's or of the others as they are."""
    if isinstance(recipe, str) and (recipe in PRESETS or recipe in ALIASES):
        return get_recipe(recipe)
    return photograph_recipe(recipe)
