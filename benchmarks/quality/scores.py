"""One scoring of finished 8-bit pictures for every program alike, and what it comes to over many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.quality.spectrum import distance

from filterscope.networks import Network

SUCCESS = 1.0  # as exciting as the best natural image
SURE = 0.99


@dataclass(frozen=True)
class Score:
    """What a picture is worth.

    activation: of the saved 8-bit picture, through the network's own preprocessing, in float32. best: of natural
    images. top: whether the unit is the layer's most excited, each relative to its best natural image.
    spectrum: see spectrum.py. probability: of a class. judge: the class's rank in another network, from 1.
    """

    layer: str
    unit: int
    activation: float
    best: float
    top: bool
    spectrum: float
    seconds: float
    probability: float | None = None
    judge: int | None = None

    @property
    def excitation(self) -> float | None:
        """None where no natural image excites the unit."""
        return self.activation / self.best if self.best > 0 else None

    @property
    def success(self) -> bool:
        """At least as exciting as the best natural image; where none excites the unit, exciting at all."""
        return self.activation >= self.best if self.best > 0 else self.activation > 0


@dataclass(frozen=True)
class Scorer:
    """Scores pictures of one network; `best` holds each layer's (units,) largest natural activations."""

    network: Network
    best: Mapping[str, np.ndarray]
    natural: np.ndarray  # the photographs' profile

    def activations(self, layer: str, image: np.ndarray, fed: int | None = None) -> np.ndarray:
        """(units,): means over space, classes before their softmax; of the picture enlarged to `fed` pixels if given."""
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        if fed is not None:
            pixels = F.interpolate(pixels, (fed, fed), mode="bilinear", align_corners=True)
        with torch.no_grad():
            (found,) = self.network.probe([layer]).eval()(self.network.input.preprocess(pixels))
        return (found.flatten(2).mean(2) if found.ndim == 4 else found)[0].double().numpy()

    def top(self, layer: str, row: np.ndarray) -> int:
        """The layer's most excited unit, each relative to its best natural image; of classes, whose values are all
        on one scale, the largest."""
        if self.is_class(layer):
            return int(row.argmax())
        best = self.best[layer].astype(np.float64)
        return int(np.where(best > 0, row / np.where(best > 0, best, 1), -np.inf).argmax())

    def is_class(self, layer: str) -> bool:
        return self.network.layer(layer).softmax is not None

    def score(
        self, layer: str, unit: int, image: np.ndarray, seconds: float, *, fed: int | None = None
    ) -> Score:
        """The score of one 8-bit picture (H, W, 3).

        fed: the side to which its program enlarges pictures before its network sees them; such a picture is
        measured at both sizes, and the one that excites its unit more counts.
        """
        rows = [self.activations(layer, image, side) for side in dict.fromkeys([None, fed])]
        row = max(rows, key=lambda values: values[unit])
        probability = float(np.exp(row[unit] - np.logaddexp.reduce(row))) if self.is_class(layer) else None
        top = self.best[layer][unit] > 0 and unit == self.top(layer, row)
        best = float(self.best[layer][unit])
        return Score(
            layer,
            unit,
            float(row[unit]),
            best,
            bool(top),
            distance(image, self.natural),
            seconds,
            probability,
        )


def dead_units(scores: Iterable[Score]) -> set[tuple[str, int]]:
    """Units that no natural image and none of the pictures excite."""
    lives: dict[tuple[str, int], bool] = {}
    for s in scores:
        lives[s.layer, s.unit] = lives.get((s.layer, s.unit), False) or s.best > 0 or s.activation > 0
    return {unit for unit, alive in lives.items() if not alive}


def summary(scores: Sequence[Score], dead: set[tuple[str, int]] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    """One row of the table: rates are shares of the live units, seconds are the mean of a picture."""
    live = [s for s in scores if (s.layer, s.unit) not in dead]
    excitations = [s.excitation for s in live if s.excitation is not None]
    row: dict[str, Any] = {
        "pictures": len(scores),
        "dead": len(scores) - len(live),
        "success": _mean(s.success for s in live),
        "excitation": median(excitations) if excitations else None,
        "top_unit": _mean(s.top for s in live if s.best > 0),
        "spectrum": _mean(s.spectrum for s in scores),
        "seconds": _mean(s.seconds for s in scores),
    }
    classes = [s.probability for s in live if s.probability is not None]
    if classes:
        row |= {"probability": median(classes), "sure": _mean(p >= SURE for p in classes)}
    ranks = [s.judge for s in live if s.judge is not None]
    if ranks:
        row |= {"judge_top1": _mean(r == 1 for r in ranks), "judge_top5": _mean(r <= 5 for r in ranks)}
    return row


def _mean(values: Iterable[float]) -> float | None:
    known = [float(v) for v in values]
    return fmean(known) if known else None
