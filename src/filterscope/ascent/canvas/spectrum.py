"""The Fourier amplitudes and the colours of natural images, as shipped.

Measured over photographs by `python -m training.spectrum FOLDER`, which also describes how.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from filterscope.sides import Sides

# Principal axes of RGB in columns (brightness, blue against red, green), each times its standard deviation,
# over the first. Measured over the 100,000 training pictures of Tiny ImageNet by
# `python -m training.natural colour DATA`; lucid's, of ImageNet, differ from it by at most 0.02.
COLOUR = ((0.567, 0.216, 0.054), (0.584, -0.005, -0.112), (0.581, -0.206, 0.059))


def frequencies(size: Sides) -> Tensor:
    """The frequencies of rfft2 in cycles per longer side, (H, W // 2 + 1)."""
    longer = max(size)
    rows = torch.fft.fftfreq(size[0], 1 / longer)[:, None]
    columns = torch.fft.rfftfreq(size[1], 1 / longer)[None]
    return torch.hypot(rows, columns)


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Tensor]:
    place = resources.files("filterscope.ascent") / "data" / "natural-spectrum.npz"
    with resources.as_file(place) as path, np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}


def natural_amplitudes(channels: int, size: Sides, *, decorrelated: bool = True) -> Tensor:
    """Mean amplitudes of natural images' logits at rfft2's frequencies (norm="forward"), (channels, H, W // 2 + 1).

    Decorrelated, the three channels are those of COLOUR; else, or for another number of channels, each has the
    amplitudes of brightness. Frequencies beyond those measured go on along the last ones' power law.
    """
    rings = _shipped()["amplitudes"]  # (3, K + 1): decorrelated channels, by cycles per picture
    k = frequencies(size)
    found = torch.stack([_at(row, k) for row in rings])
    return found if channels == 3 and decorrelated else found[:1].expand(channels, -1, -1).clone()


def natural_log_rings(count: int) -> Tensor:
    """Mean log amplitude of natural images' brightness (0 to 255, norm="forward") by ring: 1 to `count` cycles per
    picture, (count,)."""
    return _at(_shipped()["brightness"], torch.arange(1.0, count + 1)).log()


def _at(rings: Tensor, k: Tensor) -> Tensor:
    """Amplitudes at frequencies k, between the rings along power laws; ring 0 is the mean's own."""
    last = len(rings) - 1
    low = k.floor().clamp(1, last - 1).long()
    power = (rings[low + 1] / rings[low]).log() / ((low + 1) / low).log()
    tail = (rings[last] / rings[last // 2]).log() / torch.tensor(last / (last // 2)).log()
    inside = rings[low] * (k.clamp(min=1e-6) / low) ** power
    beyond = rings[last] * (k.clamp(min=1) / last) ** tail
    found = torch.where(k > last, beyond, inside)
    return torch.where(k < 1, torch.where(k > 0, rings[1], rings[0]), found)
