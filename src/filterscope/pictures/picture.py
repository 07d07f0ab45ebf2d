"""Picture: the result for one target, with everything needed to draw it again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as PILImage

from filterscope._version import __version__
from filterscope.concept import Concept
from filterscope.errors import ArgumentError
from filterscope.files import writing
from filterscope.formats import PICTURE
from filterscope.objective import Between, Objective
from filterscope.pictures.html import figure
from filterscope.pictures.networks import draw_network, encode_parameters
from filterscope.pictures.png import encode_png
from filterscope.pictures.shown import Shown
from filterscope.recipe import Cppn, Recipe
from filterscope.records import CarriedOut
from filterscope.sides import Size, as_size, checked_size, sides_of
from filterscope.target import Target, place_text, terms_of

Status = Literal["ok", "no-gain", "dead"]


@dataclass(frozen=True)
class TermScore:
    """What one term of a sum is worth by itself: its target as text and its weight, its activation, and of a class its
    probability."""

    target: str
    weight: float
    activation: float
    probability: float | None = None


@dataclass(frozen=True)
class Scores:
    """Measured on the saved 8-bit picture, through the network's own preprocessing, in float32.

    activation: the unit's mean over space, a neuron's own value, a class before its softmax.
    excitation: that over the unit's largest activation on natural images; None where none are known.
    probability: of a class, after the softmax; None for other units.
    start: the activation of the noise that the ascent started from.
    top_unit: whether it excites its own unit more than any other of the layer, each relative to its best natural
        image; None where none are known.
    legibility: the two-alternative test (see measure/alternatives.py): how often another network, by the picture, names the
        one of two photographs that excites the unit; 0.5 by chance. legibility_ceiling: the same with the unit's own best
        photographs in the picture's stead. Of channels and classes; None without a judge or photographs.
    terms: of a sum each term's own scores, as those of each network of an ensemble.
    """

    activation: float
    excitation: float | None = None
    probability: float | None = None
    start: float | None = None
    top_unit: bool | None = None
    legibility: float | None = None
    legibility_ceiling: float | None = None
    terms: tuple[TermScore, ...] = ()

    def record(self) -> dict[str, Any]:
        """For a PNG and a report, without the terms; what only a judge finds, where there is one."""
        numbers = {k: v for k, v in asdict(self).items() if k != "terms"}
        return {k: v for k, v in numbers.items() if v is not None or not k.startswith("legibility")}


@dataclass(frozen=True)
class Opinion:
    """What another network finds in a picture: the class it names and its confidence in it, and for a picture of a
    class that it knows that class's probability and rank, 1 for the first."""

    network: str
    named: str
    confidence: float
    probability: float | None = None
    rank: int | None = None


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Picture(Shown):
    """One target's picture; shows itself in a notebook, saves itself with its recipe inside. To NumPy it is its pixels as
    they are saved: `plt.imshow(picture)`.

    image: uint8 (H, W, 3), RGB (or (H, W, 1), grey; of other channels, those `shown` as red, green and blue).
    recipe: as it was carried out: a neuron's without what moves the picture, a restart's with its smaller rate and
        without facets, the size in pixels. carried_out: what of it the network settled.
    facet: which of the unit's pictures it is, where a recipe draws several.
    curve: the activation at each step of the ascent, as the ascent saw it.
    batch: how many pictures were drawn together, which can change rounding.
    photographs: what it started from or was compared with ("image", "guide"): each one's file name and sha256.
    networks: of an ensemble each network by its name there: what it is, its weights' sha256 and their file.
    transparency: where the network looked, uint8 (H, W), 255 where it looked most: the sum over the steps of the absolute
        value of the objective's gradient, without penalties, clipped at its 80th percentile (as Horama does). None of a
        picture that no ascent drew.
    parameters: of a picture that is a network of coordinates (image "cppn") its weights, float32 (P,), from which `render`
        draws it at any size.
    """

    image: np.ndarray = field(repr=False)
    target: Objective
    network: str
    recipe: Recipe
    seed: int
    scores: Scores
    status: Status
    curve: list[float] = field(repr=False)
    facet: int = 0
    class_name: str | None = None
    judge: Opinion | None = None
    weights_sha256: str = ""
    weights_file: str | None = None
    precision: str = "float32"
    device: str = "cpu"
    batch: int = 1
    attempt: int = 0
    seconds: float = 0.0
    photographs: dict[str, dict[str, str | None]] = field(default_factory=dict)
    networks: dict[str, dict[str, str | None]] = field(default_factory=dict)
    carried_out: CarriedOut | None = None
    shown: tuple[int, int, int] = (0, 1, 2)
    transparency: np.ndarray | None = field(default=None, repr=False)
    parameters: np.ndarray | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """What the blog wrote on a tile: `filter: 34`, or the class's name; a failed one says so."""
        name = self.class_name or str(self.target)
        if isinstance(self.target, Between):
            goal = self.target
            ends = {1: str(goal.first), goal.frames: str(goal.second)}
            name = ends.get(goal.frame, f"{goal.share:.0%}")
        if isinstance(self.target, Target):
            place = f" @{place_text(self.target.at)}" if self.target.at else ""
            name = (self.class_name or f"filter: {self.target.unit}") + place
        if isinstance(self.target, Concept):
            place = f" @{place_text(self.target.at)}" if self.target.at else ""
            name = (self.class_name or f"concept: {self.target.number}") + place
        name += f" ~{self.facet}" if self.facet else ""
        return name if self.status == "ok" else f"{name} ({self.status.replace('-', ' ')})"

    @property
    def stem(self) -> str:
        """The file name without its ending: `block3_conv1-0034`, further facets `block3_conv1-0034~1`."""
        return self.target.stem + (f"~{self.facet}" if self.facet else "")

    @property
    def concepts(self) -> dict[str, str]:
        """The files of concepts that it was drawn from: each one's name, without the folder, and its sha256."""
        found = (term for _, term in terms_of(self.target) if isinstance(term, Concept))
        return {term.file: term.sha256 for term in found}

    def metadata(self) -> dict[str, Any]:
        """What the PNG carries: enough to draw the picture again, and its scores; see `records.PictureRecord`."""
        record = {
            "version": __version__,
            "network": self.network,
            **({"networks": self.networks} if self.networks else {}),
            "weights_sha256": self.weights_sha256,
            "weights_file": self.weights_file,
            "target": str(self.target),
            "class_name": self.class_name,
            "seed": self.seed,
            "attempt": self.attempt,
            "facet": self.facet,
            "recipe": json.loads(self.recipe.model_dump_json()),  # model_dump leaves p = inf as it is
            **({"carried_out": self.carried_out.model_dump()} if self.carried_out else {}),
            "precision": self.precision,
            "device": self.device,
            "batch": self.batch,
            "status": self.status,
            "scores": self.scores.record(),
            **self._terms(),
            **({"judge": asdict(self.judge)} if self.judge else {}),
            "curve": [float(f"{value:.6g}") for value in self.curve],
            **({"photographs": self.photographs} if self.photographs else {}),
            **({"concepts": self.concepts} if self.concepts else {}),
            **({} if self.parameters is None else {"parameters": encode_parameters(self.parameters)}),
        }
        return PICTURE.stamped(record)

    def report(self, file: str | None) -> dict[str, Any]:
        """This picture's entry in report.json."""
        return {
            "file": file,
            "target": str(self.target),
            "class_name": self.class_name,
            "facet": self.facet,
            "seed": self.seed,
            "recipe": self.recipe.name,
            "steps": self.recipe.steps,
            "size": as_size(*self.image.shape[:2]),
            **{k: v for k, v in self.scores.record().items() if k != "start"},
            **self._terms(),
            **({"judge": asdict(self.judge)} if self.judge else {}),
            "status": self.status,
            "seconds": round(self.seconds, 3),
        }

    def render(self, size: Size) -> Picture:
        """The same picture at another size, a side or (height, width), without another ascent; ArgumentError where it is no
        network of coordinates (image "cppn"). Its scores stay those of the size that it was drawn at."""
        sides = sides_of(checked_size("size", size))
        if self.parameters is None or not isinstance(self.recipe.image, Cppn):
            raise ArgumentError(
                f"the picture of {self.target} cannot be drawn at another size again: only an image of kind 'cppn' can "
                f"(show with image=cppn as a setting); it is of kind {self.recipe.image.kind!r}"
            )
        pixels = draw_network(self.recipe.image, self.parameters, self.image.shape[-1], sides)
        looked = self.transparency
        if looked is not None:
            wide = PILImage.fromarray(looked).resize(sides[::-1], PILImage.Resampling.BICUBIC)
            looked = np.asarray(wide)
        return replace(self, image=pixels, transparency=looked)

    def _terms(self) -> dict[str, Any]:
        """The scores of a sum's terms, for a PNG and a report."""
        return {"terms": [asdict(term) for term in self.scores.terms]} if self.scores.terms else {}

    def to_pil(self, *, alpha: bool = False) -> PILImage.Image:
        """The picture as a Pillow image; with an `alpha` channel, which is its transparency, if asked for.

        ArgumentError for the alpha channel of a picture that has no transparency.
        """
        channels = self.image.shape[-1]
        colours = (
            self.image
            if channels == 3
            else self.image[..., list(self.shown)]
            if channels > 1
            else self.image[..., 0]
        )
        image = PILImage.fromarray(colours)
        if alpha:
            if self.transparency is None:
                raise ArgumentError(f"the picture of {self.target} has no transparency: no ascent drew it")
            image.putalpha(PILImage.fromarray(self.transparency))
        return image

    def _repr_html_(self) -> str:
        """The picture with its scores, for a notebook."""
        recipe = f"{self.recipe.name}, {self.recipe.steps} steps, seed {self.seed}"
        return figure(self.to_pil(), self.title, self.verdict, recipe, self.network)

    @property
    def title(self) -> str:
        """The target, with the class's name where it has one."""
        return f"{self.target} {self.class_name}" if self.class_name else str(self.target)

    @property
    def verdict(self) -> str:
        """In words what was measured: `excitation 1.52`, or the activation where no excitation is known, and the status
        of a picture that is not `ok`."""
        known = self.scores.excitation
        words = f"activation {self.scores.activation:.3g}" if known is None else f"excitation {known:.2f}"
        return words if self.status == "ok" else f"{words}, {self.status.replace('-', ' ')}"

    def save(self, path: str | os.PathLike[str], *, alpha: bool = False) -> Path:
        """Write a PNG with the recipe inside, whole or not at all; a folder gets LAYER-UNIT.png, or
        LAYER-UNIT.alpha.png with an `alpha` channel."""
        place = Path(path)
        if place.is_dir() or not place.suffix:
            place = place / (f"{self.stem}.alpha.png" if alpha else f"{self.stem}.png")
        with writing(place) as spare:
            spare.write_bytes(self.encoded(alpha=alpha))
        return place

    def encoded(self, *, alpha: bool = False) -> bytes:
        """The bytes of the PNG with the recipe inside, and with the alpha channel if asked for; the same picture gives the
        same."""
        return encode_png(self.to_pil(alpha=alpha), self.metadata())
