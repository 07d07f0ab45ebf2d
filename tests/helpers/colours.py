"""Pictures that need no photographs."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_colours(folder: Path) -> Path:
    """A hundred fields of random colours with some noise, 64 x 64, the same each time; the folder."""
    rng = np.random.default_rng(0)
    for i in range(100):
        values = rng.integers(0, 200, 3) + rng.integers(0, 56, (64, 64, 3))
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{i:03d}.png")
    return folder
