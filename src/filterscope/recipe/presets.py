"""The presets: named recipes, the blog's, the field's and ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from filterscope.errors import RecipeError, did_you_mean
from filterscope.recipe.parts import (
    Backward,
    Crop,
    Fourier,
    Jitter,
    LpNorm,
    NaturalSpectrum,
    Noise,
    Optimizer,
    Pad,
    Phase,
    Pixels,
    RandomResizedCrop,
    Rotate,
    Scale,
    TotalVariation,
)
from filterscope.recipe.recipe import Recipe
from filterscope.sides import Size

BLOG_STEP = Optimizer(name="BlogRMSprop", lr=1.0, options={"decay": 0.95, "eps": 1e-7})
_BLOG = {"image": Pixels(), "feed": "raw", "optimizer": BLOG_STEP, "gradient": "rms", "output": "standardize"}

PRESETS: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="naive", softmax="keep", **_BLOG),
        Recipe(name="linear", **_BLOG),
        Recipe(name="lp", regularizers=(LpNorm(),), **_BLOG),
        Recipe(name="tv", regularizers=(LpNorm(), TotalVariation()), **_BLOG),
        # the defaults of lucid, the library of Olah et al. 2017. Its jitter(8) and jitter(4) crop 8 and 4 pixels away,
        # which is a shift by up to 4 and 2 either way; the padding is cropped away at the end, as the article has it.
        Recipe(
            name="distill",
            steps=512,
            usual_size=128,
            optimizer=Optimizer(lr=0.05),
            transforms=(
                Pad(pixels=12),
                Jitter(pixels=4),
                Scale(low=0.9, high=1.1),
                Rotate(degrees=10),
                Jitter(pixels=2),
            ),
        ),
        Recipe(
            name="maco",
            steps=256,
            usual_size=512,
            image=Phase(),
            optimizer=Optimizer(name="NAdam", lr=1.0),
            transforms=(Crop(count=32), Noise(sd=0.08 * 127.5, uniform=0.08 * 127.5)),
        ),
        Recipe(
            name="sharp",
            steps=144,
            usual_size=128,
            image=Fourier(mean_gain=8),
            # eps, of a gradient whose root mean square is 1: what hardly matters hardly moves, on any processor
            optimizer=Optimizer(name="RMSprop", lr=0.1, options={"eps": 0.01}),
            gradient="rms",
            transforms=(Jitter(pixels=4),),
        ),
        Recipe(
            name="natural",
            steps=256,
            usual_size=128,
            image=Fourier(mean_gain=8),
            optimizer=Optimizer(lr=0.05),
            regularizers=(NaturalSpectrum(weight=1.0),),
            transforms=(Jitter(pixels=8), Scale(low=0.9, high=1.1), Rotate(degrees=8)),
        ),
        Recipe(
            name="robust",
            steps=128,
            usual_size="own",
            optimizer=Optimizer(lr=0.05, decay=0.1),
            backward=Backward(branch=0.5, saturated=True),
            transforms=(
                RandomResizedCrop(count=4, low=0.5, high=1.0, early=0.7),
                Rotate(degrees=8),
                Jitter(pixels=16),
                Noise(sd=0.1 * 127.5),
            ),
        ),
    )
}
ALIASES = {"blog": "tv"}
LADDER = ("naive", "linear", "lp", "tv")  # the blog's stages, step by step better


def get_recipe(
    recipe: str | Recipe = "sharp",
    *,
    steps: int | None = None,
    size: Size | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """A preset by name, or a recipe, with settings changed; RecipeError names the nearest where it is unknown.

    >>> get_recipe("blog", steps=1000).name
    'tv'
    """
    if isinstance(recipe, str):
        name, known = ALIASES.get(recipe, recipe), [*PRESETS, *ALIASES]
        if name == "auto":  # an AutoRecipe, which `ask_recipe` gives
            raise RecipeError(
                f"'auto' chooses a recipe for each target of show, visualize and draw; here name one ({', '.join(known)})"
            )
        if name not in PRESETS:
            raise unknown_recipe(recipe, known)
        recipe = PRESETS[name]
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"a recipe is a preset's name or a Recipe (got {recipe!r}; known: {', '.join(PRESETS)})"
        )
    changes = changes_of(steps, size, settings)
    return recipe.changed(changes) if changes else recipe


def unknown_recipe(recipe: str, known: Sequence[str]) -> RecipeError:
    """What is said of a name that no recipe has."""
    return RecipeError(f"unknown recipe {recipe!r}{did_you_mean(recipe, known)} (known: {', '.join(known)})")


def changes_of(steps: int | None, size: Size | None, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """All that a recipe is asked to be changed in, as settings by dotted key."""
    if not isinstance(settings, Mapping | None) or not all(isinstance(key, str) for key in settings or ()):
        raise RecipeError(
            f"settings are a mapping of dotted keys, as {{'optimizer.lr': 0.1}} (got {settings!r})"
        )
    given = {key: value for key, value in (("steps", steps), ("size", size)) if value is not None}
    return {**(settings or {}), **given}
