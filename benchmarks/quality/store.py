"""Finished pictures and their scores in the output folder, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.quality.scores import Score
from benchmarks.runners.quality_plan import CHUNK
from PIL import PngImagePlugin

from filterscope.errors import ImageError
from filterscope.files import write_text, writing
from filterscope.pictures import Picture
from filterscope.pictures.png import CHUNK as RECIPE
from filterscope.pictures.png import read_image
from filterscope.target import Target


@dataclass(frozen=True)
class Kept:
    """A finished picture, uint8 (H, W, 3), and how long it took."""

    image: np.ndarray
    seconds: float
    digest: str  # of the file


@dataclass
class Store:
    """OUT/pictures/NETWORK/PROGRAM/LAYER-UNIT.png and OUT/scores.json."""

    out: Path
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.known.is_file():
            self.scores = json.loads(self.known.read_text())

    @property
    def known(self) -> Path:
        return self.out / "scores.json"

    def place(self, network: str, program: str, layer: str, unit: int) -> Path:
        return self.out / "pictures" / network / program / f"{Target(layer, unit).stem}.png"

    def read(self, network: str, program: str, layer: str, unit: int, label: str) -> Kept | None:
        """The picture if it is there and was drawn with the settings that `label` stands for."""
        place = self.place(network, program, layer, unit)
        if not place.is_file():
            return None
        try:
            image = read_image(place)
            told = json.loads(getattr(image, "text", {})[CHUNK])
        except (ImageError, KeyError, ValueError):
            return None
        if told["label"] != label:
            return None
        digest = hashlib.sha256(place.read_bytes()).hexdigest()
        return Kept(np.asarray(image.convert("RGB")), float(told["seconds"]), digest)

    def image(self, network: str, program: str, layer: str, unit: int) -> np.ndarray:
        """The picture's values, uint8 (H, W, 3)."""
        return np.asarray(read_image(self.place(network, program, layer, unit)).convert("RGB"))

    def write(self, program: str, picture: Picture, label: str, network: str | None = None) -> None:
        """Keep one of our own pictures, its recipe inside; network: what its network is called here."""
        target = picture.target
        assert isinstance(target, Target)
        info = PngImagePlugin.PngInfo()
        info.add_text(RECIPE, json.dumps(picture.metadata()))
        info.add_text(CHUNK, json.dumps({"label": label, "seconds": picture.seconds}))
        with writing(self.place(network or picture.network, program, target.layer, target.unit)) as spare:
            picture.to_pil().save(spare, "PNG", pnginfo=info)

    def score(self, kept: Kept, measured_by: str, measure: Callable[[], Score]) -> Score:
        """The picture's score, measured once; `measured_by` stands for the network and its natural images."""
        key = f"{measured_by} {kept.digest}"
        if key not in self.scores:
            self.scores[key] = asdict(measure())
        return Score(**self.scores[key])

    def save(self) -> None:
        """Write the scores down."""
        write_text(self.known, json.dumps(self.scores))


def digest(*parts: Any) -> str:
    """A short name for settings: the sha256 of their JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
