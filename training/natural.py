"""Natural activations and colour statistics that ship with filterscope, measured over Tiny ImageNet.

usage: python -m training.natural unpack DATA FOLDER     the validation pictures as 10,000 PNG files
       python -m training.natural pack FOLDER DEST.npz   what `filterscope examples` says of them, for shipping
       python -m training.natural colour DATA            the colour matrix of decorrelated parametrizations

`pack` runs `filterscope examples tiny-vgg16 '*' --images FOLDER` and writes its arrays for all layers.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.data import open_data
from training.errors import TrainingError
from training.progress import progress


def unpack(data: Path, folder: Path) -> None:
    """Write the validation pictures as FOLDER/val-NNNNN.png, lossless, in the data set's order."""
    folder.mkdir(parents=True, exist_ok=True)
    images = open_data(data).pictures("val").images.numpy()
    for i in progress(range(len(images)), desc="unpacking"):
        Image.fromarray(images[i]).save(folder / f"val-{i:05d}.png")


def pack(folder: Path, dest: Path) -> None:
    """Write every layer's natural activations over FOLDER into one compressed file."""
    from filterscope.measure.examples import find_examples
    from filterscope.measure.natural import ARRAYS, LATER_ARRAYS
    from filterscope.networks import open_network

    network = open_network("tiny-vgg16")
    found = find_examples(network, ["*"], folder)
    arrays = {
        f"{layer}/{name}": _small(getattr(rows, name))
        for layer, rows in found.items()
        for name in (*ARRAYS, *LATER_ARRAYS)
    }
    count = len(next(iter(found.values())).images)
    np.savez_compressed(
        dest,
        weights_sha256=np.array(network.weights.sha256),
        images=np.array(count),
        **arrays,  # type: ignore[arg-type]
    )
    print(f"{len(found)} layers over {count} pictures in {dest}")


def _small(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint16) if values.dtype.kind == "i" else values.astype(np.float32)


def colour(data: Path) -> None:
    """Print the principal axes of RGB (0 to 1) in columns, each times its standard deviation, over the largest."""
    images = open_data(data).pictures("train").images
    values = images.reshape(-1, 3)[::7].double() / 255  # every seventh pixel: 58 million
    covariance = torch.cov(values.T)
    variance, axes = torch.linalg.eigh(covariance)
    root = (axes * variance.sqrt()).flip(1)  # largest first: brightness, then blue against red, then green
    root = root * root.sum(0).sign() / root.norm(dim=0).max()
    print(", ".join("(" + ", ".join(f"{v:.3f}" for v in row) + ")" for row in root.tolist()))


def main(argv: list[str]) -> int:
    """Run one of the three commands; 2 for wrong arguments, 1 for failed work."""
    commands = {"unpack": (unpack, 2), "pack": (pack, 2), "colour": (colour, 1)}
    if not argv or argv[0] not in commands or len(argv) - 1 != commands[argv[0]][1]:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        commands[argv[0]][0](*map(Path, argv[1:]))  # type: ignore[operator]
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
