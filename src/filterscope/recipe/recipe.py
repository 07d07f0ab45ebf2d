"""Recipe: every setting of the ascent; frozen, written into each PNG as JSON and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from filterscope.errors import ArgumentError, RecipeError
from filterscope.objective import has_place
from filterscope.recipe.parts import (
    Backward,
    Facets,
    Fourier,
    Image,
    Noise,
    Optimizer,
    Pad,
    Part,
    Regularizer,
    Stage,
    Transform,
    count_views,
)
from filterscope.recipe.settings import change_settings
from filterscope.sides import LARGEST, checked_size
from filterscope.target import Algebra

# A unit that the first noise leaves dead, below its best natural image or behind another class is tried again, each
# time from other noise and at a rate so many times smaller: what traps a picture is mostly a first step too large.
RESTARTS = (5, 10)
LOUDER = 10.0  # times the usual noise, where a picture was begun with too little for anything the unit depends on to respond
_Side = Annotated[int, Field(ge=1, le=LARGEST)]
_Window = Annotated[int, Field(ge=16, le=LARGEST)]


class Recipe(Part):
    """Every setting of the ascent.

    feed: "network" runs the picture through the network's own preprocessing; "raw" feeds pixel values as they
        are where the network keeps the 0 to 255 scale, as the blog did with VGG16.
    softmax: "linear" ascends a class before its softmax, "keep" after it.
    start: "noise" of the image's own kind, or the "photograph" that the ascent is given.
    tile: pictures with a longer side go through the network in windows of this size, at places that change from step
        to step, so that memory does not grow with the picture. None takes all of a picture at once.
    gradient: "rms" divides each picture's gradient by its root mean square (+ 1e-7); "local" by the geometric
        mean of that and of the one around each place, so that quiet places move too; "plain" leaves it.
    transforms: what is done to the picture before each view of it: pads, then in their order whatever moves it, then noise.
    stages: sizes one after the other, the last of them the full one.
    backward: where the gradient takes another way through the network than its derivative.
    facets: several pictures of each unit, unlike one another; None draws one.
    output: "standardize" is the blog's: minus mean, over std, times 0.1, plus 0.5; "values" keeps the values.
    size: side of the picture in pixels (of a photograph the longer one), or height and width. None takes `usual_size`
        ("own" is the network's) or, where that is None or the target takes one size alone or the network's own is below
        64, the network's own (128 where that is 64 to 127).
    """

    name: str
    steps: int = Field(200, ge=1, le=1_000_000)
    size: _Side | tuple[_Side, _Side] | None = None
    usual_size: _Side | Literal["own"] | None = None
    image: Image = Fourier()
    start: Literal["noise", "photograph"] = "noise"
    tile: _Window | tuple[_Window, _Window] | None = None
    feed: Literal["network", "raw"] = "network"
    softmax: Literal["linear", "keep"] = "linear"
    regularizers: tuple[Regularizer, ...] = ()
    transforms: tuple[Transform, ...] = ()
    optimizer: Optimizer = Optimizer()
    gradient: Literal["rms", "local", "plain"] = "plain"
    stages: tuple[Stage, ...] = Field((Stage(),), min_length=1)
    backward: Backward = Backward()
    facets: Facets | None = None
    output: Literal["standardize", "values"] = "values"

    @field_validator("size", "tile", mode="before")
    @classmethod
    def _height_and_width(cls, value: Any) -> Any:
        if not (isinstance(value, list | tuple) or (isinstance(value, str) and "x" in value)):
            return value
        try:
            return checked_size("it", value)
        except ArgumentError:
            raise ValueError(
                f"must be a whole number from 1 to {LARGEST}, or height x width as 64x128"
            ) from None

    @field_validator("transforms")
    @classmethod
    def _ordered(cls, parts: tuple[Transform, ...]) -> tuple[Transform, ...]:
        places = [0 if isinstance(part, Pad) else 2 if isinstance(part, Noise) else 1 for part in parts]
        if places != sorted(places):
            raise ValueError(
                "must have pads first and noise last; what moves the picture is done between, in order"
            )
        return parts

    @field_validator("stages")
    @classmethod
    def _whole_at_last(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if stages[-1].scale != 1:
            raise ValueError("must end at the full size: the last stage's scale is 1")
        return stages

    @property
    def facet_count(self) -> int:
        """How many pictures of each unit are drawn."""
        return self.facets.count if self.facets else 1

    @property
    def views(self) -> int:
        """How many views of a picture go through the network in each step."""
        return count_views(self.transforms)

    def carried_out_for(self, goal: Algebra, attempt: int = 0, *, louder: bool = False) -> Recipe:
        """This recipe as a goal is drawn with it: one with a place, `LAYER:UNIT@ROW,COLUMN`, without what moves the
        picture (jitter, pad, scale, rotate, crop), since a neuron responds to one place of it. Noise stays.

        attempt: which restart: at a part of the rate, but for the blog's recipes, and without facets, since a restart is
        for a unit alone. Only for `attempt` 0 does it make no difference to ask twice. louder: from stronger noise at the
        whole rate, where the image begins as small noise.
        """
        changes: dict[str, Any] = {}
        if has_place(goal):
            changes["transforms"] = tuple(part for part in self.transforms if isinstance(part, Noise))
        if self.facets and (attempt or self.facets.count == 1):
            changes["facets"] = None
        if louder and isinstance(self.image, Fourier):
            changes["image"] = self.image.model_copy(update={"sd": self.image.sd * LOUDER})
        elif attempt and self.feed == "network":
            rate = self.optimizer.lr / RESTARTS[attempt - 1]
            changes["optimizer"] = self.optimizer.model_copy(update={"lr": rate})
        return self.model_copy(update=changes) if changes else self

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """This recipe with dotted keys set: {"optimizer.lr": 0.1, "regularizers.lp_norm.p": "inf"}.

        A member of a list goes by its kind or, where that is there more than once, by kind and number from 1
        (`transforms.jitter2.pixels`); by its place too. RecipeError for an unknown key (the nearest is named, and those
        that there are) or a value that is not allowed.
        """
        return Recipe.model_validate(change_settings(json.loads(self.model_dump_json()), settings))


def read_recipe(text: str | bytes | dict[str, Any]) -> Recipe:
    """A recipe from JSON (of a file or a PNG); RecipeError says which setting is wrong."""
    try:
        data = text if isinstance(text, dict) else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"this is no recipe: {error}") from None
    return Recipe.model_validate(data)
