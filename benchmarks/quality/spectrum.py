"""How far a picture's log amplitude spectrum is from natural images'.

usage: python -m benchmarks.quality.spectrum DIR      (measures natural_spectrum.json anew from photographs)

The formula. Y = (0.299 R + 0.587 G + 0.114 B) / 255 of the 8-bit picture, resized to n x n (bicubic, antialiased;
n is the network's own size, at most 128), minus its mean, times a Hann window in both directions, so that pictures
that wrap around and pictures that do not are alike. A = |DFT2| / n^2, at least 1 / (255 n), about what rounding to
8 bits leaves. The profile is, for each ring r = 1 .. n / 2 - 1 of frequencies with round(|k|) = r, the mean of ln A.
The distance is the mean over the rings of |profile - natural profile|, where the natural profile is the mean over
the photographs. It is in nepers: 0.69 is an amplitude twice too large or too small.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
LARGEST = 128
MEASURED = Path(__file__).with_name("natural_spectrum.json")


def profile(image: np.ndarray, side: int) -> np.ndarray:
    """(side // 2 - 1,) mean ln amplitude of the rings of a uint8 picture (H, W, 3) or (H, W, 1)."""
    resized = Image.fromarray(image.squeeze()).convert("RGB")
    if resized.size != (side, side):
        resized = resized.resize((side, side), Image.Resampling.BICUBIC)
    y = np.asarray(resized, dtype=np.float64) @ LUMA / 255
    window = np.hanning(side + 1)[:-1]  # periodic
    amplitude = np.abs(np.fft.fft2((y - y.mean()) * np.outer(window, window))) / side**2
    logarithm = np.log(np.maximum(amplitude, 1 / (255 * side)))
    rings = _rings(side)
    sums, counts = np.bincount(rings, logarithm.ravel()), np.bincount(rings)
    return (sums / counts)[1 : side // 2]


@cache
def _rings(side: int) -> np.ndarray:
    k = np.fft.fftfreq(side, 1 / side)
    return np.rint(np.hypot(k[:, None], k[None])).astype(int).ravel()


def distance(image: np.ndarray, natural: np.ndarray) -> float:
    """The mean absolute difference of a picture's profile from the natural one, which tells the side."""
    return float(np.abs(profile(image, 2 * len(natural) + 2) - natural).mean())


def natural_profile(network_size: int) -> np.ndarray:
    """The photographs' mean profile for a network of that size, as it was measured."""
    known = json.loads(MEASURED.read_text())["profiles"]
    side = min(network_size, LARGEST)
    if str(side) not in known:
        raise SystemExit(f"{MEASURED.name} holds sides {', '.join(known)} (wanted {side}); measure it anew")
    return np.array(known[str(side)])


def own_distance(side: int = LARGEST) -> float:
    """The photographs' own mean distance from their mean profile."""
    return float(json.loads(MEASURED.read_text())["own_distance"][str(side)])


def measure(paths: Sequence[Path], side: int) -> tuple[np.ndarray, float]:
    """The mean profile of photographs, and their own mean distance from it."""
    profiles = [profile(np.asarray(Image.open(path).convert("RGB")), side) for path in paths]
    mean = np.mean(profiles, axis=0)
    return mean, float(np.mean([np.abs(p - mean).mean() for p in profiles]))


def main(argv: Sequence[str]) -> None:
    """Measure both sides over a folder of photographs."""
    if len(argv) != 1:
        sys.exit(__doc__)
    from filterscope.files import write_text
    from filterscope.pictures.reading import list_images

    paths = list_images(argv[0])
    found = {side: measure(paths, side) for side in (64, LARGEST)}
    data = {
        "photographs": len(paths),
        "own_distance": {side: round(own, 4) for side, (_, own) in found.items()},
        "profiles": {side: [round(v, 4) for v in mean] for side, (mean, _) in found.items()},
    }
    write_text(MEASURED, json.dumps(data) + "\n")
    print(f"{len(paths)} photographs; their own mean distance: {data['own_distance']}")


if __name__ == "__main__":
    main(sys.argv[1:])
