"""Cuts pictures out of Tiny ImageNet's mosaics into a folder of files, for what takes a folder of images.

    python -m benchmarks.pictures ../shared/data/tiny-imagenet /tmp/pictures --count 20000

Each mosaic holds 1,000 pictures of 64 x 64 px in 25 rows of 40; training pictures first. Files are CLASS/NUMBER.png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

SIDE, COLUMNS, EACH = 64, 40, 1000


def cut(data: Path, out: Path, count: int, part: str = "train") -> int:
    """Write `count` pictures of a part, "train" or "val", spread evenly over it; how many there were."""
    labels = json.loads((data / "labels.json").read_text())[part]
    classes = [
        line.split("\t")[0] for line in (data / "classes.tsv").read_text().splitlines() if line.strip()
    ]
    count = min(count, len(labels))
    chosen = [i * len(labels) // count for i in range(count)]
    for number, path in enumerate(sorted(data.glob(f"{part}-*.webp"))):
        with Image.open(path) as mosaic:
            whole = mosaic.convert("RGB")
        for one in (i for i in chosen if i // EACH == number):
            left, top = one % EACH % COLUMNS * SIDE, one % EACH // COLUMNS * SIDE
            place = out / classes[labels[one]]
            place.mkdir(parents=True, exist_ok=True)
            whole.crop((left, top, left + SIDE, top + SIDE)).save(place / f"{part}-{one:06d}.png")
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    given = parser.parse_args()
    print(cut(given.data, given.out, given.count), "pictures in", given.out)
