"""Activations over natural images, gathered batch by batch: all values, and the best images with their places."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from filterscope.measure.alternatives import choose_photographs
from filterscope.measure.selectivity import by_class, lifetime_sparsity

BEST = 40  # images that are kept of each unit
BINS = 32  # of the histogram


class Gathered:
    """One layer's activations while the network runs: all values, and the best images with their places."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []  # of each batch, (B, units)
        self.count = 0
        self.peak = self.top = self.top_values = self.top_places = torch.empty(0)

    @property
    def values(self) -> np.ndarray:
        """Of all images so far, (images, units)."""
        return torch.cat(self.parts).numpy()

    def add(self, maps: torch.Tensor) -> None:
        """Take the next batch of maps, (B, units, H, W) or (B, units)."""
        flat = maps.flatten(2) if maps.ndim == 4 else maps[..., None]  # (B, units, places)
        largest, at = flat.max(2)
        width = maps.shape[3] if maps.ndim == 4 else 1
        places = torch.stack([at // width, at % width], 2)  # (B, units, 2)
        values = flat.mean(2)
        numbers = torch.arange(self.count, self.count + len(values))[:, None].expand(-1, values.shape[1])
        peak = largest.amax(0)
        if self.parts:
            peak = torch.maximum(self.peak, peak)
            numbers = torch.cat([self.top, numbers])
            places = torch.cat([self.top_places, places])
        values_so_far = torch.cat([self.top_values, values]) if self.parts else values
        self.top_values, order = values_so_far.sort(
            dim=0, descending=True, stable=True
        )  # of equals the first image
        self.top_values, order = self.top_values[:BEST], order[:BEST]
        self.top = numbers.gather(0, order)
        self.top_places = places.gather(0, order[..., None].expand(-1, -1, 2))
        self.peak = peak
        self.parts.append(values)
        self.count += len(values)

    def arrays(self, classes: np.ndarray | None = None) -> dict[str, Any]:
        """What is kept of it, by the names in `NaturalActivations`. classes: each image's class, (images,)."""
        values = self.values
        least, best = values.min(0), self.top_values[0].numpy()
        tested = choose_photographs(values)
        found = {
            "mean": values.mean(0),
            "p99": np.quantile(values, 0.99, axis=0).astype(np.float32),
            "best": best,
            "peak": self.peak.numpy(),
            "top": self.top.T.numpy().astype(np.int32),
            "top_values": self.top_values.T.contiguous().numpy(),
            "top_places": self.top_places.transpose(0, 1).numpy().astype(np.int32),
            "least": least,
            "histogram": _histogram(values, least, best),
            "tested_best": None if tested is None else tested[0],
            "tested_median": None if tested is None else tested[1],
            "sparsity": lifetime_sparsity(values),
        }
        if classes is not None:
            own = by_class(values, classes)
            found |= {
                "image_classes": classes,
                "selectivity": own.selectivity,
                "class_order": own.order,
                "class_means": own.means.astype(np.float32),
                "class_top": own.top,
                "class_top_values": own.top_values,
            }
        return found


def _histogram(values: np.ndarray, least: np.ndarray, best: np.ndarray) -> np.ndarray:
    """How many of the values (images, units) lie in each step from least to best: (units, 32) int32."""
    span = np.where(best > least, best - least, 1)
    step = np.clip((values - least) / span * BINS, 0, BINS - 1).astype(np.int64)
    counts = np.bincount((step + BINS * np.arange(values.shape[1])).ravel(), minlength=BINS * values.shape[1])
    return counts.reshape(-1, BINS).astype(np.int32)
