"""Draws a chunk: its rows and PNG files. The same on one machine and in each of Ray's workers."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from torch import fx

from filterscope.ascent.engine.prepare import choose_device
from filterscope.atlas.plan import Chunk, ChunkResult, ChunkRow
from filterscope.atlas.storage.rows import FAILED, Journal, Row, encode_response
from filterscope.concept import Concept
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.errors import kind_and_line
from filterscope.measure.concepts import ConceptUnits
from filterscope.measure.scores import Measurers
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.objective import Objective
from filterscope.pictures import Picture
from filterscope.recipe import Recipe

Files = dict[str, bytes]
MOST_RELATED = (
    8192  # concepts of a file of which each picture's response to all others is kept, to tell which are alike
)


@dataclass
class ChunkDrawer:
    """Draws chunks of one network by each layer's recipe; the seed of `run` is each chunk's own. `best` holds for each
    layer the units' largest activations on natural images, as they were when the atlas was begun, so that the scores of
    its pictures stay comparable. alpha: whether each picture is written with an alpha channel too. concepts: those of
    files, whose chunks have their names for a layer's. goals: what the units of other layers are that are none of the
    network's own, as the cells of a map."""

    network: Network
    recipes: Mapping[str, Recipe]
    run: Run
    best: Mapping[str, np.ndarray] | None = None
    alpha: bool = False
    concepts: Sequence[ConceptUnits] = ()
    goals: Mapping[str, Sequence[Objective]] = field(default_factory=dict)
    _probe: tuple[str, fx.GraphModule] | None = None

    def __post_init__(self) -> None:
        self._concepts = {one.name: one for one in self.concepts}
        self._measurers = Measurers(self.network, choose_device(self.run.device), self.best or {})

    def draw(self, chunk: Chunk) -> ChunkResult:
        """The chunk's rows and files; where it fails each unit is tried alone, and a row says which failed."""
        begun = time.perf_counter()
        rows, files = self._try(chunk)
        return pack_chunk(chunk, rows, files, time.perf_counter() - begun)

    def trial(self, chunk: Chunk, steps: int) -> float:
        """Draw a chunk for `steps` steps and throw it away; the seconds that took."""
        recipe = self.recipes[chunk.layer].model_copy(update={"steps": steps})
        begun = time.perf_counter()
        with contextlib.suppress(Exception):  # whatever is wrong is reported when the chunk is drawn
            self._pictures(chunk, recipe, attempt=0)  # so short an ascent is no failure
        return time.perf_counter() - begun

    def _try(self, chunk: Chunk) -> tuple[list[Row], Files]:
        try:
            return self._draw(chunk)
        except Exception as error:  # whatever is wrong with one unit must not stop the others
            if len(chunk.units) == 1:
                return _failed_rows(chunk, self.recipes[chunk.layer].name, kind_and_line(error)), {}
        rows: list[Row] = []
        files: Files = {}
        for unit in chunk.units:
            own_rows, own_files = self._try(replace(chunk, units=(unit,)))
            rows += own_rows
            files |= own_files
        return rows, files

    def _draw(self, chunk: Chunk) -> tuple[list[Row], Files]:
        recipe = self.recipes[chunk.layer]
        pictures = self._pictures(chunk, recipe, batch=len(chunk.units) * recipe.facet_count)
        if chunk.layer in self.goals:
            return self._cells(chunk, pictures)
        one = self._concepts.get(chunk.layer)
        responses: Iterable[np.ndarray | None] = [None] * len(pictures)
        if one is None or one.count <= MOST_RELATED:
            responses = self._responses(chunk.layer, np.stack([p.image for p in pictures]))
        rows: list[Row] = []
        files: Files = {}
        for picture, response in zip(pictures, responses, strict=True):
            file = f"{chunk.folder}/{picture.stem}.png"
            files[file] = picture.encoded()
            unit = int(
                getattr(picture.target, "number" if isinstance(picture.target, Concept) else "unit", 0)
            )
            rows.append(_make_row(picture, unit, file, len(files[file]), response))
            if self.alpha:
                rows[-1].alpha = f"{chunk.folder}/{picture.stem}.alpha.png"
                files[rows[-1].alpha] = picture.encoded(alpha=True)
        return rows, files

    def _cells(self, chunk: Chunk, pictures: Sequence[Picture]) -> tuple[list[Row], Files]:
        """Rows and files of what has a number here alone, in whose order the pictures are."""
        rows: list[Row] = []
        files: Files = {}
        for i, picture in enumerate(pictures):
            unit = chunk.units[i // self.recipes[chunk.layer].facet_count]
            file = f"{chunk.folder}/cell-{unit:04d}{f'~{picture.facet}' if picture.facet else ''}.png"
            files[file] = picture.encoded()
            rows.append(_make_row(picture, unit, file, len(files[file])))
        return rows, files

    def _goals(self, chunk: Chunk) -> Sequence[Objective]:
        if chunk.layer in self.goals:
            return [self.goals[chunk.layer][unit] for unit in chunk.units]
        one = self._concepts.get(chunk.layer)
        return chunk.targets if one is None else one.goals(chunk.units)

    def _pictures(
        self, chunk: Chunk, recipe: Recipe, *, batch: int | None = None, attempt: int | None = None
    ) -> list[Picture]:
        run = replace(self.run, seed=chunk.seed)
        given = Given(batch=batch, attempt=attempt, measurers=self._measurers)
        return list(draw(self.network, self._goals(chunk), recipe, run, given=given))

    @in_our_torch
    def _responses(self, layer: str, images: np.ndarray) -> np.ndarray:
        """The activations of all units of the layer for saved pictures, uint8 (B, H, W, C) to (B, units)."""
        device = choose_device(self.run.device)
        if self._probe is None or self._probe[0] != layer:  # one layer at a time: memory stays bounded
            one = self._concepts.get(layer)
            probe = self.network.probe([one.layer if one else layer]).eval()
            self._probe = layer, probe if device.type == "cpu" else copy.deepcopy(probe).to(device)
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            (maps,) = self._probe[1](self.network.input.preprocess(pixels))
            if layer in self._concepts:
                maps = self._concepts[layer].means(maps.float())
        values = maps.flatten(2).mean(2) if maps.ndim > 2 else maps
        return values.float().cpu().numpy()  # type: ignore[no-any-return]


def pack_chunk(chunk: Chunk, rows: Sequence[Row], files: Files, seconds: float = 0.0) -> ChunkResult:
    """A chunk with its journal, which is written last: what it names is there."""
    journal = Journal(chunk=chunk.number, rows=list(rows)).model_dump(exclude_unset=True)
    data = json.dumps(journal, allow_nan=False).encode()
    short = [ChunkRow(row.unit, row.facet, row.status) for row in rows]
    return ChunkResult(short, {**files, chunk.journal: data}, seconds)


def fail_chunk(chunk: Chunk, recipe: str, reason: str) -> ChunkResult:
    """A chunk all of whose units failed."""
    return pack_chunk(chunk, _failed_rows(chunk, recipe, reason), {})


def _failed_rows(chunk: Chunk, recipe: str, reason: str) -> list[Row]:
    return [
        Row(
            unit=unit, facet=0, status=FAILED, reason=reason, seed=chunk.seed, recipe=recipe, class_name=None,
            file=None, curve=[],
        )
        for unit in chunk.units
    ]  # fmt: skip


def _make_row(picture: Picture, unit: int, file: str, size: int, response: np.ndarray | None = None) -> Row:
    scores = asdict(picture.scores)
    return Row(
        unit=unit,
        facet=picture.facet,
        class_name=picture.class_name,
        status=picture.status,
        reason=_reason(picture),
        **{key: _finite(scores[key]) for key in ("activation", "excitation", "probability", "start")},
        attempt=picture.attempt,
        seconds=round(picture.seconds, 4),
        seed=picture.seed,
        recipe=picture.recipe.name,
        file=file,
        bytes=size,
        curve=[float(f"{value:.6g}") for value in picture.curve],
        response=None if response is None else encode_response(response),
    )


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
