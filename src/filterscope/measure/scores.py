"""Scores of finished pictures: what the network says of the 8-bit values, fed as any picture is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from filterscope.ascent.engine.prepare import Prepared, prepare
from filterscope.ascent.objectives import activation, own_unit
from filterscope.ascent.soundness import require_finite
from filterscope.measure.natural import recall
from filterscope.networks.network import Network, Taps
from filterscope.objective import Objective
from filterscope.pictures.picture import Scores, Status
from filterscope.target import Target, row_and_column


def to_bytes(pixels: Tensor, output: str) -> np.ndarray:
    """Pixel values (B, C, H, W) to the saved 8-bit pictures (B, H, W, C).

    "standardize": per picture minus mean, over (std + 1e-5), times 0.1, plus 0.5, clipped, times 255, the
    blog's way to bring any range into view. "values": clipped to 0 to 255.
    """
    x = pixels.detach().float().cpu()
    if output == "standardize":
        flat = torch.stack([(p - p.mean()) / (p.std(correction=0) + 1e-5) for p in x])
        x = (flat * 0.1 + 0.5).clamp(0, 1) * 255
    return x.clamp(0, 255).round_().permute(0, 2, 3, 1).to(torch.uint8).numpy()


@dataclass(frozen=True)
class Measurer:
    """Measures 8-bit pictures of objectives that listen to the same layers.

    `prepared` is in float32, whole, and has the layer's softmax. `natural_best` holds each target's largest
    activation on natural images, where these are known; `layer_best` that of every unit of the targets' layer, and
    `layer_peak` each one's largest value at any place, by which neurons are measured.
    """

    prepared: Prepared
    targets: Sequence[Objective]
    natural_best: Sequence[float | None]
    layer_best: Tensor | None = None
    layer_peak: Tensor | None = None

    def taps(self, images: np.ndarray) -> dict[str, Taps]:
        """What the network says of 8-bit pictures (B, H, W, C)."""
        pixels = torch.from_numpy(images).to(self.prepared.device).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            found: dict[str, Taps] = self.prepared(pixels)
        return found

    def activations(self, taps: dict[str, Taps]) -> list[float]:
        """Each picture's activation; WorkError for one that is no number."""
        values = activation(taps, self.targets, self.prepared.units)
        require_finite(values, self.targets, "for a finished picture")
        return values.tolist()

    def probabilities(self, taps: dict[str, Taps]) -> list[float | None]:
        """Each class picture's probability; None for other units."""
        softmax = next(iter(taps.values())).softmax
        units = [t.unit for t in self.targets if isinstance(t, Target)]
        if softmax is None or softmax.ndim != 2 or len(units) < len(self.targets):
            return [None] * len(self.targets)
        return own_unit(softmax, torch.tensor(units, device=softmax.device)).tolist()

    def top_units(self, taps: dict[str, Taps]) -> list[bool | None]:
        """Whether each picture excites its own unit more than any other of the layer, each unit relative to its
        best natural image, a neuron to the largest value at any place of one; a class of a softmax, whose values are
        all on one scale, by its value itself. None where natural activations are needed and not known."""
        tops: list[bool | None] = []
        for i, goal in enumerate(self.targets):
            found = taps[goal.layer] if isinstance(goal, Target) and len(taps) == 1 else None
            if found is None or not isinstance(goal, Target):
                tops.append(None)
                continue
            best = self.layer_peak if goal.at else self.layer_best
            if found.softmax is not None and not found.sigmoid:
                values = _units_of(found.output[i], goal)
            elif best is not None:
                values = torch.where(best > 0, _units_of(found.output[i], goal) / best, -torch.inf)
            else:
                tops.append(None)
                continue
            tops.append(bool(values[goal.unit] >= values.max()))
        return tops

    def scores(self, images: np.ndarray, start: np.ndarray) -> list[Scores]:
        """The scores of finished pictures, beside those of the noise they started from."""
        before = self.activations(self.taps(start))
        taps = self.taps(images)
        rows = zip(
            self.activations(taps),
            self.natural_best,
            self.probabilities(taps),
            self.top_units(taps),
            before,
            strict=True,
        )
        return [
            Scores(value, value / best if best is not None and best > 0 else None, probability, begin, top)
            for value, best, probability, top, begin in rows
        ]


class Measurers:
    """Makes the Measurer of each batch of objectives of a network. What a layer's natural activations are is read once;
    where they are known the measuring network is prepared once too, whole, for one layer at a time.

    best: by layer every unit's largest natural activation, (units,), instead of what is known of the network.
    """

    def __init__(self, network: Network, device: torch.device, best: Mapping[str, np.ndarray] | None = None):
        self._network, self._device, self._given = network, device, best
        self._known: dict[str, tuple[Tensor, Tensor | None] | None] = {}
        self._whole: tuple[str, Prepared] | None = None

    def of(self, targets: Sequence[Objective]) -> Measurer:
        """The measurer of objectives that listen to the same layers."""
        layer = targets[0].layers[0]
        known = self._best(layer) if len(targets[0].layers) == 1 else None
        natural = [None if known is None else _natural_best(goal, *known) for goal in targets]
        if known is None or all(best is None for best in natural):
            return Measurer(
                prepare(self._network, targets, device=self._device, softmax=True), targets, natural
            )
        if self._whole is None or self._whole[0] != layer:
            whole = prepare(self._network, targets, device=self._device, softmax=True, narrow=False)
            whole.units = None  # other targets stand elsewhere
            self._whole = layer, whole
        return Measurer(self._whole[1], targets, natural, *known)

    def _best(self, layer: str) -> tuple[Tensor, Tensor | None] | None:
        """Every unit's largest natural activation, and its largest at any place; None where they are not known."""
        if layer not in self._known:
            natural = recall(self._network, layer) if self._given is None else None
            best = natural.best if natural is not None else (self._given or {}).get(layer)
            on = self._device
            peak = None if natural is None else torch.tensor(natural.peak, device=on)
            self._known[layer] = None if best is None else (torch.tensor(best, device=on), peak)
        return self._known[layer]


def _natural_best(goal: Objective, best: Tensor, peak: Tensor | None) -> float | None:
    """Of a channel the largest mean over space, of a neuron the largest value at any place; of anything else nothing
    is known."""
    values = peak if isinstance(goal, Target) and goal.at else best
    return float(values[goal.unit]) if isinstance(goal, Target) and values is not None else None


def _units_of(values: Tensor, goal: Target) -> Tensor:
    """Every unit's activation for one picture, (units,), at the goal's place if it has one; values (C, ...)."""
    if values.ndim == 1 or goal.at is None:
        return values.float().flatten(1).mean(1) if values.ndim > 1 else values.float()
    row, column = row_and_column(goal.at)
    return values.float()[:, row, column]


def verdict(
    scores: Scores, curve: Sequence[float], natural_best: float | None, *, may_be_dead: bool = True
) -> Status:
    """`dead`: nothing excites the unit, no natural image and no step of the ascent; `no-gain`: the picture
    excites it no more than the best natural image does or, where none is known, than the noise at the start.

    Only what `may_be_dead` (see objective.py) is called so: what was to be silent has no gain where it was before.
    """
    lives = scores.activation != 0 or any(value != 0 for value in curve) or bool(natural_best)
    if not lives and may_be_dead:
        return "dead"
    if scores.excitation is not None:
        return "ok" if scores.excitation >= 1 else "no-gain"
    return "ok" if scores.start is None or scores.activation > scores.start else "no-gain"
