"""Scores of finished pictures: the network's activations for the 8-bit values, fed as any picture is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from filterscope.ascent.activity import excites
from filterscope.ascent.engine.prepare import Prepared, prepare
from filterscope.ascent.objectives import References, activation, own_unit
from filterscope.ascent.references import ReferenceTaps
from filterscope.ascent.soundness import require_finite
from filterscope.ascent.tiles import windows
from filterscope.ascent.transforms import Transforms
from filterscope.concept import Concept
from filterscope.measure.concepts import concept_key
from filterscope.measure.natural import recall
from filterscope.networks.layer import Taps
from filterscope.networks.network import Network
from filterscope.objective import Objective
from filterscope.pictures.picture import Scores, Status, TermScore
from filterscope.recipe import Recipe
from filterscope.sides import Size
from filterscope.target import Algebra, Sum, Target, row_and_column, terms_of


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


def to_image(pixels: Tensor, output: str) -> Image.Image:
    """The first of pictures (B, C, H, W) in pixel values as it would be saved, for a preview."""
    image = to_bytes(pixels[:1], output)[0]
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


@dataclass(frozen=True)
class Measurer:
    """Measures 8-bit pictures of objectives of the same layers.

    `prepared` is in float32, whole, and has the layer's softmax. `natural_best` holds each target's largest
    activation on natural images, where these are known; `layer_best` that of every unit of the targets' layer, and
    `layer_peak` each one's largest value at any place, by which neurons are measured. `photographs` are those that
    the objectives compare a picture with, by role, (C, H, W); a picture that was drawn window by window, of size
    `tile`, is measured so.
    """

    prepared: Prepared
    targets: Sequence[Objective]
    natural_best: Sequence[float | None]
    layer_best: Tensor | None = None
    layer_peak: Tensor | None = None
    photographs: Mapping[str, Tensor] = field(default_factory=dict)
    tile: Size | None = None

    def taps(self, images: np.ndarray) -> dict[str, Taps]:
        """The activations for 8-bit pictures (B, H, W, C)."""
        return self._taps(pixels_of(images))

    @torch.no_grad()
    def _taps(self, pixels: Tensor) -> dict[str, Taps]:
        found: dict[str, Taps] = self.prepared(pixels.to(self.prepared.device).float())
        return found

    def activations(self, taps: dict[str, Taps], references: References | None = None) -> list[float]:
        """Each picture's activation; WorkError for one that is no number."""
        values = activation(taps, self.targets, self.prepared.units, references=references)
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

    def terms(
        self, taps: dict[str, Taps], references: References | None = None
    ) -> list[tuple[TermScore, ...]]:
        """The scores of each sum's terms, one by one; none of what is no sum."""
        sums = [terms_of(goal) if isinstance(goal, Sum) else () for goal in self.targets]
        found: list[list[TermScore]] = [[] for _ in sums]
        for k in range(max(map(len, sums))):
            own = [
                one[min(k, len(one) - 1)][1] if one else goal
                for one, goal in zip(sums, self.targets, strict=True)
            ]
            values = activation(taps, own, references=references).tolist()  # type: ignore[arg-type]
            for i, one in enumerate(sums):
                if k < len(one):
                    weight, term = one[k]
                    found[i].append(TermScore(str(term), weight, values[i], _probability(taps, term, i)))
        return [tuple(scores) for scores in found]

    def scores(self, images: np.ndarray, start: Tensor | None) -> list[Scores]:
        """The scores of finished pictures, beside those of what they started from, (B, C, H, W), where that is known."""
        now = self.measured(pixels_of(images))
        before = [None] * len(images) if start is None else self.measured(start).activations
        rows = zip(
            now.activations, self.natural_best, now.probabilities, now.tops, before, now.terms, strict=True
        )
        return [
            Scores(
                value, value / best if best is not None and best > 0 else None, probability, begin, top, terms=terms
            )
            for value, best, probability, top, begin, terms in rows
        ]  # fmt: skip

    def measured(self, pixels: Tensor) -> Measured:
        """Of pictures (B, C, H, W); over several windows the mean by area, and neither terms nor top units."""
        sides = (pixels.shape[-2], pixels.shape[-1])
        recipe = Recipe(name="measure", tile=self.tile)
        references = ReferenceTaps(self.prepared, self.targets, self.photographs, sides, recipe)
        still = Transforms((), [], 1, sides)
        values, shares = np.zeros(len(pixels)), np.zeros(len(pixels))
        for window in windows(sides, self.tile):
            taps = self._taps(window.of(pixels))
            share = window.area / (sides[0] * sides[1])
            values += share * np.array(self.activations(taps, references(window, still, 0)))
            probabilities = self.probabilities(taps)
            shares += share * np.array(probabilities, dtype=float)
        whole, known = share == 1, probabilities[0] is not None
        return Measured(
            values.tolist(),
            shares.tolist() if known else [None] * len(pixels),
            self.top_units(taps) if whole else [None] * len(pixels),
            self.terms(taps, references(window, still, 0)) if whole else [()] * len(pixels),
        )


@dataclass(frozen=True)
class Measured:
    """One value a picture: its activation, its class's probability, whether its unit is the layer's top one, and the
    scores of each term of a sum."""

    activations: Sequence[float]
    probabilities: Sequence[float | None]
    tops: Sequence[bool | None]
    terms: Sequence[tuple[TermScore, ...]]


def _probability(taps: Mapping[str, Taps], term: Algebra, i: int) -> float | None:
    """Of picture i the probability of a term that is a class; None of any other."""
    softmax = taps[term.layer].softmax if isinstance(term, Target) else None
    return (
        float(softmax[i, term.unit])
        if isinstance(term, Target) and softmax is not None and softmax.ndim == 2
        else None
    )


def pixels_of(images: np.ndarray) -> Tensor:
    """Saved 8-bit pictures (B, H, W, C) as pixel values (B, C, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class Measurers:
    """Makes the Measurer of each batch of objectives of a network. What a layer's natural activations are is read once;
    where they are known the measuring network is prepared once too, whole, for one layer at a time.

    best: by layer every unit's largest natural activation, (units,), instead of what is known of the network.
    """

    def __init__(self, network: Network, device: torch.device, best: Mapping[str, np.ndarray] | None = None):
        self._network, self._device, self._given = network, device, best
        self._known: dict[str, tuple[Tensor, Tensor | None] | None] = {}
        self._whole: tuple[str, Prepared] | None = None

    def of(
        self,
        targets: Sequence[Objective],
        photographs: Mapping[str, Tensor] | None = None,
        tile: Size | None = None,
    ) -> Measurer:
        """The measurer of objectives of the same layers, and of the photographs that they compare a picture with."""
        known = self._best(_key(targets[0])) if len(targets[0].layers) == 1 else None
        natural = [None if known is None else _natural_best(goal, *known) for goal in targets]
        whole = any(n is not None and isinstance(t, Target) for n, t in zip(natural, targets, strict=True))
        prepared = self._whole_layer(targets) if whole else self._prepared(targets)
        best, peak = known if known is not None and whole else (None, None)
        return Measurer(prepared, targets, natural, best, peak, photographs or {}, tile)

    def _whole_layer(self, targets: Sequence[Objective]) -> Prepared:
        """Every unit of the targets' layer, prepared once for as long as it is the same layer."""
        layer = targets[0].layers[0]
        if self._whole is None or self._whole[0] != layer:
            whole = self._prepared(targets, narrow=False)
            whole.units = None  # other targets stand elsewhere
            self._whole = layer, whole
        return self._whole[1]

    def _prepared(self, targets: Sequence[Objective], *, narrow: bool = True) -> Prepared:
        return prepare(self._network, targets, device=self._device, softmax=True, narrow=narrow)

    def _best(self, layer: str) -> tuple[Tensor, Tensor | None] | None:
        """Every unit's largest natural activation, and its largest at any place; None where they are not known."""
        if layer not in self._known:
            natural = recall(self._network, layer) if self._given is None else None
            best = natural.best if natural is not None else (self._given or {}).get(layer)
            on = self._device
            peak = None if natural is None else torch.tensor(natural.peak, device=on)
            self._known[layer] = None if best is None else (torch.tensor(best, device=on), peak)
        return self._known[layer]


def _key(goal: Objective) -> str:
    """By which a goal's natural activations are known: its layer, of a concept its file too."""
    return concept_key(goal.layer, goal.sha256, goal.how) if isinstance(goal, Concept) else goal.layers[0]


def _natural_best(goal: Objective, best: Tensor, peak: Tensor | None) -> float | None:
    """Of a channel or a concept the largest mean over space, of one at a place the largest value at any place; of anything
    else nothing is known."""
    if not isinstance(goal, Target | Concept):
        return None
    values = peak if goal.at else best
    number = goal.number if isinstance(goal, Concept) else goal.unit
    return float(values[number]) if values is not None and number < len(values) else None


def _units_of(values: Tensor, goal: Target) -> Tensor:
    """Every unit's activation for one picture, (units,), at the goal's place if it has one; values (C, ...)."""
    if values.ndim == 1 or goal.at is None:
        return values.float().flatten(1).mean(1) if values.ndim > 1 else values.float()
    row, column = row_and_column(goal.at)
    return values.float()[:, row, column]


def verdict(
    scores: Scores,
    curve: Sequence[float],
    natural_best: float | None,
    *,
    may_be_dead: bool = True,
    bound: float = 0.0,
    above: float | None = None,
) -> Status:
    """`dead`: nothing excites the unit, no natural image and no step of the ascent; `no-gain`: the picture
    excites it no more than the best natural image does or, where none is known, than the noise at the start.

    Only what `may_be_dead` (see objective.py) is called so: what was to be inactive has no gain where it was before.
    bound: the activation from which on the unit is active, where it is inactive at other values than 0 too (see
    ascent/activity.py); below it no picture is `ok`, but one that excites the unit as natural images do. above: what the
    activation has to be above, as 0 of a latent before its activation.
    """
    if above is not None and scores.activation <= above:
        return "no-gain"
    if scores.excitation is not None and scores.excitation >= 1:
        return "ok"
    bound = bound if may_be_dead else 0.0
    known = [] if natural_best is None else [natural_best]
    if may_be_dead and not any(excites(value, bound) for value in (scores.activation, *curve, *known)):
        return "dead"
    if scores.excitation is not None or (bound > 0 and not excites(scores.activation, bound)):
        return "no-gain"
    return "ok" if scores.start is None or scores.activation > scores.start else "no-gain"
