"""Scores of finished pictures: what the network says of the 8-bit values, fed as any picture is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from filterscope.ascent.objectives import activation, own_unit
from filterscope.ascent.prepare import Prepared
from filterscope.objective import Objective
from filterscope.pictures.picture import Scores, Status
from filterscope.target import Target


def to_bytes(pixels: Tensor, output: str) -> np.ndarray:
    """Pixel values (B, C, H, W) to the saved 8-bit pictures (B, H, W, C).

    "standardize": per picture minus mean, over (std + 1e-5), times 0.1, plus 0.5, clipped, times 255, the
    blog's way to bring any range into view. "values": clipped to 0 to 255.
    """
    x = pixels.detach().float().cpu()
    if output == "standardize":
        flat = torch.stack([(p - p.mean()) / (p.std(correction=0) + 1e-5) for p in x])
        x = (flat * 0.1 + 0.5).clamp(0, 1) * 255
    return x.clamp(0, 255).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()


@dataclass(frozen=True)
class Measurer:
    """Measures 8-bit pictures of targets of one layer; `prepared` is in float32 and has the layer's softmax.

    `natural_best` holds each target's largest activation on natural images, where these are known.
    """

    prepared: Prepared
    targets: Sequence[Objective]
    natural_best: Sequence[float | None]

    def activations(self, images: np.ndarray) -> tuple[list[float], list[float | None]]:
        """Each picture's activation and, for classes, probability; images uint8 (B, H, W, C)."""
        pixels = torch.from_numpy(images).to(self.prepared.device).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            taps = self.prepared(pixels)
            own = activation(taps, self.targets, self.prepared.units).tolist()
            softmax = next(iter(taps.values())).softmax
            units = [t.unit for t in self.targets if isinstance(t, Target)]
            if softmax is None or len(units) < len(own):
                return own, [None] * len(own)
            return own, own_unit(softmax, torch.tensor(units, device=softmax.device)).tolist()

    def scores(self, images: np.ndarray, start: np.ndarray) -> list[Scores]:
        """The scores of finished pictures, beside those of the noise they started from."""
        before, _ = self.activations(start)
        after, probabilities = self.activations(images)
        return [
            Scores(value, value / best if best is not None and best > 0 else None, probability, begin)
            for value, best, probability, begin in zip(
                after, self.natural_best, probabilities, before, strict=True
            )
        ]


def verdict(scores: Scores, curve: Sequence[float], natural_best: float | None) -> Status:
    """`dead`: nothing excites the unit, no natural image and no step of the ascent; `no-gain`: the picture
    excites it no more than the best natural image does or, where none is known, than the noise at the start."""
    lives = scores.activation != 0 or any(value != 0 for value in curve) or bool(natural_best)
    if not lives:
        return "dead"
    if scores.excitation is not None:
        return "ok" if scores.excitation >= 1 else "no-gain"
    return "ok" if scores.start is None or scores.activation > scores.start else "no-gain"
