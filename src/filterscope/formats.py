"""The forms of what filterscope writes and reads again: each kind of record carries the number of its form.

    PICTURE.stamped({"target": "conv1:3"})          # {"format": 1, "target": "conv1:3"}
    PICTURE.newest(told, "'out/conv1-0003.png'")    # the same in today's form, whatever form it was written in

Form 0 is what was written before there were numbers. A change that an older filterscope could not read, a renamed
setting say, takes the next number and a step here that makes it of the form before; the steps work on plain data and
are never changed, since what is drawn today may follow other rules. One PNG of each form is kept in tests/records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from filterscope.errors import ArgumentError, FilterscopeError, ImageError

KEY = "format"
Data = dict[str, Any]
Step = Callable[[Data], Data]


@dataclass(frozen=True)
class Form:
    """A kind of record. newest is the number of the form that is written; `steps[n]` makes form n + 1 of form n, from
    the oldest that is read to the newest. error: raised for what is newer, or is numbered by no whole number. key: what
    the number was called once."""

    number: int
    steps: Mapping[int, Step]
    error: type[FilterscopeError] = ArgumentError
    key: str = KEY

    def stamped(self, data: Mapping[str, Any]) -> Data:
        """A record with its number in front."""
        return {KEY: self.number, **data}  # a record that has its number keeps it

    def newest(self, data: Mapping[str, Any], where: str) -> Data:
        """A record in today's form; `where` says in a message which one it is."""
        if words := self.too_new(data, where):
            raise self.error(words)
        found = data.get(KEY, data.get(self.key, 0))
        if type(found) is not int or found < 0:
            raise self.error(f"{where} is damaged: its format is {found!r}, not a whole number")
        told = {key: value for key, value in data.items() if key != self.key}
        for number in range(found, self.number):
            if number not in self.steps:
                raise self.error(f"{where} is of format {found}, which no filterscope wrote")
            told = self.steps[number](told)
        return {**told, KEY: self.number}

    def too_new(self, data: Mapping[str, Any], where: str) -> str | None:
        """What to say of a record that a newer filterscope wrote; None of any other."""
        found = data.get(KEY, data.get(self.key, 0))
        if type(found) is not int or found <= self.number:
            return None
        return (
            f"{where} was written by a newer filterscope (format {found}; this one reads up to {self.number}): "
            "upgrade filterscope to read it"
        )


# --- pictures -----------------------------------------------------------------------------------------------

_PLACE = re.compile(r"@\d+,\d+(?!\d)")
_SLOWER = (5, 10)  # of form 0: what the rate of the first and second restart was divided by


def _recipe_as_carried_out(told: Data) -> Data:
    """Form 0 held the recipe that was asked for. What has a place was drawn without what moves the picture, restarts
    at a part of the rate (but for the blog's recipes) and without facets, and so was what began with a photograph."""
    asked = told.get("recipe")
    if not isinstance(asked, dict):
        return told
    recipe = {**asked}
    facets, attempt = recipe.get("facets"), told.get("attempt", 0)
    alone = isinstance(facets, dict) and facets.get("count", 4) == 1
    if attempt in (1, 2) or alone or told.get("photographs"):
        recipe["facets"] = None
    parts = recipe.get("transforms")
    if isinstance(parts, list) and _PLACE.search(str(told.get("target"))):
        recipe["transforms"] = [p for p in parts if isinstance(p, dict) and p.get("kind") == "noise"]
    optimizer = recipe.get("optimizer", {})
    if attempt in (1, 2) and recipe.get("feed", "network") == "network" and isinstance(optimizer, dict):
        rate = optimizer.get("lr", 0.05)
        if isinstance(rate, int | float):
            recipe["optimizer"] = {**optimizer, "lr": rate / _SLOWER[attempt - 1]}
    return {**told, "recipe": recipe}


PICTURE = Form(1, {0: _recipe_as_carried_out}, ImageError)
"""What a PNG carries, of a picture and of where one is excited; see `records.PictureRecord`."""


# --- folders of pictures ------------------------------------------------------------------------------------


def _as_it_is(data: Data) -> Data:
    """Only the number is new."""
    return data


REPORT_ROW = Form(1, {0: _as_it_is})
"""A row of report.json: one picture, or a comparison's pair; see `report`."""
SHEET = Form(1, {})
"""What a sheet's PNG carries: what it shows; see `pictures.sheet.save_sheet`."""
RECORDING = Form(1, {})
"""recording.json of a training's pictures: what was measured at each turn; see `epochs.folder`."""


# --- atlases ------------------------------------------------------------------------------------------------

ATLAS = Form(1, {})
"""atlas.json, which stands for what lies beside it, and network.json, which stands for all of a network's folder."""


# --- caches -------------------------------------------------------------------------------------------------


def _of_any_images(told: Data) -> Data:
    """Form 0 named images without their folders, so that a set of them is not known again."""
    return {"folder": "", **told, "images": None}


def _without_classes(told: Data) -> Data:
    """Form 3 kept nine images of each unit and no classes; whoever needs more computes them anew."""
    return {"class_names": [], "by_folder": False, **told}


NATURAL = Form(4, {0: _of_any_images, 1: _of_any_images, 2: _as_it_is, 3: _without_classes}, key="form")
"""A layer's natural activations in the user's cache, whose number was called `form` once."""
REGISTER = Form(1, {0: lambda told: {"files": told}})
"""Where weights and photographs lie, by their sha256; form 0 was the table alone."""
BATCHES = Form(1, {0: lambda told: {"counts": told}})
"""How many pictures are fastest together; form 0 was the table alone."""
