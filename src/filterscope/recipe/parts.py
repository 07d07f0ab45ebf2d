"""The parts of a recipe, as data: what is optimised, subtracted, done before each view, and how it is optimised."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from filterscope.errors import RecipeError
from filterscope.recipe.explain import explain

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Worded(ModelMetaclass):
    """Words what is wrong as filterscope does where a part is made from Python; where parts lie in one another
    pydantic makes the inner ones itself, so that the outermost says where."""

    def __call__(cls, *args: Any, **values: Any) -> Any:  # noqa: N805 - of a class of classes
        if args:
            raise RecipeError(f"{cls.__name__} takes its settings by name (got {args[0]!r})")
        try:
            return super().__call__(**values)
        except ValidationError as error:
            raise _refusal(error, values, cls) from None


def _refusal(error: ValidationError, data: Any, whole: Any) -> RecipeError:
    return RecipeError(explain(error, data, whole))


class Part(BaseModel, metaclass=_Worded):
    """Frozen data without unknown keys; infinities are written as text. RecipeError for what is not allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", allow_inf_nan=False)

    @classmethod
    def model_validate(cls, obj: Any, **how: Any) -> Self:
        """The part in an object as it is, or as a dictionary."""
        try:
            return super().model_validate(obj, **how)
        except ValidationError as error:
            raise _refusal(error, obj, cls) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **how: Any) -> Self:
        """The part in a JSON text."""
        try:
            return super().model_validate_json(json_data, **how)
        except ValidationError as error:
            raise _refusal(error, _parsed(json_data), cls) from None

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise _refusal(error, self, type(self)) from None

    def __delattr__(self, name: str) -> None:
        try:
            super().__delattr__(name)
        except ValidationError as error:
            raise _refusal(error, self, type(self)) from None


def _parsed(text: str | bytes | bytearray) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# --- what is optimised ------------------------------------------------------------------------------------


class Pixels(Part):
    """The pixel values themselves, from uniform noise (u - 0.5) * spread + center, u in [0, 1).

    `bounded` keeps them within 0 to 255 by a sigmoid; `decorrelate` (with `bounded`) turns the three channels
    from decorrelated colour into RGB.
    """

    kind: Literal["pixels"] = "pixels"
    center: float = 128.0
    spread: float = Field(20.0, ge=0)
    bounded: bool = False
    decorrelate: bool = False

    @model_validator(mode="after")
    def _colour_is_bounded(self) -> Pixels:
        if self.decorrelate and not self.bounded:
            raise ValueError("takes decorrelate only where its values are bounded: set bounded=true too")
        return self


class Fourier(Part):
    """Fourier coefficients, each scaled by 1 / frequency ** decay, so that all scales learn at one pace.

    Olah et al. 2017, "Feature Visualization", section "Preconditioning and Parameterization". `sd` is the
    standard deviation of the coefficients at the start; `decorrelate` turns the three channels from
    decorrelated colour into RGB. `mean_gain` lets the picture's mean colour move that many times faster.
    `spectrum` "natural" scales the coefficients by the amplitudes of natural images instead of 1 / frequency.
    """

    kind: Literal["fourier"] = "fourier"
    sd: float = Field(0.01, gt=0)
    decay: float = Field(1.0, ge=0)
    decorrelate: bool = True
    mean_gain: float = Field(1.0, gt=0)
    spectrum: Literal["inverse", "natural"] = "inverse"


class Phase(Part):
    """The phases of Fourier coefficients, whose magnitudes stay those of natural images.

    MACO: Fel et al. 2023, "Unlocking feature visualization for deeper networks with magnitude constrained
    optimization", section 3. `sd` is the standard deviation of the phases at the start.
    """

    kind: Literal["phase"] = "phase"
    sd: float = Field(1.0, gt=0)
    decorrelate: bool = True


class Cppn(Part):
    """The weights of a small network of coordinates, so that the picture can be drawn at any size afterwards.

    CPPN: Stanley 2007; Mordvintsev et al. 2018, "Differentiable Image Parameterizations". `layers` hidden layers of `width`
    outputs each, through which every pixel goes. The PNG holds all weights, 8,451 numbers of themselves (45 kB).
    """

    kind: Literal["cppn"] = "cppn"
    layers: int = Field(8, ge=1, le=32)
    width: int = Field(24, ge=1, le=128)


Image = Annotated[Pixels | Fourier | Phase | Cppn, Field(discriminator="kind")]


# --- what is subtracted -----------------------------------------------------------------------------------


class LpNorm(Part):
    """weight * ||x||_p / N over the N values of the picture; p >= 1, "inf" for the largest absolute value."""

    kind: Literal["lp_norm"] = "lp_norm"
    p: Annotated[float, Field(ge=1, allow_inf_nan=True)] = 6.0
    weight: float = 10.0


class TotalVariation(Part):
    """weight / N * sum of (squared differences to the next row and column) ** (beta / 2)."""

    kind: Literal["total_variation"] = "total_variation"
    beta: float = Field(2.0, gt=0)
    weight: float = 10.0


class NaturalSpectrum(Part):
    """weight * mean squared distance of the picture's log amplitude spectrum from that of natural images.

    The weight is relative to the objective's own value, so that it means the same on every network.
    """

    kind: Literal["natural_spectrum"] = "natural_spectrum"
    weight: float = 1.0


Regularizer = Annotated[LpNorm | TotalVariation | NaturalSpectrum, Field(discriminator="kind")]


# --- what is done to the picture before each view ----------------------------------------------------------


class Pad(Part):
    """Mid-grey pixels around the picture while it is moved; then its own size is cropped from the middle.

    So shifts and rotations bring in grey, not the picture's reflection, and the network is given the picture's size, as in
    Olah et al. 2017 ("cropping the padding"). Pads come first of the transforms; alone one does nothing.
    """

    kind: Literal["pad"] = "pad"
    pixels: int = Field(ge=0)


class Jitter(Part):
    """A random shift by up to `pixels` in each direction, whole pixels, at most an eighth of the shorter side."""

    kind: Literal["jitter"] = "jitter"
    pixels: float = Field(ge=0)


class Scale(Part):
    """A random zoom, uniform in [low, high]."""

    kind: Literal["scale"] = "scale"
    low: float = Field(gt=0)
    high: float = Field(gt=0)


class Rotate(Part):
    """A random rotation by up to `degrees` either way."""

    kind: Literal["rotate"] = "rotate"
    degrees: float = Field(ge=0, le=180)


class Crop(Part):
    """`count` random square crops a step, each resized to the network's own size; padding is not cropped away then.

    A crop's side, as a share of the picture's, is normal with a mean that goes from `start` to `end` over the
    steps of all stages and standard deviation `spread`, at least 0.05 and at most 1; its centre is normal about
    the picture's with standard deviation `center`. Fel et al. 2023, as published in Xplique.
    """

    kind: Literal["crop"] = "crop"
    count: int = Field(1, ge=1, le=64)
    start: float = Field(0.5, gt=0, le=1)
    end: float = Field(0.05, gt=0, le=1)
    spread: float = Field(0.05, ge=0)
    center: float = Field(0.15, ge=0)


class RandomResizedCrop(Part):
    """`count` random crops a step, each resized to the picture's own size: what is drawn shows at several scales and places.

    A crop's side, as a share of the picture's, is uniform in [low, high], and its place uniform over the picture, as
    in torchvision's transform of that name. Pads are cropped away as ever. `early` is the side of the crops in the first
    half of the steps, as a share of the picture's: shapes come before details, and smaller crops cost less. Networks that
    take one size alone, and pictures with pads, get all of them at full size.
    """

    kind: Literal["random_resized_crop"] = "random_resized_crop"
    count: int = Field(4, ge=1, le=64)
    low: float = Field(0.5, gt=0, le=1)
    high: float = Field(1.0, gt=0, le=1)
    early: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _low_to_high(self) -> RandomResizedCrop:
        if self.low > self.high:
            raise ValueError(f"must have low <= high (got {self.low} and {self.high})")
        return self


class Noise(Part):
    """Normal noise of standard deviation `sd` plus uniform noise of width `uniform`, in pixel values; it comes last
    of the transforms, after what moves the picture."""

    kind: Literal["noise"] = "noise"
    sd: float = Field(ge=0)
    uniform: float = Field(0.0, ge=0)


Transform = Annotated[
    Pad | Jitter | Scale | Rotate | Crop | RandomResizedCrop | Noise, Field(discriminator="kind")
]


def count_views(transforms: Iterable[Transform]) -> int:
    """How many views of a picture these give in each step."""
    return math.prod(part.count for part in transforms if isinstance(part, Crop | RandomResizedCrop))


# --- how it is optimised ----------------------------------------------------------------------------------------


class Optimizer(Part):
    """An optimiser of torch.optim by name, or "BlogRMSprop": step g / sqrt(cache + eps), eps inside the root.

    `decay` lets the rate fall over the steps of each stage to that share of itself, along a half cosine.
    `options` are the optimiser's own, by their names in torch: a number, true or false, or a pair ("betas").
    """

    name: str = "Adam"
    lr: float = Field(0.05, gt=0)
    decay: float = Field(1.0, gt=0, le=1)
    options: dict[str, float | bool | tuple[float | None, float | None]] = {}


class Stage(Part):
    """A part of the ascent at `scale` times the final size, for `share` of all steps."""

    scale: float = Field(1.0, gt=0, le=1)
    share: float = Field(1.0, gt=0, le=1)


class Backward(Part):
    """Where the gradient goes back through the network otherwise than its derivative says; what it computes stays.

    branch: the share of the gradient that passes through the branch of a residual block, x + branch(x); 1 is exact,
        less favours the shortcuts (Wu et al. 2020, "Skip Connections Matter", section 3).
    saturated: whether a ReLU6, or another clamp, passes it where its output is at the upper bound (lucid's redirected
        ReLU6).
    """

    branch: float = Field(1.0, gt=0, le=1)
    saturated: bool = False


class Facets(Part):
    """Several pictures of each unit, kept apart by `weight` times the mean cosine of their Gram matrices.

    Olah et al. 2017, section "Diversity", after Gatys et al. 2015's style matrices. The weight is relative to
    the objective's own value, so that it means the same on every network.
    """

    count: int = Field(4, ge=1, le=16)
    weight: float = Field(1.0, ge=0)


KINDS: dict[str, type[Part]] = {
    str(kind.model_fields["kind"].default): kind
    for kind in (
        Pixels, Fourier, Phase, Cppn,
        LpNorm, TotalVariation, NaturalSpectrum,
        Pad, Jitter, Scale, Rotate, Crop, RandomResizedCrop, Noise,
    )
}  # fmt: skip
"""The kinds of image, regularizer and transform by name."""
