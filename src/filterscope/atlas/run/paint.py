"""Drawing a chunk: rows and PNG files. The same on one machine and in each of Ray's workers."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx

from filterscope.ascent.engine.prepare import choose_device
from filterscope.atlas.plan import Chunk, Drawn
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.measure.scores import Measurers
from filterscope.networks.network import Network
from filterscope.pictures import Picture
from filterscope.pictures.png import encode_png
from filterscope.recipe import Recipe
from filterscope.target import Target

Row = dict[str, Any]


@dataclass
class Painter:
    """Draws chunks of one network. `best` holds for each layer the units' largest activations on natural images,
    as they were when the atlas was begun, so that the scores of its pictures stay comparable."""

    network: Network
    recipe: Recipe
    precision: str
    device: str = "auto"
    best: Mapping[str, np.ndarray] | None = None
    _probe: tuple[str, fx.GraphModule] | None = None

    def __post_init__(self) -> None:
        self._measurers = Measurers(self.network, choose_device(self.device), self.best or {})

    def paint(self, chunk: Chunk) -> Drawn:
        """The chunk's rows and files; where it fails each unit is tried alone, and a row says which failed."""
        begun = time.perf_counter()
        rows, files = self._tried(chunk)
        return sealed(chunk, rows, files, time.perf_counter() - begun)

    def _tried(self, chunk: Chunk) -> tuple[list[Row], dict[str, bytes]]:
        try:
            return self._paint(chunk)
        except (
            Exception
        ) as error:  # whatever the network or the recipe does to one unit must not stop the others
            if len(chunk.units) == 1:
                return _failed_rows(chunk, self.recipe.name, describe(error)), {}
        rows: list[Row] = []
        files: dict[str, bytes] = {}
        for unit in chunk.units:
            own_rows, own_files = self._tried(replace(chunk, units=(unit,)))
            rows += own_rows
            files |= own_files
        return rows, files

    def trial(self, chunk: Chunk, steps: int) -> float:
        """Draw a chunk for `steps` steps and throw it away; the seconds that took."""
        recipe = self.recipe.model_copy(update={"steps": steps})
        begun = time.perf_counter()
        with contextlib.suppress(Exception):  # whatever is wrong will be told where it counts
            list(
                draw(
                    self.network, chunk.targets, recipe, Run(0, self.precision, self.device),
                    given=Given(attempt=0, measurers=self._measurers),  # so short an ascent is no failure
                )
            )  # fmt: skip
        return time.perf_counter() - begun

    def _paint(self, chunk: Chunk) -> tuple[list[Row], dict[str, bytes]]:
        facets = self.recipe.facet_count
        pictures = list(
            draw(
                self.network, chunk.targets, self.recipe, Run(chunk.seed, self.precision, self.device),
                given=Given(batch=len(chunk.units) * facets, measurers=self._measurers),
            )
        )  # fmt: skip
        responses = self._responses(chunk.layer, np.stack([p.image for p in pictures]))
        rows, files = [], {}
        for picture, response in zip(pictures, responses, strict=True):
            data = encode_png(picture.to_pil(), picture.metadata())
            file = f"{chunk.folder}/{picture.stem}.png"
            files[file] = data
            rows.append(_row(picture, file, len(data), response))
        return rows, files

    def _responses(self, layer: str, images: np.ndarray) -> np.ndarray:
        """The activations of all units of the layer for saved pictures, uint8 (B, H, W, C) to (B, units)."""
        device = choose_device(self.device)
        if self._probe is None or self._probe[0] != layer:  # one layer at a time: memory stays bounded
            probe = self.network.probe([layer]).eval()
            self._probe = layer, probe if device.type == "cpu" else copy.deepcopy(probe).to(device)
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            (maps,) = self._probe[1](self.network.input.preprocess(pixels))
        values = maps.flatten(2).mean(2) if maps.ndim > 2 else maps
        return values.float().cpu().numpy()  # type: ignore[no-any-return]


def target_of(picture: Picture) -> Target:
    """What a picture of an atlas is for: always a unit."""
    assert isinstance(picture.target, Target)
    return picture.target


def _row(picture: Picture, file: str, size: int, response: np.ndarray) -> Row:
    scores = {key: _finite(value) for key, value in asdict(picture.scores).items()}
    return {
        "unit": target_of(picture).unit,
        "facet": picture.facet,
        "class_name": picture.class_name,
        "status": picture.status,
        "reason": _reason(picture),
        **{key: scores[key] for key in ("activation", "excitation", "probability", "start")},
        "attempt": picture.attempt,
        "seconds": round(picture.seconds, 4),
        "seed": picture.seed,
        "recipe": picture.recipe.name,
        "file": file,
        "bytes": size,
        "curve": [float(f"{value:.6g}") for value in picture.curve],
        "response": base64.b64encode(np.ascontiguousarray(response, "<f4").tobytes()).decode(),
    }


def response_of(row: Mapping[str, Any]) -> np.ndarray:
    """The response in a row, (units,)."""
    return np.frombuffer(base64.b64decode(row["response"]), "<f4")


def _finite(value: float | None) -> float | None:
    return value if value is None or np.isfinite(value) else None


def _reason(picture: Picture) -> str | None:
    if picture.status == "ok":
        return None
    if picture.status == "dead":
        return "nothing excites it: no natural image, no step of the ascent, from none of the noises tried"
    excitation = picture.scores.excitation
    if excitation is None:
        return "its picture excites it no more than the noise at the start"
    return f"its picture excites it {excitation:.2f} times as far as the best natural image"


def failed(chunk: Chunk, recipe: str, reason: str) -> Drawn:
    """A chunk all of whose units failed."""
    return sealed(chunk, _failed_rows(chunk, recipe, reason), {})


def _failed_rows(chunk: Chunk, recipe: str, reason: str) -> list[Row]:
    return [
        {"unit": unit, "facet": 0, "status": "failed", "reason": reason, "seed": chunk.seed, "recipe": recipe,
         "class_name": None, "file": None, "curve": []}
        for unit in chunk.units
    ]  # fmt: skip


def sealed(chunk: Chunk, rows: list[Row], files: dict[str, bytes], seconds: float = 0.0) -> Drawn:
    """A chunk with its journal, which is written last: what it names is there."""
    journal = json.dumps({"chunk": chunk.number, "rows": rows}, allow_nan=False).encode()
    short = [{key: row[key] for key in ("unit", "facet", "status")} for row in rows]
    return Drawn(short, {**files, chunk.journal: journal}, seconds)


def describe(error: BaseException) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 300 else text[:296] + " ..."
