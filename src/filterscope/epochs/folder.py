"""A recording on disk: recording.json, the pictures of each turn, and which folder a training goes on in.

    OUT/recording.json               all that was measured, turn by turn; written before the page that shows it
    OUT/epoch-00003/conv1-0007.png   the pictures of a turn, each with its whole recipe
    OUT/animations/conv1-0007.webp   a unit's pictures one after the other
    OUT/index.html, epochs.js        the page and its data

**Going on.** A folder holds one training. Another run with the same network, targets, recipe and seed goes on in it:

- after its last epoch, where the epochs are later ones, or where the run begins with weights that the folder knows by their
  sha256: then its epochs are counted on from there;
- from a middle epoch on, as after a crash, where a checkpoint was older than the last pictures: these are replaced.

A training that starts over, or whose targets, recipe or seed are others, gets a new folder beside it, `OUT-1`. Nothing that
one training drew is replaced by another's.
"""

from __future__ import annotations

import itertools
import json
import logging
import operator
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from filterscope.atlas.gallery.paths import is_inside
from filterscope.errors import ArgumentError
from filterscope.files import write_text, writing
from filterscope.formats import RECORDING
from filterscope.pictures import Picture
from filterscope.pictures.png import read_image

log = logging.getLogger("filterscope")

RECORD = "recording.json"
Row = dict[str, Any]


@dataclass
class Recording:
    """A folder and what it holds. identity: what has to be the same for another run to go on in it. turns: one for each
    epoch that was drawn, by epoch. shift: what is added to this run's epochs. has_page: whether this run wrote it."""

    folder: Path
    identity: Mapping[str, Any]
    turns: list[Row] = field(default_factory=list)
    steps: int | None = None
    shift: int = 0
    has_page: bool = False

    @property
    def epochs(self) -> list[int]:
        """The epochs that were drawn."""
        return [turn["epoch"] for turn in self.turns]

    def last_images(self) -> dict[str, np.ndarray]:
        """The pictures of the last turn by name, uint8 (H, W, C); those that cannot be read are left out."""
        found = {}
        for row in self.turns[-1]["units"] if self.turns else ():
            try:
                values = np.asarray(read_image(self.folder / row["file"]))
            except ArgumentError:
                continue
            found[row["name"]] = values[..., None] if values.ndim == 2 else values
        return found

    def has(self, epoch: int, weights: str) -> bool:
        """Whether an epoch is there already, drawn from these very weights."""
        return any(turn["epoch"] == epoch and turn["weights_sha256"] == weights for turn in self.turns)

    def keep_before(self, epoch: int) -> list[Row]:
        """Forget what comes from an epoch on, of a run that was given up; what was forgotten."""
        gone = [turn for turn in self.turns if turn["epoch"] >= epoch]
        self.turns = [turn for turn in self.turns if turn["epoch"] < epoch]
        return gone

    def save_pictures(self, epoch: int, pictures: Sequence[Picture]) -> list[str]:
        """Write a turn's pictures; their paths in the folder."""
        place = _place(epoch)
        for picture in pictures:
            with writing(self.folder / place / f"{picture.stem}.png") as spare:
                spare.write_bytes(picture.encoded())
        return [f"{place}/{picture.stem}.png" for picture in pictures]

    def save(self) -> None:
        """Write recording.json."""
        record = {"identity": self.identity, "steps": self.steps, "turns": self.turns}
        write_text(self.folder / RECORD, json.dumps(RECORDING.stamped(record), indent=1) + "\n")

    def remove(self, turns: Sequence[Row]) -> None:
        """Remove the folders of turns that no page shows any more."""
        for epoch in {turn["epoch"] for turn in turns} - set(self.epochs):
            shutil.rmtree(self.folder / _place(epoch), ignore_errors=True)


def _place(epoch: int) -> str:
    return f"epoch-{epoch:05d}"


def open_recording(
    out: Path, identity: Mapping[str, Any], epoch: int, now: str, start: str | None
) -> Recording:
    """The recording that an epoch belongs to: in `out`, or in a folder beside it.

    now: the sha256 of the weights that are to be drawn; start: of those that the run began with.
    """
    folders = _candidates(out)
    while True:
        folder = next(folders)
        found = read_recording(folder)
        if found is None and _is_free(folder):
            return Recording(folder, identity)
        why = _why_not(found, identity)
        if found is not None and not why:
            shift = _shift(found, epoch, now, start)
            if shift is not None:
                found.shift = shift
                return found
            why = f"its training began at epoch {found.epochs[0]}, and this one starts over"
        log.warning("%s holds another recording (%s): this one gets a folder of its own", folder, why)


def _candidates(out: Path) -> Iterator[Path]:
    yield out
    yield from (out.with_name(f"{out.name}-{number}") for number in itertools.count(1))


def _is_free(folder: Path) -> bool:
    """Whether nothing is there whose pages a recording would replace."""
    return not any((folder / name).exists() for name in ("index.html", RECORD))


def read_recording(folder: Path) -> Recording | None:
    """The recording in a folder; None where there is none, or none that can be read."""
    try:
        told = RECORDING.newest(json.loads((folder / RECORD).read_text(encoding="utf-8")), str(folder))
        turns = sorted(told["turns"], key=lambda turn: operator.index(turn["epoch"]))
        if not all(is_inside(row["file"]) for turn in turns for row in turn["units"]):
            return None  # a folder may come from anyone
        return Recording(folder, dict(told["identity"]), turns, told["steps"])
    except FileNotFoundError:
        return None
    except (ArgumentError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _why_not(found: Recording | None, identity: Mapping[str, Any]) -> str:
    """Why a run cannot go on in a folder; nothing where it can."""
    if found is None:
        return "or something else that cannot be read as one"
    names = [name for name in identity if found.identity.get(name) != identity[name]]
    return f"other {', '.join(names)}" if names else ""


def _shift(found: Recording, epoch: int, now: str, start: str | None) -> int | None:
    """What to add to a run's epochs so that they go on in a recording, whose first one is `epoch`; None where the run is
    another training."""
    known = {turn["weights_sha256"]: turn["epoch"] for turn in found.turns}
    if not found.turns or epoch > found.epochs[-1]:
        return 0
    if now in known:
        return int(known[now]) - epoch
    if start in known:  # this is the first epoch after weights that are there
        after = int(known[start])
        return after + (1 - epoch if epoch < 1 else 0) if epoch <= after else 0
    return 0 if epoch > found.epochs[0] else None
