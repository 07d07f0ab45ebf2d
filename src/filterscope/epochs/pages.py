"""A recording as a page that opens from the file system: a row for each unit, a column for each epoch.

The page is made of the gallery's parts, under its content policy: one static page, whose data is a script (`epochs.js`)
that is written last, so that what it names is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from filterscope.atlas.gallery.data import round_number
from filterscope.atlas.gallery.pages import make_script, render, write_assets
from filterscope.epochs.folder import Recording, Row
from filterscope.errors import ArgumentError
from filterscope.files import writing
from filterscope.pictures.animation import save_animation
from filterscope.pictures.png import read_image
from filterscope.pictures.sheet import GAP, Tile, compose

DATA = "epochs.js"
FRAMES = 48  # of an animation at most: epochs evenly chosen, the first and the last among them
SIDE = 128  # of an animation's frames in pixels
FPS = 4
NUMBERS = ("activation", "excitation", "probability", "start", "change")


@dataclass(frozen=True)
class Folder:
    """A local folder that pages are written into, file by file, each whole or not at all."""

    place: Path

    def write(self, name: str, data: bytes) -> None:
        with writing(self.place / name) as spare:
            spare.write_bytes(data)


def write_page(recording: Recording, notes: Sequence[str]) -> Path:
    """Write the animations, at a run's first turn the page itself, then its data; the page's path.

    notes: sentences about the recording for its reader, as what budget it has.
    """
    folder = Folder(recording.folder)
    names = unit_names(recording.turns)
    for name in names:
        _write_animation(recording, name)
    page = recording.folder / "index.html"
    if not recording.has_page:  # once a run: an earlier one may be of another version
        write_assets(folder, ["epochs.js"])
        folder.write("index.html", render("epochs.html", root="", network=_title(recording)))
    folder.write(DATA, make_script("epochs", page_data(recording, notes)))
    recording.has_page = True
    return page


def _title(recording: Recording) -> str:
    """The network's name, without how it is fed."""
    return str(recording.identity["network"]).partition("?")[0]


def unit_names(turns: Sequence[Row]) -> list[str]:
    """The units of all turns by name, in the order in which they came."""
    return list(dict.fromkeys(row["name"] for turn in turns for row in turn["units"]))


def page_data(recording: Recording, notes: Sequence[str]) -> dict[str, Any]:
    """What the page's script shows: columns by epoch, None where an epoch lacks a unit."""
    turns = recording.turns
    by_turn = [{row["name"]: row for row in turn["units"]} for turn in turns]
    return {
        "network": _title(recording),
        "notes": list(notes),
        "epochs": recording.epochs,
        "seconds": [round_number(turn["seconds"], 3) for turn in turns],
        "steps": [turn["steps"] for turn in turns],
        "units": [_unit(name, [rows.get(name) for rows in by_turn]) for name in unit_names(turns)],
        "relus": _relus(turns),
        "images": max((turn["images"] for turn in turns), default=0),
    }


def _unit(name: str, rows: Sequence[Row | None]) -> dict[str, Any]:
    last = next(row for row in reversed(rows) if row is not None)
    return {
        "name": name,
        "target": last["target"],
        "class": last["class_name"] or "",
        "animation": animation_file(name),
        "files": [row and row["file"] for row in rows],
        "status": [row and row["status"] for row in rows],
        **{key: [row and round_number(row[key]) for row in rows] for key in NUMBERS},
    }


def _relus(turns: Sequence[Row]) -> list[dict[str, Any]]:
    """For each layer that ends in a ReLU how many of its units are dead at each turn."""
    names = list(dict.fromkeys(name for turn in turns for name in turn["dead"] or ()))
    found = []
    for name in names:
        counts = [(turn["dead"] or {}).get(name) for turn in turns]
        units = next(count[1] for count in counts if count)
        found.append({"layer": name, "units": units, "dead": [count and count[0] for count in counts]})
    return found


def animation_file(name: str) -> str:
    """Where a unit's animation lies in the folder."""
    return f"animations/{name}.webp"


def _write_animation(recording: Recording, name: str) -> None:
    """A unit's pictures, each with its epoch; nothing where none can be read."""
    found = [
        (turn["epoch"], row["file"])
        for turn in recording.turns
        for row in turn["units"]
        if row["name"] == name
    ]
    chosen = {round(i) for i in np.linspace(0, len(found) - 1, min(FRAMES, len(found)))}
    frames = []
    for epoch, file in (found[i] for i in sorted(chosen)):
        try:
            frames.append(_frame(read_image(recording.folder / file), epoch))
        except ArgumentError:  # damaged since: the others are shown
            continue
    sizes = {frame.size for frame in frames}
    if len(sizes) == 1:
        save_animation(frames, recording.folder / animation_file(name), fps=FPS)


def _frame(image: Image.Image, epoch: int) -> Image.Image:
    sheet = compose([Tile(image, f"epoch {epoch}")], columns=1, side=SIDE)
    return sheet.crop((GAP, GAP, sheet.width - GAP, sheet.height - GAP))
