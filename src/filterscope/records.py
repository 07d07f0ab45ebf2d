"""What a picture's PNG carries, checked whole when it is read: a file may come from anywhere.

record = read_record(told, "'out/block3_conv1-0034.png'")      # told: the JSON of its text chunk, of any form
record.recipe                                                  # a Recipe, as it was carried out
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from filterscope.errors import SEEDS, ImageError, shortened
from filterscope.formats import PICTURE
from filterscope.recipe import Recipe, read_recipe
from filterscope.recipe.recipe import RESTARTS

MOST = 4096  # pictures of a batch: no filterscope draws as many together
_Name = Annotated[str, Field(min_length=1, max_length=100_000)]


class _Read(BaseModel):
    """Frozen; numbers must be numbers. What it does not know of is passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class StageDone(_Read):
    """One stage of an ascent: height and width in pixels, and its steps."""

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    steps: int = Field(ge=0)


class CarriedOut(_Read):
    """What a recipe leaves to the network and the picture, as it was done.

    stages: the sizes, one after the other: none is smaller than the network takes, whatever the recipe's scale.
    feed: "raw" where pixel values went into the network as they are, "network" through its own preprocessing.
    penalty_scale: what the weights of the penalties were multiplied by (see "The blog's mathematics" in the design);
        0 where nothing excited the unit at any step, so that there was no gradient to measure them by.
    """

    stages: list[StageDone] = Field(min_length=1)
    feed: Literal["network", "raw"]
    penalty_scale: float = Field(1.0, ge=0)


class PhotographRecord(_Read):
    """A photograph that a picture began with or looked at: its file's name, without the folder, and its sha256."""

    file: str | None = None
    sha256: str = Field(max_length=1000)


class NetworkRecord(_Read):
    """One network of an ensemble."""

    network: _Name
    weights_sha256: str | None = None
    weights_file: str | None = None


class TermRecord(_Read):
    """The scores of one term of a sum."""

    target: _Name
    weight: float
    activation: float
    probability: float | None = None


class PictureRecord(_Read):
    """A picture's record in today's form. recipe: as it was carried out, so that drawing by it again, with the noise of
    `attempt` and `facet`, gives the picture; `carried_out` (None where an older form lacks it) says what no setting does.
    parameters: the weights of a picture that is a network of coordinates, in base64.
    """

    version: str
    network: _Name
    networks: dict[str, NetworkRecord] = {}
    weights_sha256: str | None = None
    weights_file: str | None = None
    target: _Name
    class_name: str | None = None
    seed: int = Field(ge=0, lt=SEEDS)
    attempt: int = Field(0, ge=0, le=len(RESTARTS))
    facet: int = Field(0, ge=0, lt=16)
    recipe: Recipe
    carried_out: CarriedOut | None = None
    precision: Literal["float32", "bfloat16"]
    device: str = "cpu"
    batch: int = Field(ge=1, le=MOST)
    status: Literal["ok", "no-gain", "dead"] = "ok"
    scores: dict[str, float | bool | None] = {}
    terms: list[TermRecord] = []
    judge: dict[str, str | float | None] | None = None
    curve: list[float] = []
    photographs: dict[Literal["image", "guide"], PhotographRecord] = {}
    concepts: dict[_Name, Annotated[str, Field(max_length=1000)]] = {}
    parameters: str | None = Field(None, max_length=20_000_000)

    @field_validator("recipe", mode="before")
    @classmethod
    def _as_recipe(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return read_recipe(value)  # whose RecipeError names the setting
        raise ValueError("must hold a recipe's settings")

    @model_validator(mode="after")
    def _one_of_its_facets(self) -> PictureRecord:
        count = self.recipe.facet_count
        if self.recipe.facets is not None and self.facet >= count:
            raise ValueError(f"facet {self.facet} of a recipe with {count}, which are numbered from 0")
        if (
            self.recipe.facets is None and self.facet and not self.attempt
        ):  # a restart draws one of several anew
            raise ValueError(f"facet {self.facet} of a recipe that draws one picture of each unit")
        return self


def read_record(told: dict[str, Any], where: str) -> PictureRecord:
    """A picture's record from the JSON in its PNG, in whatever form it was written. ImageError where a newer filterscope
    wrote it or something in it is missing or not allowed, RecipeError where that is a setting of its recipe."""
    try:
        return PictureRecord.model_validate(PICTURE.newest(told, where))
    except ValidationError as error:
        words = "; ".join(_sentence(one) for one in error.errors(include_url=False)[:3])
        raise ImageError(f"{where}: its recipe is incomplete: {words}") from None


def _sentence(one: ErrorDetails) -> str:
    key = ".".join(map(str, one["loc"]))
    if one["type"] == "missing":
        return f"{key!r} is missing"
    message = one["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{key} {message} (got {shortened(one['input'])})" if key else message
