"""One turn of a recording: the pictures of an epoch, what is measured of them, and what is said of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from filterscope.api import Asked
from filterscope.ascent.engine.prepare import choose_device
from filterscope.atlas.gallery.data import round_number
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given
from filterscope.epochs.budget import Budget, own_steps
from filterscope.epochs.folder import Recording, Row
from filterscope.epochs.images import Images
from filterscope.epochs.measures import Observed, measure_changes, observe
from filterscope.epochs.pages import NUMBERS
from filterscope.measure.scores import Measurers
from filterscope.pictures import Picture
from filterscope.progress import progress_bar
from filterscope.recipe import AutoRecipe, Recipe


@dataclass(frozen=True)
class Turn:
    """The pictures of an epoch; each one's change since the turn before, None where that is not known; what the
    photographs showed, None where there are none."""

    pictures: list[Picture]
    changes: list[float | None]
    observed: Observed | None

    def row(self, recording: Recording, epoch: int, images: int, began: float) -> Row:
        """Save the pictures; the turn as it stands in recording.json."""
        files = recording.save_pictures(epoch, self.pictures)
        rows = zip(self.pictures, files, self.changes, strict=True)
        dead = None if self.observed is None else {n: list(d) for n, d in self.observed.dead.items()}
        return {
            "epoch": epoch,
            "weights_sha256": self.pictures[0].weights_sha256,
            "steps": max(picture.recipe.steps for picture in self.pictures),
            "images": images,
            "dead": dead,
            "units": [_row(*one) for one in rows],
            "seconds": round_number(time.perf_counter() - began),
        }


def draw_turn(
    asked: Asked, recipe: Recipe | AutoRecipe, images: Images | None, before: Mapping[str, np.ndarray]
) -> Turn:
    """Draw the goals, each from its first noise: a restart's would not compare with those of other turns.

    before: the pictures of the turn before by name.
    """
    net, observed, measurers = asked.network, None, None
    if images is not None:
        layers = list(dict.fromkeys(name for goal in asked.goals for name in goal.layers))
        observed = observe(net, layers, images.pixels(net.input))
        measurers = Measurers(net, choose_device(asked.run.device), best=observed.best)
    given = Given(attempt=0, measurers=measurers)
    with progress_bar(asked.progress, also=asked.on_step) as bar:
        pictures = list(draw(net, asked.goals, recipe, asked.run, given=given, on_step=bar))
    return Turn(pictures, measure_changes(net, pictures, before, device=asked.run.device), observed)


def identity_of(asked: Asked) -> dict[str, Any]:
    """What is to be the same where pictures of two runs are to compare."""
    own = asked.recipe
    recipe = (
        {"auto": json.loads(json.dumps(dict(own.changes), default=str))}
        if isinstance(own, AutoRecipe)
        else json.loads(own.model_dump_json())
    )
    return {
        "network": asked.network.name,  # with how it is fed
        "targets": [str(goal) for goal in asked.goals],
        "recipe": recipe,
        "seed": asked.run.seed,
        "precision": asked.run.precision,
    }


def notes_of(recording: Recording, asked: Asked, budget: Budget, images: Images | None) -> list[str]:
    """What the page says of the recording."""
    name = "auto" if isinstance(asked.recipe, AutoRecipe) else asked.recipe.name
    steps = max(turn["steps"] for turn in recording.turns)
    notes = [
        f"Recipe {name}, {steps} steps, seed {asked.run.seed}: the same at every turn, from the weights as they then "
        "were, and each picture from the same noise."
    ]
    if budget and recording.steps is not None:
        own = own_steps(asked.network, asked.goals, asked.recipe)
        notes.append(f"A budget of {budget} takes {recording.steps} of {own} steps.")
    if images is None:
        return [
            *notes,
            "Without images (images=) excitation is not known, and only units that were drawn are called dead.",
        ]
    return [
        *notes,
        f"Measured over {len(images)} images at each turn: excitation is relative to the best of them.",
    ]


def name_of(picture: Picture) -> str:
    """A picture's unit as a person reads it, with its facet."""
    return f"{picture.target}~{picture.facet}" if picture.facet else str(picture.target)


def _row(picture: Picture, file: str, change: float | None) -> Row:
    """A picture in recording.json."""
    values = {**picture.scores.record(), "change": change}
    return {
        "name": picture.stem,
        "target": name_of(picture),
        "class_name": picture.class_name,
        "file": file,
        "status": picture.status,
        **{name: round_number(values[name]) for name in NUMBERS},
    }
