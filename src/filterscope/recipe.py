"""Recipe: every setting of the ascent, as data, and the presets.

A recipe is frozen, is written into each PNG as JSON and read back; it holds no closure and no torch.

    recipe = get_recipe("blog", steps=300)
    recipe = recipe.changed({"optimizer.lr": 0.5, "regularizers.lp_norm.p": "inf"})
    Recipe.model_validate_json(recipe.model_dump_json()) == recipe
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from filterscope.errors import RecipeError, did_you_mean


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", allow_inf_nan=False)


# --- what is optimised ------------------------------------------------------------------------------------


class Pixels(_Part):
    """The pixel values themselves, from uniform noise (u - 0.5) * spread + center, u in [0, 1)."""

    kind: Literal["pixels"] = "pixels"
    center: float = 128.0
    spread: float = Field(20.0, ge=0)


class Fourier(_Part):
    """Fourier coefficients, each scaled by 1 / frequency ** decay, so that all scales learn at one pace.

    Olah et al. 2017, "Feature Visualization", section "Preconditioning and Parameterization". `sd` is the
    standard deviation of the coefficients at the start; `decorrelate` turns the three channels from
    decorrelated colour into RGB.
    """

    kind: Literal["fourier"] = "fourier"
    sd: float = Field(0.01, gt=0)
    decay: float = Field(1.0, ge=0)
    decorrelate: bool = True


Image = Annotated[Pixels | Fourier, Field(discriminator="kind")]


# --- what is subtracted -----------------------------------------------------------------------------------


class LpNorm(_Part):
    """weight * ||x||_p / N over the N values of the picture; p >= 1, "inf" for the largest absolute value."""

    kind: Literal["lp_norm"] = "lp_norm"
    p: Annotated[float, Field(ge=1, allow_inf_nan=True)] = 6.0
    weight: float = 10.0


class TotalVariation(_Part):
    """weight / N * sum of (squared differences to the next row and column) ** (beta / 2)."""

    kind: Literal["total_variation"] = "total_variation"
    beta: float = Field(2.0, gt=0)
    weight: float = 10.0


Regularizer = Annotated[LpNorm | TotalVariation, Field(discriminator="kind")]


# --- what is done to the picture before each look ----------------------------------------------------------


class Pad(_Part):
    """Mid-grey pixels around the picture, so that shifts and rotations bring in no dark edge."""

    kind: Literal["pad"] = "pad"
    pixels: int = Field(ge=0)


class Jitter(_Part):
    """A random shift by up to `pixels` in each direction."""

    kind: Literal["jitter"] = "jitter"
    pixels: float = Field(ge=0)


class Scale(_Part):
    """A random zoom, uniform in [low, high]."""

    kind: Literal["scale"] = "scale"
    low: float = Field(gt=0)
    high: float = Field(gt=0)


class Rotate(_Part):
    """A random rotation by up to `degrees` either way."""

    kind: Literal["rotate"] = "rotate"
    degrees: float = Field(ge=0, le=180)


Transform = Annotated[Pad | Jitter | Scale | Rotate, Field(discriminator="kind")]


# --- how it climbs ----------------------------------------------------------------------------------------


class Optimizer(_Part):
    """An optimiser of torch.optim by name, or "BlogRMSprop": step g / sqrt(cache + eps), eps inside the root."""

    name: str = "Adam"
    lr: float = Field(0.05, gt=0)
    options: dict[str, float | bool] = {}


class Stage(_Part):
    """A part of the ascent at `scale` times the final size, for `share` of all steps."""

    scale: float = Field(1.0, gt=0, le=1)
    share: float = Field(1.0, gt=0, le=1)


class Recipe(_Part):
    """Every setting of the ascent.

    feed: "network" runs the picture through the network's own preprocessing; "raw" feeds pixel values as they
        are where the network keeps the 0 to 255 scale, as the blog did with VGG16.
    softmax: "linear" ascends a class before its softmax, "keep" after it.
    gradient: "rms" divides each picture's gradient by its root mean square (+ 1e-7); "plain" leaves it.
    output: "standardize" is the blog's: minus mean, over std, times 0.1, plus 0.5; "values" keeps the values.
    size: side of the picture in pixels. None takes `usual_size` or, where that is None or the target takes one
        size alone, the network's own (128 where that is smaller).
    """

    name: str
    steps: int = Field(200, ge=1, le=1_000_000)
    size: int | None = Field(None, ge=1, le=8192)
    usual_size: int | None = Field(None, ge=1, le=8192)
    image: Image = Fourier()
    feed: Literal["network", "raw"] = "network"
    softmax: Literal["linear", "keep"] = "linear"
    regularizers: tuple[Regularizer, ...] = ()
    transforms: tuple[Transform, ...] = ()
    optimizer: Optimizer = Optimizer()
    gradient: Literal["rms", "plain"] = "plain"
    stages: tuple[Stage, ...] = Field((Stage(),), min_length=1)
    output: Literal["standardize", "values"] = "values"

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """This recipe with dotted keys set: {"optimizer.lr": 0.1, "regularizers.lp_norm.p": "inf"}.

        A member of a list goes by its place or its kind. RecipeError for an unknown key (the nearest is
        named) or a value that is not allowed.
        """
        data = json.loads(self.model_dump_json())
        for key, value in settings.items():
            if key == "name" and value != self.name:
                raise RecipeError("a recipe's name cannot be set; it says which preset the others began from")
            _assign(data, key, value, self.name)
        return _validated(data)


BLOG_STEP = Optimizer(name="BlogRMSprop", lr=1.0, options={"decay": 0.95, "eps": 1e-7})
_BLOG = {"image": Pixels(), "feed": "raw", "optimizer": BLOG_STEP, "gradient": "rms", "output": "standardize"}

PRESETS: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="naive", softmax="keep", **_BLOG),
        Recipe(name="linear", **_BLOG),
        Recipe(name="lp", regularizers=(LpNorm(),), **_BLOG),
        Recipe(name="tv", regularizers=(LpNorm(), TotalVariation()), **_BLOG),
        Recipe(
            name="sharp",
            steps=128,
            usual_size=128,
            optimizer=Optimizer(lr=0.07),
            stages=(Stage(scale=0.5, share=0.5), Stage(scale=1, share=0.5)),
            transforms=(Jitter(pixels=8), Scale(low=0.9, high=1.1), Rotate(degrees=5)),
        ),
    )
}
ALIASES = {"blog": "tv"}
DEFAULT = "sharp"
LADDER = ("naive", "linear", "lp", "tv")  # the blog's stages, step by step better


def get_recipe(
    recipe: str | Recipe = DEFAULT,
    *,
    steps: int | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """A preset by name, or a recipe, with settings changed; RecipeError names the nearest where it is unknown.

    >>> get_recipe("blog", steps=1000).name
    'tv'
    """
    if isinstance(recipe, str):
        name = ALIASES.get(recipe, recipe)
        if name not in PRESETS:
            known = [*PRESETS, *ALIASES]
            raise RecipeError(
                f"unknown recipe {recipe!r}{did_you_mean(recipe, known)} (known: {', '.join(known)})"
            )
        recipe = PRESETS[name]
    changes = {**(settings or {})}
    if steps is not None:
        changes["steps"] = steps
    if size is not None:
        changes["size"] = size
    return recipe.changed(changes) if changes else recipe


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
            place = place[index]


def _put(place: Any, index: Any, value: Any) -> None:
    """Set a value; another kind of image, regularizer or transform begins at its own defaults."""
    if index == "kind" and place.get("kind", value) != value:
        place.clear()
    old = place.get(index) if isinstance(place, dict) else place[index]
    if isinstance(value, str) and isinstance(old, dict) and "kind" in old:
        value = {"kind": value}  # image=pixels
    place[index] = value


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
    message = first["msg"].replace("Input should be", "must be")
    return f"setting {key!r} {message} (got {first['input']!r})"
