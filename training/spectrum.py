"""python -m training.spectrum FOLDER [--out FILE]: the amplitude spectrum and brightness rings of photographs.

Each photograph is resized and cropped to a square of 224 px. Its colours become logits, log(p / (1 - p)) with
p = (value + 0.5) / 256, then decorrelated by the inverse of COLOUR, since that is what a canvas undoes; the
amplitudes |rfft2| / N are averaged over the photographs and over rings of equal frequency. Brightness is the mean
of the three channels, 0 to 255.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from filterscope.ascent.canvas.spectrum import COLOUR, frequencies
from filterscope.files import writing
from filterscope.networks.input_spec import InputSpec
from filterscope.pictures.reading import list_images, load_pixels

SIZE = 224
OUT = Path(__file__).parents[1] / "src/filterscope/ascent/data/natural-spectrum.npz"


def ring_means(values: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Means over rings of round(k) cycles, k = 0 to size // 2; values (C, size, size // 2 + 1) to (C, size // 2 + 1)."""
    ring = frequencies((size, size)).round().long().flatten()
    rings = torch.zeros(len(values), int(ring.max()) + 1).index_add_(1, ring, values.flatten(1))
    return (rings / torch.bincount(ring))[:, : size // 2 + 1]


def measure(folder: Path) -> dict[str, np.ndarray]:
    """Ring means of the decorrelated logits' and of brightness' amplitudes over all photographs of a folder."""
    inverse = torch.linalg.inv(torch.tensor(COLOUR))
    paths = list_images(folder)
    amplitudes, brightness = torch.zeros(3, SIZE // 2 + 1), torch.zeros(1, SIZE // 2 + 1)
    for path in tqdm(paths, unit="picture"):
        pixels = load_pixels(path, InputSpec(), size=SIZE)
        logits = torch.einsum("oc,chw->ohw", inverse, torch.logit((pixels + 0.5) / 256))
        amplitudes += ring_means(torch.fft.rfft2(logits, norm="forward").abs())
        brightness += ring_means(torch.fft.rfft2(pixels.mean(0, keepdim=True), norm="forward").abs())
    return {
        "amplitudes": (amplitudes / len(paths)).numpy(),
        "brightness": (brightness[0] / len(paths)).numpy(),
        "images": np.array(len(paths)),
    }


def main() -> None:
    """Measure a folder and write the file that the package ships."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    found = measure(arguments.folder)
    with writing(arguments.out) as spare, spare.open("wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]
    print(f"{int(found['images'])} photographs: {arguments.out}")


if __name__ == "__main__":
    main()
